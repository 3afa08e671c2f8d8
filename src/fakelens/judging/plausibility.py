"""Implausible scores: a system's probabilities and figures in, what is wrong with them and the likely cause out."""

import numpy as np
import numpy.typing as npt

from fakelens.core.scoring import LABELS
from fakelens.evaluation.metrics import SetMetrics

# Worse than chance by this much is no accident, unless the pictures are so few that chance reaches it.
_REVERSED_AUC = 0.4
_STANDARD_ERRORS = 2


def implausibilities(probabilities: npt.NDArray[np.float64], metrics: SetMetrics, *, is_model: bool) -> list[str]:
    """Warnings about (N,) probabilities of being fake, each with its likely cause; empty for sound ones.

    Args:
        probabilities: of one system.
        metrics: that follow from them.
        is_model: whether the system ran here, rather than handing in its scores.
    """
    values = np.unique(probabilities)
    if len(values) == 1:
        cause = "its training failed" if is_model else "a wrong column, or a default in the place of failed calls"
        return [f"every picture has the same score, {values[0]:.3g}: likely cause: {cause}"]
    texts = []
    if metrics.auc < min(_REVERSED_AUC, 0.5 - _STANDARD_ERRORS * _auc_error_by_chance(metrics)):
        exchanged = "the pictures of real/ and fake/ are exchanged"
        other = "" if is_model else "it scores being a photograph (then give 1 - score), or "
        texts.append(f"scores are reversed, AUC {metrics.auc:.3f}: likely cause: {other}{exchanged}")
    if set(values) == {0.0, 1.0}:
        texts.append(
            "all scores are 0 or 1: likely cause: verdicts instead of probabilities, whose AUC and calibration error "
            "say less"
        )
    elif values[0] >= 0.5 or values[-1] < 0.5:
        label = LABELS[int(values[0] >= 0.5)]
        cause = (
            "pictures unlike those that it was trained on" if is_model else
            "its threshold is not 0.5, or the score is not the probability of being AI-generated but, say, the "
            "confidence in a verdict"
        )  # fmt: skip
        texts.append(
            f"every picture counts as {label} at 0.5, with scores from {values[0]:.4g} to {values[-1]:.4g}: likely "
            f"cause: {cause}"
        )
    return texts


def _auc_error_by_chance(metrics: SetMetrics) -> float:
    """Standard error of the AUC of scores that know nothing (Mann and Whitney 1947)."""
    num_real, num_fake = map(sum, metrics.confusion_matrix)
    return float(np.sqrt((num_real + num_fake + 1) / (12 * num_real * num_fake)))
