"""The gate refuses a loss that is shown, whatever the number of pictures, and nothing else."""

import numpy as np
import pytest
from scipy.stats import binom

from fakelens.export.gate import accuracy_loss_is_shown, disagreement_is_shown, judge
from fakelens.settings import GateSettings

LABELS = np.repeat([0, 1], 100)
RIGHT = np.where(LABELS == 1, 0.9, 0.1)


def swapped(num: int, of: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities without a mistake, and the same with so many that changed sides."""
    labels = np.repeat([0, 1], of // 2)
    right = np.where(labels == 1, 0.9, 0.1)
    found = right.copy()
    found[:num] = 0.9
    return labels, right, found


def passes(num: int, of: int) -> bool:
    labels, right, found = swapped(num, of)
    return not judge(right, found, labels, 0.0, GateSettings(max_auc_drop=1), exact=False).reasons


@pytest.mark.parametrize(("of", "most"), [(138, 3), (600, 5), (1800, 13)])
def test_a_file_is_refused_when_the_loss_is_shown(of: int, most: int) -> None:
    assert [num for num in range(60) if passes(num, of)] == list(range(most + 1))


def test_one_changed_verdict_of_138_passes_and_is_said() -> None:
    labels, right, found = swapped(1, 138)
    result = judge(right, found, labels, 0.0, GateSettings(max_auc_drop=1), exact=False)
    assert not result.reasons
    assert result.words == "1 of 138 verdicts changed"
    assert (result.num_lost, result.num_gained, result.accuracy_drop) == (1, 0, pytest.approx(1 / 138))


@pytest.mark.parametrize("of", [12, 22, 138, 600])
def test_a_file_that_gives_all_the_same_verdict_is_refused_however_few_there_are(of: int) -> None:
    labels, right, _ = swapped(0, of)
    result = judge(right, np.full(of, 0.9), labels, 0.0, GateSettings(), exact=False)
    assert len(result.reasons) == 3


# The table of the module's docstring: exact sums over the number of lost verdicts.
@pytest.mark.parametrize(
    ("num", "powers"),
    [(138, (0.01, 0.30, 0.60, 0.92)), (600, (0.08, 0.98, 1.00, 1.00)), (1800, (0.07, 1.00, 1.00, 1.00))],
)
def test_the_power_is_as_stated(num: int, powers: tuple[float, ...]) -> None:
    shown = np.array([accuracy_loss_is_shown(lost, 0, num, 0.005) for lost in range(num + 1)])
    for loss, power in zip((0.005, 0.02, 0.03, 0.05), powers, strict=True):
        assert float(binom.pmf(np.arange(num + 1), num, loss)[shown].sum()) == pytest.approx(power, abs=0.006)


def test_gains_count_against_losses() -> None:
    assert accuracy_loss_is_shown(12, 0, 600, 0.005)
    assert not accuracy_loss_is_shown(12, 9, 600, 0.005)
    assert not accuracy_loss_is_shown(0, 30, 600, 0.005)


def test_the_score_test_agrees_with_mcnemars_at_a_limit_of_zero() -> None:
    # Tango's statistic for no difference is McNemar's (b - c) / sqrt(b + c): 9 / 5 and 8 / 4.9 against 1.645.
    assert accuracy_loss_is_shown(17, 8, 1000, 0.0)
    assert not accuracy_loss_is_shown(16, 8, 1000, 0.0)


def test_disagreement_by_hand() -> None:
    # P(at least 4 of 138 at 1 %) is 0.051, of 5 it is 0.013.
    assert not disagreement_is_shown(4, 138, 0.99)
    assert disagreement_is_shown(5, 138, 0.99)
    assert disagreement_is_shown(1, 138, 1.0)
    assert not disagreement_is_shown(138, 138, 0.0)


def test_a_refusal_says_by_how_much() -> None:
    labels, right, found = swapped(20)
    result = judge(right, found, labels, 0.0, GateSettings(), exact=False)
    assert any("agreement 0.9000 is below 0.99 (20 of 200 verdicts changed" in reason for reason in result.reasons)
    assert any("accuracy_drop 0.1 is above 0.005 (20 of 200 verdicts lost" in reason for reason in result.reasons)
    assert any("auc_drop" in reason for reason in result.reasons)


def test_fp32_must_be_the_same_number() -> None:
    assert not judge(RIGHT, RIGHT + 9e-5, LABELS, 0.0, GateSettings(), exact=True).reasons
    assert judge(RIGHT, RIGHT + 2e-4, LABELS, 0.0, GateSettings(), exact=True).reasons


def test_what_depends_on_the_batch_is_refused() -> None:
    assert judge(RIGHT, RIGHT, LABELS, 0.01, GateSettings(), exact=False).reasons
    assert judge(RIGHT, RIGHT, LABELS, float("nan"), GateSettings(), exact=False).reasons
