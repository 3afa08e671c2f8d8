"""The figures of an evaluation, as PNG files."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import atomic_path
from fakelens.core.records import Metrics
from fakelens.evaluation.calibration import reliability
from fakelens.evaluation.robustness import StepFigures
from fakelens.evaluation.thresholds import risk_coverage

_WORDS = ("photograph", "AI-generated")


_COLUMNS, _ROWS = 6, 3


class Pictures(Protocol):
    """(S, S, 3) uint8 squares by their number: an (N, S, S, 3) array, or what decodes one when it is shown."""

    def __getitem__(self, index: int, /) -> Any: ...


def plot_confusion_matrix(path: Path, metrics: Metrics, title: str) -> Path:
    """Counts with their share of each true class."""
    matrix = np.array(metrics.confusion_matrix)
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    figure, axes = new_figure(4.6, 4.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{matrix[row, column]}\n{shares[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=13)
    axes.set(xticks=(0, 1), xticklabels=_WORDS, yticks=(0, 1), xlabel="Verdict", ylabel="Truth", title=title)
    axes.set_yticklabels(_WORDS, rotation=90, va="center")
    return save_figure(path, figure)


def plot_samples(
    path: Path,
    squares: Pictures,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    title: str,
    seed: int,
) -> Path:
    """A seeded choice of pictures with truth, verdict and confidence; wrong verdicts are red."""
    shown = np.sort(np.random.default_rng((seed, 6)).permutation(len(labels))[: _COLUMNS * _ROWS])
    captions = [f"truth: {_WORDS[labels[index]]}" for index in shown]
    return _plot_pictures(path, squares, shown, labels, probabilities, captions, title)


def plot_worst_mistakes(
    path: Path,
    squares: Pictures,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    groups: Sequence[str] | npt.NDArray[np.str_],
    title: str,
) -> Path:
    """The pictures that were judged most surely and wrongly, each with its generator or source."""
    wrong = np.flatnonzero((probabilities >= 0.5) != (labels == 1))
    shown = wrong[np.argsort(-np.abs(probabilities[wrong] - 0.5), kind="stable")][: _COLUMNS * _ROWS]
    captions = [_short(f"{_WORDS[labels[index]]}: {groups[index]}") for index in shown]
    told = title if len(wrong) else f"{title}: no mistake"
    return _plot_pictures(path, squares, shown, labels, probabilities, captions, told)


def _plot_pictures(
    path: Path,
    squares: Pictures,
    shown: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    captions: Sequence[str],
    title: str,
) -> Path:
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure, grid = new_figure(2.05 * _COLUMNS, 2.5 * rows + 0.4, rows=rows, columns=_COLUMNS)
    for axes in np.ravel(grid):
        axes.axis("off")
    for axes, index, caption in zip(np.ravel(grid), shown, captions, strict=False):
        said = int(probabilities[index] >= 0.5)
        confidence = probabilities[index] if said else 1 - probabilities[index]
        axes.imshow(squares[int(index)])
        colour = "tab:green" if said == labels[index] else "tab:red"
        axes.set_title(f"{_WORDS[said]} {confidence:.0%}\n{caption}", color=colour, fontsize=8.5)
    figure.suptitle(title)
    return save_figure(path, figure)


def _short(text: str, limit: int = 29) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def plot_tradeoff(path: Path, points: Sequence[tuple[str, float, float, float]], title: str) -> Path:
    """Accuracy against latency; `points` are (name, ms, accuracy, megabytes), the area follows the megabytes."""
    figure, axes = new_figure(6.4, 4.0)
    for number, (name, latency_ms, accuracy, size_mb) in enumerate(sorted(points, key=lambda point: point[1])):
        axes.scatter(latency_ms, accuracy, s=20 + 12 * size_mb, alpha=0.6)
        # Neighbours' labels go above and below in turn, so that close points do not write over each other.
        place = {"va": "bottom", "xytext": (0, 12)} if number % 2 else {"va": "top", "xytext": (0, -12)}
        label = f"{name}\n{size_mb:.1f} MB"
        axes.annotate(label, (latency_ms, accuracy), textcoords="offset points", ha="center", **place)
    axes.set_xscale("log")
    axes.set(xlabel="Time per picture, one CPU thread (ms)", ylabel="Test accuracy", title=title)
    axes.margins(0.3)
    axes.grid(alpha=0.3)
    return save_figure(path, figure)


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches and its axes; needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def save_figure(path: Path, figure: Any) -> Path:
    """Write a figure as PNG, atomically; returns `path`."""
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A folder may be named in a script that the font lacks: the plot then shows boxes, the tables the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(temporary, dpi=120, format="png")
    return path


Judged = tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]


"""(N,) labels and (N,) calibrated probabilities of being fake."""


def plot_roc(path: Path, sets: Mapping[str, Judged], title: str) -> Path:
    """Receiver operating characteristic of each set with its area."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = new_figure(4.8, 4.3)
    for name, (labels, probabilities) in sets.items():
        false_positives, true_positives, _ = roc_curve(labels, probabilities)
        area = roc_auc_score(labels, probabilities)
        axes.plot(false_positives, true_positives, label=f"{name}: AUC {area:.3f}, n={len(labels)}")
    axes.plot((0, 1), (0, 1), color="0.7", linestyle=":", label="chance")
    axes.set(xlabel="Photographs called AI-generated", ylabel="AI-generated pictures found")
    axes.set_aspect("equal")
    return _finished(path, figure, axes, title, "lower right")


