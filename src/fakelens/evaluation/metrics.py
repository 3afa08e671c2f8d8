"""Classification metrics with 95 % intervals, in all and by group. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.records import Metrics
from fakelens.core.scoring import OperatingPoint, Threshold
from fakelens.evaluation.calibration import (
    ReliabilityBin,
    calibration_error_by_chance,
    expected_calibration_error,
    reliability,
)
from fakelens.evaluation.thresholds import Abstaining, abstaining

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


def compute_metrics(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> Metrics:
    """Metrics of (N,) labels (0 real, 1 fake) and (N,) probabilities of being fake; precision without a hit is 0.

    Raises:
        ValueError: when one label is missing, because then AUC means nothing.
    """
    from sklearn import metrics

    if set(np.unique(labels)) != {0, 1}:
        raise FakelensError("metrics need photographs and fakes: one of the two is missing")
    said_fake = (probabilities >= 0.5).astype(int)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        labels, said_fake, average="binary", zero_division=0
    )
    matrix = metrics.confusion_matrix(labels, said_fake, labels=[0, 1]).tolist()
    return Metrics(
        accuracy=float(np.mean(labels == said_fake)),
        balanced_accuracy=(matrix[0][0] / sum(matrix[0]) + matrix[1][1] / sum(matrix[1])) / 2,
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        auc=float(metrics.roc_auc_score(labels, probabilities)),
        confusion_matrix=((matrix[0][0], matrix[0][1]), (matrix[1][0], matrix[1][1])),
        num_images=len(labels),
    )


@dataclass(frozen=True)
class GroupFigures:
    """One generator's fakes or one source's photographs."""

    label: int
    name: str
    num_images: int
    share_right: float
    """At 0.5: recall of a generator, specificity of a source."""
    interval: Interval
    """95 % interval of that share (Wilson)."""
    mean_probability: float


def by_group(
    labels: npt.NDArray[np.int64], groups: Sequence[str] | npt.NDArray[np.str_], probabilities: npt.NDArray[np.floating]
) -> tuple[GroupFigures, ...]:
    """Figures of every (label, group), the worst first within each label."""
    names = np.asarray(groups)
    found = []
    for label in (0, 1):
        for name in np.unique(names[labels == label]):
            own = probabilities[(labels == label) & (names == name)]
            hits = int(np.sum((own >= 0.5) == label))
            share = hits / len(own)
            found.append(
                GroupFigures(label, str(name), len(own), share, wilson_interval(hits, len(own)), float(own.mean()))
            )
    return tuple(sorted(found, key=lambda group: (group.label, group.share_right, -group.num_images, group.name)))


@dataclass(frozen=True)
class PointFigures:
    """What one operating point, chosen on validation, does on this set."""

    false_positive_rate_on_validation: float | None
    threshold_real: float
    threshold_fake: float
    false_positive_rate: float
    recall: float
    abstaining: Abstaining


@dataclass(frozen=True)
class SetMetrics(Metrics):
    """All figures of one set: a block of `metrics.json`."""

    intervals: dict[str, Interval]
    """95 % bootstrap intervals of the metrics."""
    calibration_error: float
    calibration_error_by_chance: tuple[float, float]
    """Mean and 95 % quantile of what a perfectly calibrated detector would show on as many pictures."""
    reliability: tuple[ReliabilityBin, ...]
    operating_points: tuple[PointFigures, ...]
    groups: tuple[GroupFigures, ...]
    """Per generator and per source of photographs, the worst first."""


@dataclass(frozen=True)
class CalibrationChange:
    """Expected calibration error of one set."""

    before: float
    after: float
    """With the temperature that was fitted on validation."""


@dataclass(frozen=True)
class EvaluateResults:
    """What the evaluate stage found on validation, and how well it is calibrated elsewhere."""

    warnings: tuple[str, ...]
    temperature: float
    """What logits are divided by."""
    threshold: Threshold
    """The one that decides verdicts."""
    operating_points: tuple[OperatingPoint, ...]
    val: SetMetrics
    calibration_error: dict[str, CalibrationChange]
    """Of every test set."""


def summarise(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.str_],
    points: Sequence[OperatingPoint],
    *,
    seed: int,
    num_resamples: int,
) -> SetMetrics:
    """Figures of (N,) labels (0 real, 1 fake), (N,) calibrated probabilities and (N,) generators or sources.

    Raises:
        ValueError: when one label is missing.
    """
    return SetMetrics(
        **vars(compute_metrics(labels, probabilities)),
        intervals=bootstrap_intervals(labels, probabilities, seed, num_resamples),
        calibration_error=expected_calibration_error(probabilities, labels),
        calibration_error_by_chance=calibration_error_by_chance(probabilities, seed),
        reliability=reliability(probabilities, labels),
        operating_points=tuple(_at(point, labels, probabilities) for point in points),
        groups=by_group(labels, groups, probabilities),
    )


def _at(point: OperatingPoint, labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> PointFigures:
    called_fake = probabilities >= point.threshold.fake
    return PointFigures(
        point.false_positive_rate,
        point.threshold.real,
        point.threshold.fake,
        false_positive_rate=float(called_fake[labels == 0].mean()),
        recall=float(called_fake[labels == 1].mean()),
        abstaining=abstaining(labels, probabilities, point.threshold),
    )
