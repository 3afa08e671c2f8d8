"""The robustness plot: the figures of every degradation in; a PNG with a heat map of AUC and one of flips out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from fakelens.evaluation.plots import new_figure, save_figure
from fakelens.evaluation.robustness import StepFigures

_CELL_IN = (1.1, 0.6)
_LABEL_CHARACTERS = 15
# Of this relative luminance black and white have the same contrast, 4.6 to 1 (WCAG 2.1).
_MIDDLE_LUMINANCE = 0.179


@dataclass(frozen=True)
class _Panel:
    field: str
    title: str
    form: str
    ticks: str
    colour_map: str
    limits: tuple[float, float]
    beyond: str
    """The end of the scale that values may pass. The limits are fixed, so that detectors can be compared."""


_PANELS = (
    _Panel("auc", "AUC on the degraded pictures", "{:.3f}", "{x:.1f}", "viridis", (0.5, 1.0), "min"),
    _Panel("flips", "Verdicts that the degradation flips", "{:.1%}", "{x:.0%}", "magma_r", (0.0, 0.5), "max"),
)


def plot_robustness(path: Path, figures: Sequence[StepFigures], title: str) -> Path:
    """Rows are families and columns their steps from mild to strong; every cell names its step."""
    rows: dict[str, list[StepFigures]] = {}
    for step in figures:
        rows.setdefault(step.family, []).append(step)
    num_columns = max(len(steps) for steps in rows.values())
    width, height = _CELL_IN[0] * num_columns + 2.2, _CELL_IN[1] * len(rows) + 0.7
    figure, both = new_figure(width, len(_PANELS) * height + 0.5, rows=len(_PANELS))
    for axes, panel in zip(both, _PANELS, strict=True):
        _heat_map(figure, axes, list(rows.values()), panel)
        axes.set_yticks(np.arange(len(rows)) + 0.5, labels=list(rows))
    figure.suptitle(title, fontsize=14)
    return save_figure(path, figure)


def _heat_map(figure: Any, axes: Any, rows: list[list[StepFigures]], panel: _Panel) -> None:
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, steps in enumerate(rows):
        values[row, : len(steps)] = [getattr(step, panel.field) for step in steps]
    low, high = panel.limits
    shown = axes.pcolormesh(values, cmap=panel.colour_map, vmin=low, vmax=high, edgecolor="white", linewidth=2)
    for row, steps in enumerate(rows):
        for column, step in enumerate(steps):
            colour = _readable_on(shown.cmap(shown.norm(values[row, column])))
            place = {"x": column + 0.5, "ha": "center", "color": colour}
            axes.text(y=row + 0.42, s=panel.form.format(values[row, column]), va="bottom", fontsize=10, **place)
            axes.text(y=row + 0.49, s=fill(step.label, _LABEL_CHARACTERS), va="top", fontsize=7.5, **place)
    axes.set(title=panel.title, xlabel="mild → strong", xticks=[])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, extend=panel.beyond, fraction=0.05, pad=0.02)
    bar.ax.yaxis.set_major_formatter(panel.ticks)


def _readable_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast to an RGBA colour in [0, 1]."""
    channels = np.array(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > _MIDDLE_LUMINANCE else "white"
