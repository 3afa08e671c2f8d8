"""Temperature scaling (Guo et al. 2017, arXiv 1706.04599): validation logits in, one number out."""

from typing import Any

import numpy as np
import numpy.typing as npt

_BOUNDS = (0.05, 20.0)


def fit_temperature(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> float:
    """The temperature T that minimises the cross-entropy of sigmoid(logit / T); above 1 means overconfident."""
    from scipy.optimize import minimize_scalar

    signed = np.where(labels == 1, logits, -logits).astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(np.mean(np.logaddexp(0.0, -signed / np.exp(log_temperature))))

    result: Any = minimize_scalar(loss, bounds=tuple(np.log(_BOUNDS)), method="bounded")
    return float(np.exp(result.x))


def calibrated(logits: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.float64]:
    """sigmoid(logit / temperature)."""
    return 1 / (1 + np.exp(-np.clip(logits.astype(np.float64) / temperature, -60, 60)))


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], num_bins: int = 15
) -> float:
    """Mean distance between stated probability and observed share of fakes, over equal-width bins."""
    bins = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    gaps = [
        np.sum(bins == b) * abs(np.mean(probabilities[bins == b]) - np.mean(labels[bins == b])) for b in np.unique(bins)
    ]
    return float(np.sum(gaps) / len(labels))
