"""Evaluation plots: metrics, scores and pictures in; PNG files out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import atomic_path
from fakelens.evaluation.metrics import Metrics

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
