import numpy as np
import pytest

from fakelens.export.parity import GateSettings, judge

LABELS = np.repeat([0, 1], 100)
RIGHT = np.where(LABELS == 1, 0.9, 0.1)


def swapped(num: int) -> np.ndarray:
    """Probabilities of which so many, of either class, changed sides."""
    found = RIGHT.copy()
    found[:num] = 0.9
    return found


@pytest.mark.parametrize(("flips", "passes"), [(0, True), (1, True), (2, False)])
def test_int8_may_lose_half_a_point(flips: int, passes: bool) -> None:
    result = judge(RIGHT, swapped(flips), LABELS, 0.0, GateSettings(max_auc_drop=1), exact=False)
    assert result.accuracy_drop == pytest.approx(flips / 200)
    assert result.passed is passes


def test_what_is_lost_exactly_at_the_limit_passes() -> None:
    labels = np.repeat([0, 1], 300)
    expected = np.where(labels == 1, 0.9, 0.1)
    found = expected.copy()
    found[:3] = 0.9  # 3 of 600 are 0.005, and 1 - 0.995 in floats is a little more
    assert judge(expected, found, labels, 0.0, GateSettings(max_auc_drop=1), exact=False).passed


def test_a_refusal_says_by_how_much() -> None:
    result = judge(RIGHT, swapped(20), LABELS, 0.0, GateSettings(), exact=False)
    assert any("agreement 0.9000 is below 0.99" in reason for reason in result.reasons)
    assert any("accuracy_drop 0.1 is above 0.005" in reason for reason in result.reasons)


def test_fp32_must_be_the_same_number() -> None:
    assert judge(RIGHT, RIGHT + 9e-5, LABELS, 0.0, GateSettings(), exact=True).passed
    assert not judge(RIGHT, RIGHT + 2e-4, LABELS, 0.0, GateSettings(), exact=True).passed


def test_what_depends_on_the_batch_is_refused() -> None:
    assert not judge(RIGHT, RIGHT, LABELS, 0.01, GateSettings(), exact=False).passed
    assert not judge(RIGHT, RIGHT, LABELS, float("nan"), GateSettings(), exact=False).passed
