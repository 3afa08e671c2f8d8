"""The figures of an evaluation, as PNG files. `subject` says whose they are: a detector and the data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fakelens.core.records import Metrics
from fakelens.core.scoring import percent
from fakelens.evaluation.calibration import reliability
from fakelens.evaluation.robustness import StepFigures
from fakelens.evaluation.thresholds import risk_coverage
from fakelens.figure import RIGHT, WRONG, new_figure, save_figure

_WORDS = ("photograph", "AI-generated")
_COLUMNS, _ROWS = 6, 3
_CAPTION_CHARACTERS = 28

Scored = tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]
"""(N,) labels and (N,) calibrated probabilities of being fake."""


class Pictures(Protocol):
    """(S, S, 3) uint8 squares by their number: an (N, S, S, 3) array, or what decodes one when it is shown."""

    def __getitem__(self, index: int, /) -> Any: ...


def plot_confusion_matrix(path: Path, metrics: Metrics, subject: str) -> Path:
    """Confusion matrix: counts, each with its share of the true class."""
    from sklearn.metrics import ConfusionMatrixDisplay

    matrix = np.array(metrics.confusion_matrix)
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    figure, axes = new_figure(4.8, 4.4)
    drawn = ConfusionMatrixDisplay(shares, display_labels=_WORDS).plot(
        ax=axes, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1}, text_kw={"fontsize": 13}
    )
    for text, count, share in zip(drawn.text_.flat, matrix.flat, shares.flat, strict=True):
        text.set_text(f"{count}\n{percent(share, 1)}")
    axes.set(xlabel="Verdict", ylabel="Truth")
    axes.set_yticks((0, 1), _WORDS, rotation=90, va="center")
    axes.grid(visible=False)
    reading = f"n={metrics.num_images}, verdicts at 0.5; shares are of each row. Right verdicts lie on the diagonal."
    return save_figure(path, figure, "Confusion matrix", subject, reading)


def plot_samples(
    path: Path,
    squares: Pictures,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    subject: str,
    seed: int,
) -> Path:
    """Sample predictions: a seeded choice of pictures with truth, verdict and confidence."""
    shown = np.sort(np.random.default_rng((seed, 6)).permutation(len(labels))[: _COLUMNS * _ROWS])
    captions = [f"is: {_WORDS[labels[index]]}" for index in shown]
    return _plot_pictures(path, squares, shown, (labels, probabilities), captions, "Sample predictions", subject)


def plot_worst_mistakes(
    path: Path,
    squares: Pictures,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    groups: Sequence[str] | npt.NDArray[np.str_],
    subject: str,
) -> Path:
    """Worst mistakes: the wrong verdicts of the highest confidence, each with its generator or source."""
    wrong = np.flatnonzero((probabilities >= 0.5) != (labels == 1))
    shown = wrong[np.argsort(-np.abs(probabilities[wrong] - 0.5), kind="stable")][: _COLUMNS * _ROWS]
    captions = [f"is: {_WORDS[labels[index]]}, {groups[index]}" for index in shown]
    title = "Worst mistakes" if len(wrong) else "Worst mistakes: none"
    return _plot_pictures(path, squares, shown, (labels, probabilities), captions, title, subject)


def _plot_pictures(
    path: Path,
    squares: Pictures,
    shown: npt.NDArray[np.int64],
    scored: Scored,
    captions: Sequence[str],
    title: str,
    subject: str,
) -> Path:
    labels, probabilities = scored
    rows = max(1, -(-len(shown) // _COLUMNS))
    figure, grid = new_figure(2.1 * _COLUMNS, 2.55 * rows + 0.9, rows=rows, columns=_COLUMNS)
    for axes in np.ravel(grid):
        axes.axis("off")
        axes.set(xticks=[], yticks=[])  # laying out ticks that nobody sees takes a fifth of the time
    for axes, index, caption in zip(np.ravel(grid), shown, captions, strict=False):
        verdict = int(probabilities[index] >= 0.5)
        confidence = probabilities[index] if verdict else 1 - probabilities[index]
        is_right = verdict == labels[index]
        axes.imshow(squares[int(index)])
        lines = f"{'✓' if is_right else '✗'} {_WORDS[verdict]} {percent(confidence, 0)}", _short(caption)
        axes.set_title("\n".join(lines), color=RIGHT if is_right else WRONG, fontsize=9)
    reading = (
        "Above each picture: the verdict at 0.5 with its probability (✓ right, ✗ wrong), then what the picture is."
    )
    return save_figure(path, figure, title, subject, reading)


def _short(text: str) -> str:
    return text if len(text) <= _CAPTION_CHARACTERS else f"{text[: _CAPTION_CHARACTERS - 1]}…"


def plot_tradeoff(path: Path, points: Sequence[tuple[str, float, float, float]], subject: str) -> Path:
    """Accuracy against latency; `points` are (name, ms, accuracy, megabytes), the area follows the megabytes."""
    figure, axes = new_figure(6.6, 4.4)
    for number, (name, latency_ms, accuracy, size_mb) in enumerate(sorted(points, key=lambda point: point[1])):
        axes.scatter(latency_ms, accuracy, s=20 + 12 * size_mb, alpha=0.7)
        # Neighbours' labels go above and below in turn, so that close points do not write over each other.
        place = {"va": "bottom", "xytext": (0, 12)} if number % 2 else {"va": "top", "xytext": (0, -12)}
        label = f"{name}\n{latency_ms:.1f} ms, {size_mb:.1f} MB"
        axes.annotate(label, (latency_ms, accuracy), textcoords="offset points", ha="center", fontsize=9, **place)
    axes.set(xlabel="Time per picture, one CPU thread (ms)", ylabel="Test accuracy as shipped")
    axes.margins(0.3)
    # Nothing is above 1; one picture more or less is no cliff.
    low, high = axes.get_ylim()
    high = min(high, 1 + 0.05 * max(0.06, high - low))
    axes.set_ylim(min(low, high - 0.06), high)
    return save_figure(
        path, figure, "Accuracy against latency", subject, "Up and to the left is better; area: file size."
    )


def plot_roc(path: Path, sets: Mapping[str, Scored], subject: str) -> Path:
    """Receiver operating characteristic (ROC) curve of each set with its area."""
    from sklearn.metrics import RocCurveDisplay

    figure, axes = new_figure(4.8, 4.8)
    for name, (labels, probabilities) in sets.items():
        RocCurveDisplay.from_predictions(labels, probabilities, name=f"{name}, n={len(labels)}", ax=axes)
    axes.plot((0, 1), (0, 1), color="0.7", linestyle=":", label="chance (AUC = 0.50)")
    axes.set(
        xlabel="False-positive rate: photographs called AI-generated",
        ylabel="True-positive rate: AI-generated pictures found",
    )
    axes.legend(loc="lower right", frameon=False)
    reading = "Each point is a threshold; nearer to the upper left is better."
    return save_figure(path, figure, "ROC curve", subject, reading)


def plot_precision_recall(path: Path, sets: Mapping[str, Scored], subject: str) -> Path:
    """Precision–recall curve of each set with its average precision."""
    from sklearn.metrics import PrecisionRecallDisplay

    figure, axes = new_figure(4.8, 4.8)
    for name, (labels, probabilities) in sets.items():
        PrecisionRecallDisplay.from_predictions(labels, probabilities, name=name, ax=axes)
    axes.set(xlabel="Recall: AI-generated pictures found", ylabel="Precision: correct among those called AI-generated")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower left", frameon=False)
    reading = "Each point is a threshold; nearer to the upper right is better."
    return save_figure(path, figure, "Precision–recall curve", subject, reading)


def plot_reliability(path: Path, sets: Mapping[str, Scored], subject: str) -> Path:
    """Reliability diagram: stated probability against observed share; the dots' area follows the number of pictures."""
    figure, axes = new_figure(4.8, 4.8)
    axes.plot((0, 1), (0, 1), color="0.7", linestyle=":", label="perfectly calibrated")
    for name, (labels, probabilities) in sets.items():
        bins = reliability(probabilities, labels, num_bins=10)
        x, y = [b.mean_probability for b in bins], [b.share_fake for b in bins]
        (line,) = axes.plot(x, y, linewidth=1, label=name)
        sizes = [10 + 150 * b.num_images / len(labels) for b in bins]
        axes.scatter(x, y, s=sizes, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="Stated probability of being AI-generated", ylabel="Observed share of AI-generated pictures")
    axes.set_aspect("equal")
    axes.legend(loc="best", frameon=False)
    title = "Reliability: stated and observed probability"
    reading = "On the diagonal a stated 80 % is right in 80 % of cases, above it in more. Area: pictures."
    return save_figure(path, figure, title, subject, reading)


