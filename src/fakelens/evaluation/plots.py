"""Evaluation plots: metrics, scores and pictures in; PNG files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import atomic_path
from fakelens.core.imaging import ImageU8
from fakelens.evaluation.metrics import Metrics

_WORDS = ("photograph", "AI-generated")
_COLUMNS, _ROWS = 6, 3


def plot_confusion_matrix(path: Path, metrics: Metrics, title: str) -> Path:
    """Counts with their share of each true class."""
    matrix = np.array(metrics.confusion_matrix)
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    figure, axes = _figure(4.6, 4.2)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = f"{matrix[row, column]}\n{shares[row, column]:.1%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=13)
    axes.set(xticks=(0, 1), xticklabels=_WORDS, yticks=(0, 1), xlabel="Verdict", ylabel="Truth", title=title)
    axes.set_yticklabels(_WORDS, rotation=90, va="center")
    return _save(path, figure)


def plot_roc(path: Path, labels: npt.NDArray[np.int64], probabilities: npt.NDArray[Any], title: str) -> Path:
    """Receiver operating characteristic with its area."""
    from sklearn.metrics import roc_auc_score, roc_curve

    false_positives, true_positives, _ = roc_curve(labels, probabilities)
    figure, axes = _figure(4.6, 4.2)
    axes.plot(
        false_positives,
        true_positives,
        label=f"AUC {roc_auc_score(labels, probabilities):.3f}, n={len(labels)}",
    )
    axes.plot((0, 1), (0, 1), color="0.7", linestyle=":", label="chance")
    axes.set(
        xlabel="Photographs called AI-generated",
        ylabel="AI-generated pictures found",
        title=title,
        aspect="equal",
    )
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    return _save(path, figure)


def plot_samples(
    path: Path,
    squares: ImageU8,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[Any],
    title: str,
    seed: int,
) -> Path:
    """A seeded choice of pictures with truth, verdict and confidence; wrong verdicts are red."""
    shown = np.sort(np.random.default_rng((seed, 6)).permutation(len(labels))[: _COLUMNS * _ROWS])
    figure, grid = _figure(2.05 * _COLUMNS, 2.5 * _ROWS + 0.4, rows=_ROWS, columns=_COLUMNS)
    for axes in np.ravel(grid):
        axes.axis("off")
    for axes, index in zip(np.ravel(grid), shown, strict=False):
        probability = float(probabilities[index])
        said = int(probability >= 0.5)
        confidence = probability if said else 1 - probability
        axes.imshow(squares[index])
        axes.set_title(
            f"{_WORDS[said]} {confidence:.0%}\ntruth: {_WORDS[labels[index]]}",
            color="tab:green" if said == labels[index] else "tab:red",
            fontsize=9,
        )
    figure.suptitle(title)
    return _save(path, figure)


def plot_tradeoff(path: Path, points: Sequence[tuple[str, float, float, float]], title: str) -> Path:
    """Accuracy against latency; `points` are (name, ms, accuracy, megabytes), the area follows the megabytes."""
    figure, axes = _figure(6.4, 4.0)
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
    return _save(path, figure)


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _save(path: Path, figure: Any) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path
