"""Verdict thresholds: probabilities in; thresholds at stated false-positive rates, coverage and selective risk out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fakelens.core.scoring import REAL, OperatingPoint, Threshold


def operating_points(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], rates: Sequence[float], band: float
) -> tuple[OperatingPoint, ...]:
    """One point at 0.5, then one for each false-positive rate, measured on the photographs among the given images.

    At 0.5 a picture closer than `band` is uncertain. At a rate the upper threshold is what that rate asks for, but not
    below that at 0.5: where validation is separable any line would do, and a stricter setting must not be looser.
    All between the lower threshold at 0.5 and that is uncertain: who wants few false alarms is not told "photograph"
    more often for it.

    Args:
        labels: (N,) of validation images, 0 real, 1 fake.
        probabilities: (N,) calibrated, of being fake.
        rates: wanted shares of photographs called fake, in (0, 1).
        band: half the width of the uncertain band at 0.5.
    """
    lower, upper = round(0.5 - band, 6), round(0.5 + band, 6)
    photographs = probabilities[labels == REAL]
    points = [OperatingPoint(None, Threshold(lower, upper))]
    for rate in rates:
        threshold = Threshold(lower, max(upper, threshold_at(photographs, rate)))
        points.append(OperatingPoint(rate, threshold, len(photographs)))
    return tuple(points)


def threshold_at(photographs: npt.NDArray[np.floating], rate: float) -> float:
    """The lowest threshold (midway between two scores) that at most `rate` of the photographs' scores reach."""
    levels, counts = np.unique(photographs.astype(np.float64), return_counts=True)
    levels, reached = levels[::-1], np.cumsum(counts[::-1])
    # Equal scores stand or fall together.
    allowed = int(np.searchsorted(reached, rate * len(photographs) + 1e-9, side="right"))
    return float(((levels[allowed - 1] if allowed else 1.0) + levels[allowed]) / 2)


@dataclass(frozen=True)
class Abstaining:
    """Coverage and selective risk: how many pictures get a verdict, and how many of these verdicts are wrong."""

    coverage: float
    """Share of all pictures that get a verdict."""
    risk: float
    """Share of those that get a wrong one; 0 when none gets a verdict."""


def abstaining(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], threshold: Threshold
) -> Abstaining:
    """Coverage and risk of one pair of thresholds."""
    decided = (probabilities >= threshold.fake) | (probabilities < threshold.real)
    wrong = decided & ((probabilities >= threshold.fake) != (labels == 1))
    return Abstaining(float(np.mean(decided)), float(wrong.sum() / max(1, decided.sum())))


def risk_coverage(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coverage (N,) and risk (N,) when only the 1, 2, … N surest pictures get a verdict (El-Yaniv & Wiener 2010)."""
    order = np.argsort(-np.abs(probabilities - 0.5), kind="stable")
    wrong = ((probabilities >= 0.5) != (labels == 1))[order]
    counts = np.arange(1, len(labels) + 1)
    return counts / len(labels), np.cumsum(wrong) / counts