def plot_risk_coverage(path: Path, sets: Mapping[str, Scored], band: float, subject: str) -> Path:
    """Risk–coverage curve; the dot is the uncertain band in use."""
    figure, axes = new_figure(4.8, 4.8)
    for name, (labels, probabilities) in sets.items():
        coverage, risk = risk_coverage(labels, probabilities)
        (line,) = axes.plot(coverage, risk, label=name)
        decided = int(np.sum(np.abs(probabilities - 0.5) >= band))
        if decided:
            axes.plot(coverage[decided - 1], risk[decided - 1], "o", color=line.get_color())
    axes.set(
        xlabel="Coverage: share of pictures that get a verdict", ylabel="Selective risk: share of these that are wrong"
    )
    # Where nothing is wrong the curve lies on the axis; a scale of its own would blow up a single mistake.
    axes.set(xlim=(0, 1.02), ylim=(-0.002, max(0.05, axes.get_ylim()[1])))
    axes.legend(loc="upper left", frameon=False)
    reading = f"Lower is better. The dot: pictures within {band:g} of 0.5 are called uncertain."
    return save_figure(path, figure, "Risk–coverage curve", subject, reading)


_CELL_IN = (1.1, 0.6)
_LABEL_CHARACTERS = 15
# Of this relative luminance black and white have the same contrast, 4.6 to 1 (WCAG 2.1).
_MIDDLE_LUMINANCE = 0.179


