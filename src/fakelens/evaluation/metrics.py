"""Classification metrics with 95 % intervals, in all and by group. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

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
# Resamples are drawn so many (resamples × images) at a time: bounds memory at about 100 MB.
DRAWN_AT_ONCE = 4_000_000


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
    from scipy.stats import bootstrap

    names = list(_rates(np.zeros(1), np.ones(1)))
    if np.bincount(labels, minlength=2).min() < 2:
        return dict.fromkeys(names, (0.0, 1.0))  # resamples of one image are all that image: they bound nothing
    drawn = bootstrap(
        (probabilities[labels == 0], probabilities[labels == 1]),
        lambda real, fake, axis: np.stack(list(_rates(real, fake).values())),  # noqa: ARG005  scipy passes it
        n_resamples=num_resamples,
        batch=max(1, DRAWN_AT_ONCE // len(labels)),
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng((seed, 10)),
    )
    interval = drawn.confidence_interval
    return {name: (float(interval.low[i]), float(interval.high[i])) for i, name in enumerate(names)}


def _rates(real: npt.NDArray[np.floating], fake: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[np.float64]]:
    """Rates of (…, R) photographs' and (…, F) fakes' probabilities of being fake, each (…)."""
    from scipy.stats import rankdata

    num_real, num_fake = real.shape[-1], fake.shape[-1]
    fp, tp = (real >= 0.5).sum(axis=-1), (fake >= 0.5).sum(axis=-1)
    # Of all pairs, those in which the fake has the higher probability (Mann and Whitney), ties counted half.
    ranks = rankdata(np.concatenate([fake, real], axis=-1), axis=-1)[..., :num_fake].sum(axis=-1)
    return {
        "accuracy": (tp + num_real - fp) / (num_fake + num_real),
        "balanced_accuracy": (tp / num_fake + 1 - fp / num_real) / 2,
        "precision": tp / np.maximum(tp + fp, 1),
        "recall": tp / num_fake,
        "f1": 2 * tp / (num_fake + tp + fp),
        "auc": (ranks - num_fake * (num_fake + 1) / 2) / (num_fake * num_real),
    }


def wilson_interval(hits: int, count: int) -> Interval:
    """95 % interval of a share (Wilson 1927); sensible for small counts and for shares of 0 and 1."""
    from scipy.stats import binomtest

    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def compute_metrics(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating]) -> Metrics:
    """Metrics of (N,) labels (0 real, 1 fake) and (N,) probabilities of being fake; precision without a hit is 0.

    Raises:
        FakelensError: when one label is missing, because then AUC means nothing.
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
    groups_of_both = []
    for label in (0, 1):
        for name in np.unique(names[labels == label]):
            own = probabilities[(labels == label) & (names == name)]
            hits = int(np.sum((own >= 0.5) == label))
            share = hits / len(own)
            groups_of_both.append(
                GroupFigures(label, str(name), len(own), share, wilson_interval(hits, len(own)), float(own.mean()))
            )
    return tuple(
        sorted(groups_of_both, key=lambda group: (group.label, group.share_right, -group.num_images, group.name))
    )


@dataclass(frozen=True)
class PointFigures:
    """Figures of one operating point, chosen on validation, on this set."""

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
    """95 % intervals of the metrics: Wilson's of accuracy and recall, bootstrap of the others."""
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
    """The outcome of the evaluate stage: thresholds and temperature from validation, calibration on the other sets."""

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
        FakelensError: when one label is missing.
    """
    metrics = compute_metrics(labels, probabilities)
    (right_real, _), (missed, found) = metrics.confusion_matrix
    # Of shares Wilson's: a bootstrap of a set without an error would be of no width.
    shares = {
        "accuracy": wilson_interval(right_real + found, metrics.num_images),
        "recall": wilson_interval(found, missed + found),
    }
    return SetMetrics(
        **vars(metrics),
        intervals=bootstrap_intervals(labels, probabilities, seed, num_resamples) | shares,
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
