"""Curves of scored sets: labels and probabilities in; ROC, precision-recall, reliability, risk-coverage PNGs out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.evaluation.calibration import reliability
from fakelens.evaluation.operating import risk_coverage
from fakelens.evaluation.plots import new_figure, save_figure

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
