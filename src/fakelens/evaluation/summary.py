"""All that is said of one set of pictures: labels, groups and logits in, one JSON-ready block of figures out. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.scoring import OperatingPoint
from fakelens.evaluation.breakdown import GroupFigures, by_group
from fakelens.evaluation.calibration import (
    ReliabilityBin,
    calibration_error_by_chance,
    expected_calibration_error,
    reliability,
)
from fakelens.evaluation.intervals import Interval, bootstrap_intervals
from fakelens.evaluation.metrics import Metrics, compute_metrics
from fakelens.evaluation.operating import Abstaining, abstaining


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
class SetSummary:
    """Figures of one set; `metrics` are at 0.5."""

    metrics: Metrics
    intervals: dict[str, Interval]
    """95 % bootstrap intervals of the metrics."""
    calibration_error: float
    calibration_error_by_chance: tuple[float, float]
    """Mean and 95 % quantile of what a perfectly calibrated detector would show on as many pictures."""
    reliability: tuple[ReliabilityBin, ...]
    operating_points: tuple[PointFigures, ...]
    groups: tuple[GroupFigures, ...]
    """Per generator and per source of photographs, the worst first."""

    def as_block(self) -> dict[str, Any]:
        """As a block of `metrics.json`: the metrics at its top level, where scripts look for them."""
        plain = asdict(self)
        metrics: dict[str, Any] = plain.pop("metrics")
        return metrics | plain


def summarise(
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.floating],
    groups: Sequence[str] | npt.NDArray[np.str_],
    points: Sequence[OperatingPoint],
    *,
    seed: int,
    num_resamples: int,
) -> SetSummary:
    """Figures of (N,) labels (0 real, 1 fake), (N,) calibrated probabilities and (N,) generators or sources.

    Raises:
        ValueError: when one label is missing.
    """
    return SetSummary(
        metrics=compute_metrics(labels, probabilities),
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
