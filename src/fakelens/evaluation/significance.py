"""Two detectors on the same pictures: labels and both's probabilities in, how sure their difference is out. Pure."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Comparison:
    """Differences are first minus second; p-values are two-sided, for the hypothesis of no difference."""

    num_images: int
    only_first_right: int
    """Pictures that only the first one judged rightly at 0.5."""
    only_second_right: int
    accuracy_difference: float
    mcnemar_p: float
    """Exact (binomial) McNemar test of the verdicts."""
    auc_difference: float
    auc_interval: tuple[float, float]
    """95 % interval of the difference of the AUCs."""
    delong_p: float
    """DeLong test of the AUCs."""


def compare(labels: npt.NDArray[np.int64], first: Probabilities, second: Probabilities) -> Comparison:
    """McNemar's and DeLong's tests on (N,) labels (0 real, 1 fake) and two detectors' (N,) probabilities."""
    from scipy.stats import binomtest, norm

    right, other = (first >= 0.5) == labels, (second >= 0.5) == labels
    only_first, only_second = int(np.sum(right & ~other)), int(np.sum(other & ~right))
    discordant = only_first + only_second
    exact: Any = binomtest(only_first, discordant).pvalue if discordant else 1.0
    difference, error = auc_difference(labels, first, second)
    p = 2 * norm.sf(abs(difference) / error) if error > 0 else float(difference == 0)
    half = float(norm.ppf(0.975)) * error
    return Comparison(
        len(labels), only_first, only_second, (only_first - only_second) / len(labels), float(exact),
        difference, (difference - half, difference + half), float(p),
    )  # fmt: skip


def auc_difference(labels: npt.NDArray[np.int64], first: Probabilities, second: Probabilities) -> tuple[float, float]:
    """AUC of the first minus that of the second, on the same (N,) pictures, and DeLong's standard error of it."""
    (one, other), covariance = delong(labels, np.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return float(one - other), math.sqrt(max(0.0, variance))


def delong(
    labels: npt.NDArray[np.int64], scores: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """AUCs (K,) of K systems' scores (K, N) and their covariance (K, K).

    DeLong et al. 1988, in the form of Sun & Xu 2014 (doi 10.1109/LSP.2014.2337313): mid-ranks, no pairs of images.
    """
    from scipy.stats import rankdata

    fake, real = scores[:, labels == 1], scores[:, labels == 0]
    num_fake, num_real = fake.shape[1], real.shape[1]
    together = rankdata(np.concatenate([fake, real], axis=1), axis=1)
    # Share of photographs below each fake, and of fakes above each photograph.
    of_fakes = (together[:, :num_fake] - rankdata(fake, axis=1)) / num_real
    of_reals = 1 - (together[:, num_fake:] - rankdata(real, axis=1)) / num_fake
    covariance = np.atleast_2d(np.cov(of_fakes)) / num_fake + np.atleast_2d(np.cov(of_reals)) / num_real
    return of_fakes.mean(axis=1), covariance
