"""How sure a figure is: labels and probabilities in, 95 % intervals out. Pure."""

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from fakelens.evaluation.metrics import Metrics

Interval = tuple[float, float]
_LEVEL = 0.95
_Z = 1.959964  # the normal quantile of that level
# (resamples, images) weights are made so many at a time: bounds memory at about 100 MB.
_WEIGHTS_AT_ONCE = 4_000_000


def bootstrap_intervals(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], seed: int, num_resamples: int = 1000
) -> dict[str, Interval]:
    """95 % percentile-bootstrap intervals of the rates of `Metrics` and of AUC (Efron & Tibshirani 1993, chapter 13).

    Images are drawn with replacement within each class, so every resample keeps the set's balance.

    Args:
        labels: (N,) 0 real, 1 fake; both must occur.
        probabilities: (N,) of being fake.
        seed: of the resampling.
        num_resamples: how many.
    """
    rng = np.random.default_rng((seed, 10))
    at_once = max(1, _WEIGHTS_AT_ONCE // len(labels))
    drawn: list[dict[str, npt.NDArray[np.float64]]] = []
    for start in range(0, num_resamples, at_once):
        weights = _weights(labels, min(at_once, num_resamples - start), rng)
        drawn.append(_weighted_metrics(labels, probabilities, weights))
    tail = 100 * (1 - _LEVEL) / 2
    result = {}
    for name in drawn[0]:
        low, high = np.percentile(np.concatenate([part[name] for part in drawn]), (tail, 100 - tail))
        result[name] = (float(low), float(high))
    return result


def wilson_interval(hits: int, count: int) -> Interval:
    """95 % interval of a share (Wilson 1927); sensible for small counts and for shares of 0 and 1."""
    assert 0 <= hits <= count > 0
    share, squared = hits / count, _Z**2 / count
    centre = (share + squared / 2) / (1 + squared)
    half = _Z * np.sqrt(share * (1 - share) / count + squared / (4 * count)) / (1 + squared)
    return (max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def _weights(labels: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(count, N): how often each image was drawn."""
    weights = np.zeros((count, len(labels)))
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return weights


def _weighted_metrics(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    said, fake = probabilities >= 0.5, labels == 1
    tp, fp = weights[:, said & fake].sum(axis=1), weights[:, said & ~fake].sum(axis=1)
    num_fake, num_real = weights[:, fake].sum(axis=1), weights[:, ~fake].sum(axis=1)
    recall, specificity = tp / num_fake, 1 - fp / num_real
    rates = {
        "accuracy": (tp + num_real - fp) / (num_fake + num_real),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": tp / np.maximum(tp + fp, 1),
        "recall": recall,
        "f1": 2 * tp / np.maximum(num_fake + tp + fp, 1),
        "auc": _weighted_auc(fake, probabilities, weights),
    }
    assert set(rates) <= {field.name for field in fields(Metrics)}
    return rates


def _weighted_auc(
    fake: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Probability that a drawn fake scores above a drawn photograph, ties counted half; one per row of `weights`."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # first of each run of equal scores
    fakes = np.add.reduceat(weights[:, order] * fake[order], starts, axis=1)
    reals = np.add.reduceat(weights[:, order] * ~fake[order], starts, axis=1)
    below = np.cumsum(reals, axis=1) - reals
    wins: npt.NDArray[np.float64] = np.sum(fakes * (below + reals / 2), axis=1)
    pairs: npt.NDArray[np.float64] = fakes.sum(axis=1) * reals.sum(axis=1)
    return np.asarray(wins / pairs)
