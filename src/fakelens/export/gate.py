"""The gate: an exported file must agree with the checkpoint, or it is refused with its numbers.

An INT8 file is refused when a loss beyond its limit is shown, not when there are few pictures: each check of it is a
one-sided test at a nominal 5 % of the hypothesis that the file keeps to the limit, on validation pictures paired with
the checkpoint's verdicts. The chance that the accuracy check, whose limit is 0.005, refuses a file that truly loses so
much and gains nothing (exact sums, `tests/export/test_gate.py`; the first column is the error of the first kind):

| n | loses 0.005 | loses 0.02 | loses 0.03 | loses 0.05 |
|---|---|---|---|---|
| 138 | 0.01 | 0.30 | 0.60 | 0.92 |
| 600 | 0.08 | 0.98 | 1.00 | 1.00 |
| 1,800 | 0.07 | 1.00 | 1.00 | 1.00 |
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.records import GateResult
from fakelens.evaluation.metrics import compute_metrics
from fakelens.evaluation.significance import auc_difference
from fakelens.settings import GateSettings

_LEVEL = 0.05
_Z = 1.644854  # the normal quantile of 1 - _LEVEL


def judge(
    expected: npt.NDArray[np.floating],
    actual: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    batch_difference: float,
    settings: GateSettings,
    *,
    exact: bool,
) -> GateResult:
    """Compare (N,) probabilities of the file (`actual`) with the checkpoint's (`expected`) on one split."""
    reference, metrics = compute_metrics(labels, expected), compute_metrics(labels, actual)
    before, now = (expected >= 0.5) == (labels == 1), (actual >= 0.5) == (labels == 1)
    counts = {
        "num_images": len(labels),
        "num_changed": int(np.sum(before != now)),
        "num_lost": int(np.sum(before & ~now)),
        "num_gained": int(np.sum(~before & now)),
    }
    figures: dict[str, Any] = {
        "max_difference": float(np.abs(expected - actual).max()),
        "agreement": float(np.mean(before == now)),
        "accuracy_drop": reference.accuracy - metrics.accuracy,
        "auc_drop": reference.auc - metrics.auc,
        "batch_difference": batch_difference,
    }
    checks = [("batch_difference", settings.max_batch_difference)]
    if exact:
        checks += [("max_difference", settings.max_difference)]
    reasons = [f"{name} {figures[name]:.4g} is above {limit:g}" for name, limit in checks if not figures[name] <= limit]
    if not exact:
        reasons += _shown_losses(expected, actual, labels, counts, settings)
    return GateResult(**figures, **counts, metrics=metrics, reasons=tuple(reasons))


def _shown_losses(
    expected: npt.NDArray[np.floating],
    actual: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    counts: dict[str, int],
    settings: GateSettings,
) -> list[str]:
    lost, gained, num, changed = (counts[f"num_{name}"] for name in ("lost", "gained", "images", "changed"))
    reasons = []
    if accuracy_loss_is_shown(lost, gained, num, settings.max_accuracy_drop):
        reasons.append(
            f"accuracy_drop {(lost - gained) / num:.4g} is above {settings.max_accuracy_drop:g} ({lost} of {num} "
            f"verdicts lost, {gained} gained; Tango's paired test, one-sided 5 %)"
        )
    drop, error = auc_difference(labels, expected, actual)
    if drop - settings.max_auc_drop > _Z * error:
        reasons.append(f"auc_drop {drop:.4g} is above {settings.max_auc_drop:g} (paired DeLong test, one-sided 5 %)")
    if disagreement_is_shown(changed, num, settings.min_agreement):
        reasons.append(
            f"agreement {1 - changed / num:.4f} is below {settings.min_agreement:g} ({changed} of {num} verdicts "
            "changed; binomial test, one-sided 5 %)"
        )
    return reasons


def accuracy_loss_is_shown(lost: int, gained: int, num: int, limit: float) -> bool:
    """Whether a loss of accuracy above `limit` is shown: Tango's score test for paired proportions (Tango 1998).

    Args:
        lost: pictures that the checkpoint judged rightly and the file does not.
        gained: the reverse.
        num: all pictures.
        limit: of the true loss, as a fraction.
    """
    if limit >= 1:
        return False
    excess = lost - gained - num * limit
    # The larger root of the score equation: the probability of a gain, if the true loss is the limit.
    b = -lost - gained + (2 * num - lost + gained) * limit
    c = -gained * limit * (1 - limit)
    gain = (math.sqrt(max(0.0, b * b - 8 * num * c)) - b) / (4 * num)
    variance = num * (2 * gain + limit * (1 - limit))
    return excess > 0 and (variance <= 0 or excess / math.sqrt(variance) > _Z)


def disagreement_is_shown(changed: int, num: int, min_agreement: float) -> bool:
    """Whether fewer verdicts than `min_agreement` stay the same: an exact binomial test."""
    from scipy.stats import binom

    return changed > 0 and bool(binom.sf(changed - 1, num, 1 - min_agreement) < _LEVEL)
