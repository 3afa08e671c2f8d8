"""A known temperature is found again, and the calibration error is what its definition says."""

import numpy as np
import pytest

from fakelens.evaluation.calibration import (
    calibrated,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_temperature,
    reliability,
    temperature_warning,
)


def overconfident(temperature: float, num: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large, and labels drawn from the honest probabilities."""
    rng = np.random.default_rng(3)
    honest = rng.normal(0, 2, num)
    labels = (rng.random(num) < 1 / (1 + np.exp(-honest))).astype(np.int64)
    return (honest * temperature).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_known_temperature_is_found_again(temperature: float) -> None:
    logits, labels = overconfident(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_fitting_lowers_the_calibration_error_and_keeps_the_order() -> None:
    logits, labels = overconfident(4.0)
    before, after = (calibrated(logits, t) for t in (1.0, fit_temperature(logits, labels)))
    assert expected_calibration_error(before, labels) > 0.1
    assert expected_calibration_error(after, labels) < 0.02
    assert np.array_equal(np.argsort(logits, kind="stable"), np.argsort(after, kind="stable"))
    assert np.array_equal(before >= 0.5, after >= 0.5)


def test_flawless_and_useless_detectors_stay_within_bounds() -> None:
    labels = np.array([0, 1] * 20)
    logits = np.where(labels == 1, 1.0, -1.0)
    assert 0.05 < fit_temperature(logits, labels) < 1
    assert 10 < fit_temperature(-logits, labels) <= 20


@pytest.mark.parametrize("per_class", [15, 75, 225])
@pytest.mark.parametrize("logit", [1.0, 9.0])
def test_pictures_without_a_mistake_bear_out_no_certainty(per_class: int, logit: float) -> None:
    labels = np.array([0, 1] * per_class)
    logits = np.where(labels == 1, logit, -logit)
    # Platt's target: one picture more of each class, so that the stated error is 1 / (n + 2), by hand.
    stated = calibrated(np.array([-logit]), fit_temperature(logits, labels))[0]
    assert stated == pytest.approx(1 / (per_class + 2), rel=1e-3)


def test_a_temperature_at_a_bound_is_warned_of() -> None:
    labels = np.array([0, 1] * 5000)
    tiny = np.where(labels == 1, 0.01, -0.01)
    assert "lower bound" in str(temperature_warning(fit_temperature(tiny, labels)))
    assert "upper bound" in str(temperature_warning(fit_temperature(-100 * tiny, labels)))
    assert temperature_warning(1.0) is None


def test_calibrated_by_hand() -> None:
    logits = np.array([0.0, np.log(3.0), -np.log(3.0), 2 * np.log(3.0)])
    assert calibrated(logits, 1) == pytest.approx([0.5, 0.75, 0.25, 0.9])
    assert calibrated(logits, 2)[3] == pytest.approx(0.75)


def test_extreme_logits_overflow_nowhere() -> None:
    values = calibrated(np.array([-1e30, -100, 100, 1e30], dtype=np.float32), 0.05)
    assert values == pytest.approx([0, 0, 1, 1])
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("probabilities", "labels", "error"),
    [
        ([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], 0.0),
        ([0.0, 0.0, 1.0, 1.0], [1, 1, 0, 0], 1.0),
        ([0.5, 0.5], [0, 1], 0.0),
        # One bin says 0.8 and sees 1/2, three pictures in another say 0.1 and see 1/3.
        ([0.8, 0.8, 0.1, 0.1, 0.1], [1, 0, 0, 0, 1], (2 * 0.3 + 3 * (1 / 3 - 0.1)) / 5),
    ],
)
def test_calibration_error_by_hand(probabilities: list[float], labels: list[int], error: float) -> None:
    assert expected_calibration_error(np.array(probabilities), np.array(labels)) == pytest.approx(error)


def test_bins_are_as_many_as_asked_for() -> None:
    probabilities, labels = np.array([0.2, 0.8]), np.array([1, 0])
    assert [len(reliability(probabilities, labels, num_bins)) for num_bins in (1, 2)] == [1, 2]


def test_what_chance_makes_of_right_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random(600)
    mean, high = calibration_error_by_chance(probabilities, seed=1)
    seen = [
        expected_calibration_error(probabilities, (rng.random(600) < probabilities).astype(int)) for _ in range(400)
    ]
    assert mean == pytest.approx(np.mean(seen), abs=0.001)
    assert np.mean(np.array(seen) <= high) == pytest.approx(0.95, abs=0.04)
    fewer = calibration_error_by_chance(probabilities[:60], seed=1)
    assert fewer[0] > 2 * mean


def test_certain_and_right_leaves_nothing_to_chance() -> None:
    assert calibration_error_by_chance(np.array([0.0, 1.0, 1.0]), seed=0) == (0.0, 0.0)
