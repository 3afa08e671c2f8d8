"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): validation logits in, one number out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_NUM_BINS = 15
_BOUNDS = (0.05, 20.0)
_NEAR_BOUND = 1.02


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """The temperature T that minimises the cross-entropy of sigmoid(logit / T); above 1 means overconfident.

    The targets are those of Platt (1999): of n pictures of a class, (n + 1) / (n + 2) instead of all are taken to be of
    it, as one picture more of either class would have it. Otherwise n pictures without a mistake make every probability
    0 or 1; with many pictures it makes no difference.
    """
    from scipy.optimize import minimize_scalar

    signed = np.where(labels == 1, logits, -logits).astype(np.float64)
    counts = np.bincount(labels, minlength=2)[labels]
    of_other = 1 / (counts + 2)

    def loss(log_temperature: float) -> float:
        scaled = signed / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0.0, -scaled) + of_other * scaled))

    result: Any = minimize_scalar(loss, bounds=tuple(np.log(_BOUNDS)), method="bounded")
    return float(np.exp(result.x))


def temperature_warning(temperature: float) -> str | None:
    """A warning about a temperature at a bound of its search; None for one between them."""
    low, high = _BOUNDS
    if temperature <= low * _NEAR_BOUND:
        return (
            f"the temperature is at its lower bound, {low:g}: logits are tiny, or validation is far too easy; do not "
            "trust the probabilities"
        )
    if temperature >= high / _NEAR_BOUND:
        return (
            f"the temperature is at its upper bound, {high:g}: the detector has learnt nothing that holds on "
            "validation; its probabilities are all near 0.5"
        )
    return None


def calibrated(logits: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.float64]:
    """sigmoid(logit / temperature)."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64) / temperature, -60, 60)))


@dataclass(frozen=True)
class ReliabilityBin:
    """The pictures whose stated probability lies in one interval."""

    lower: float
    upper: float
    num_images: int
    mean_probability: float
    share_fake: float


def reliability(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], num_bins: int = _NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Stated probability against observed share of fakes in equal-width bins; empty bins are left out."""
    number = _bins(probabilities, num_bins)
    return tuple(
        ReliabilityBin(
            lower=b / num_bins,
            upper=(b + 1) / num_bins,
            num_images=int(np.sum(number == b)),
            mean_probability=float(np.mean(probabilities[number == b])),
            share_fake=float(np.mean(labels[number == b])),
        )
        for b in map(int, np.unique(number))
    )


def _bins(probabilities: npt.NDArray[np.floating], num_bins: int) -> npt.NDArray[np.int64]:
    """The number of each probability's bin, all of one width."""
    return np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)


def expected_calibration_error(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """Mean distance between stated probability and observed share of fakes (Guo et al. 2017), weighted by images."""
    bins = reliability(probabilities, labels)
    return sum(b.num_images * abs(b.mean_probability - b.share_fake) for b in bins) / len(labels)


def calibration_error_by_chance(probabilities: npt.NDArray[np.floating], seed: int) -> tuple[float, float]:
    """Mean and 95 % quantile of the error that these (N,) probabilities would have if they were exactly right.

    A finite set shows an error above 0 even then. Labels are drawn from the probabilities (consistency resampling,
    Bröcker and Smith 2007, doi:10.1175/WAF993.1).
    """
    draws = np.random.default_rng(seed).random((1000, len(probabilities))) < probabilities
    # A bin's share of the error is the sum of its pictures' differences: of all draws at once.
    number = _bins(probabilities, _NUM_BINS)
    sums = (probabilities - draws) @ (number[:, None] == np.unique(number)).astype(np.float64)
    errors = np.abs(sums).sum(axis=1) / len(probabilities)
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))
