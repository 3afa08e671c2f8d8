"""The gate: an exported file must agree with the checkpoint, or it is refused with its numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fakelens.core.config import Settings
from fakelens.evaluation.metrics import Metrics, compute_metrics

# Three pictures of 600 are not more than 0.005 because a difference of two floats says so.
_ROUNDING = 1e-9


class GateSettings(Settings):
    """What an exported file may lose."""

    max_difference: float = Field(1e-4, gt=0)
    """fp32: largest difference of a probability from the checkpoint's."""
    max_accuracy_drop: float = Field(0.005, ge=0)
    """INT8: accuracy lost, as a fraction, on the validation split and on the test split."""
    max_auc_drop: float = Field(0.005, ge=0)
    """INT8: AUC lost on either."""
    min_agreement: float = Field(0.99, ge=0, le=1)
    """INT8: share of the pictures of either that get the checkpoint's verdict at 0.5."""
    max_batch_difference: float = Field(1e-3, gt=0)
    """Any file: largest difference of one image's probability between batches of 1, 3 and 5."""


@dataclass(frozen=True)
class GateResult:
    """The figures of one file and whether they pass; `reasons` is empty if they do."""

    max_difference: float
    agreement: float
    accuracy_drop: float
    auc_drop: float
    batch_difference: float
    metrics: Metrics
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if the file may be shipped."""
        return not self.reasons


def judge(
    expected: npt.NDArray[np.floating],
    found: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    batch_difference: float,
    settings: GateSettings,
    *,
    exact: bool,
) -> GateResult:
    """Compare (N,) probabilities of the file (`found`) with the checkpoint's (`expected`) on one split."""
    reference, metrics = compute_metrics(labels, expected), compute_metrics(labels, found)
    figures = {
        "max_difference": float(np.abs(expected - found).max()),
        "agreement": float(np.mean((expected >= 0.5) == (found >= 0.5))),
        "accuracy_drop": reference.accuracy - metrics.accuracy,
        "auc_drop": reference.auc - metrics.auc,
        "batch_difference": batch_difference,
    }
    checks = [("batch_difference", settings.max_batch_difference)]
    if exact:
        checks += [("max_difference", settings.max_difference)]
    else:
        checks += [("accuracy_drop", settings.max_accuracy_drop), ("auc_drop", settings.max_auc_drop)]
    over = [(name, limit) for name, limit in checks if not figures[name] <= limit + _ROUNDING]
    reasons = [f"{name} {figures[name]:.4g} is above {limit:g}" for name, limit in over]
    if not exact and figures["agreement"] < settings.min_agreement - _ROUNDING:
        reasons.append(f"agreement {figures['agreement']:.4f} is below {settings.min_agreement:g}")
    return GateResult(**figures, metrics=metrics, reasons=tuple(reasons))