def plot_precision_recall(path: Path, sets: Mapping[str, Judged], title: str) -> Path:
    """Precision against recall of each set, with the average precision."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = new_figure(4.8, 4.3)
    for name, (labels, probabilities) in sets.items():
        precision, recall, _ = precision_recall_curve(labels, probabilities)
        average = average_precision_score(labels, probabilities)
        axes.plot(recall, precision, label=f"{name}: average precision {average:.3f}")
    axes.set(xlabel="AI-generated pictures found (recall)", ylabel="Rightly called so (precision)")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    return _finished(path, figure, axes, title, "lower left")


def plot_reliability(path: Path, sets: Mapping[str, Judged], title: str) -> Path:
    """Stated probability against the observed share of fakes; the dots' area follows the number of pictures."""
    figure, axes = new_figure(4.8, 4.3)
    axes.plot((0, 1), (0, 1), color="0.7", linestyle=":", label="perfect")
    for name, (labels, probabilities) in sets.items():
        bins = reliability(probabilities, labels, num_bins=10)
        x, y = [b.mean_probability for b in bins], [b.share_fake for b in bins]
        (line,) = axes.plot(x, y, linewidth=1, label=name)
        sizes = [10 + 150 * b.num_images / len(labels) for b in bins]
        axes.scatter(x, y, s=sizes, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="Stated probability of being AI-generated", ylabel="Share that is")
    axes.set_aspect("equal")
    return _finished(path, figure, axes, title, "upper left")


def plot_risk_coverage(path: Path, sets: Mapping[str, Judged], band: float, title: str) -> Path:
    """Share of wrong verdicts when only the surest pictures get one; the dot is the uncertain band in use."""
    figure, axes = new_figure(4.8, 4.3)
    for name, (labels, probabilities) in sets.items():
        coverage, risk = risk_coverage(labels, probabilities)
        (line,) = axes.plot(coverage, risk, label=name)
        decided = int(np.sum(np.abs(probabilities - 0.5) >= band))
        if decided:
            axes.plot(coverage[decided - 1], risk[decided - 1], "o", color=line.get_color())
    axes.set(xlabel="Share of pictures that get a verdict", ylabel="Share of wrong verdicts among them")
    axes.set(xlim=(0, 1.02), ylim=(0, None))
    return _finished(path, figure, axes, title, "upper left")


def _finished(path: Path, figure: Any, axes: Any, title: str, legend: str) -> Path:
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, loc=legend, fontsize=9)
    axes.grid(alpha=0.3)
    return save_figure(path, figure)


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