@dataclass(frozen=True)
class _Panel:
    field: str
    title: str
    form: Callable[[float], str]
    ticks: Callable[[float], str]
    colour_map: str
    limits: tuple[float, float]
    beyond: str
    """The end of the scale that values may pass. The limits are fixed, so that detectors can be compared."""


_PANELS = (
    _Panel("auc", "AUC on the degraded pictures", "{:.3f}".format, "{:.1f}".format, "viridis", (0.5, 1.0), "min"),
    _Panel(
        "flips",
        "Share of verdicts that the degradation flips",
        percent,
        partial(percent, decimals=0),
        "magma_r",
        (0.0, 0.5),
        "max",
    ),
)


def plot_robustness(path: Path, figures: Sequence[StepFigures], subject: str) -> Path:
    """Robustness heat-maps: a row for each family, its steps from mild to strong as columns."""
    rows: dict[str, list[StepFigures]] = {}
    for step in figures:
        rows.setdefault(step.family, []).append(step)
    num_columns = max(len(steps) for steps in rows.values())
    width, height = _CELL_IN[0] * num_columns + 2.2, _CELL_IN[1] * len(rows) + 0.7
    figure, both = new_figure(width, len(_PANELS) * height + 0.5, rows=len(_PANELS))
    for axes, panel in zip(both, _PANELS, strict=True):
        _heat_map(figure, axes, list(rows.values()), panel)
        axes.set_yticks(np.arange(len(rows)) + 0.5, labels=list(rows))
    reading = (
        f"{figures[0].num_images} test pictures, half of them AI-generated, degraded and judged again at 0.5. Rows are "
        "kinds of degradation, each from mild to strong."
    )
    return save_figure(path, figure, "Robustness: what degradations cost", subject, reading)


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
            axes.text(y=row + 0.42, s=panel.form(values[row, column]), va="bottom", fontsize=10, **place)
            axes.text(y=row + 0.49, s=fill(step.label, _LABEL_CHARACTERS), va="top", fontsize=7.5, **place)
    axes.grid(visible=False)
    axes.set(title=panel.title, xlabel="mild → strong", xticks=[])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, extend=panel.beyond, fraction=0.05, pad=0.02)
    bar.ax.yaxis.set_major_formatter(lambda value, _: panel.ticks(value))


def _readable_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast to an RGBA colour in [0, 1]."""
    channels = np.array(colour[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > _MIDDLE_LUMINANCE else "white"
