"""Thresholds keep their promise on the photographs that they were chosen on, ties and few pictures included."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakelens.core.scoring import Threshold, point_at, points_of
from fakelens.evaluation.thresholds import abstaining, operating_points, risk_coverage, threshold_at


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.floats(0.005, 0.6))
def test_at_most_the_rate_lies_above_and_no_lower_threshold_would_do(scores: list[int], rate: float) -> None:
    photographs = np.array(scores) / 21
    threshold = threshold_at(photographs, rate)
    reached = np.mean(photographs >= threshold)
    assert reached <= rate + 1e-9
    next_lower = photographs[photographs < threshold].max()
    assert np.mean(photographs >= next_lower) > rate


def test_one_in_a_hundred() -> None:
    photographs = np.arange(100) / 100
    assert threshold_at(photographs, 0.01) == pytest.approx(0.985)
    assert threshold_at(photographs, 0.05) == pytest.approx(0.945)
    assert threshold_at(photographs[:50], 0.01) == pytest.approx((1 + 0.49) / 2)  # too few to allow one


def test_points_are_of_the_photographs_alone() -> None:
    labels = np.array([0] * 100 + [1] * 50)
    probabilities = np.concatenate([np.arange(100) / 100, np.ones(50)])
    points = operating_points(labels, probabilities, (0.01, 0.05), band=0.1)
    assert points[0].threshold == Threshold(0.4, 0.6)
    assert point_at(points, 0.05).threshold.real == 0.4
    assert point_at(points, 0.05).threshold.fake == pytest.approx(0.945)
    assert points_of([{"false_positive_rate": None, "threshold": {"real": 0.4, "fake": 0.6}}]) == points[:1]
    with pytest.raises(ValueError, match=r"choose one of 0\.01, 0\.05"):
        point_at(points, 0.2)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.5])
def test_a_stricter_setting_is_never_looser(rate: float) -> None:
    # A detector that separates its validation pictures: any line between 0.1 and 0.9 has no false alarm.
    labels = np.array([0] * 100 + [1] * 100)
    probabilities = np.concatenate([np.arange(100) / 1000, 1 - np.arange(100) / 1000])
    default, point = operating_points(labels, probabilities, (rate,), band=0.1)
    assert point.threshold == default.threshold == Threshold(0.4, 0.6)


@pytest.mark.parametrize(("num", "told"), [(22, True), (99, True), (100, False), (900, False)])
def test_a_rate_that_the_photographs_cannot_show_is_said(num: int, told: bool) -> None:
    (_, point) = operating_points(np.zeros(num, dtype=np.int64), np.linspace(0, 1, num), (0.01,), band=0.1)
    assert (point.caution is not None) is told
    assert point.caution is None or f"cannot be verified with {num} validation photographs" in point.caution
    assert points_of([{**asdict(point)}]) == (point,)


def test_abstaining_counts_only_those_that_get_a_verdict() -> None:
    labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.1, 0.9, 0.5, 0.8])
    found = abstaining(labels, probabilities, Threshold(0.4, 0.6))
    assert (found.coverage, found.risk) == (0.75, pytest.approx(1 / 3))
    assert abstaining(labels, np.full(4, 0.5), Threshold(0.4, 0.6)).risk == 0


def test_the_surest_come_first() -> None:
    labels, probabilities = np.array([0, 1, 1, 0]), np.array([0.01, 0.95, 0.3, 0.45])
    coverage, risk = risk_coverage(labels, probabilities)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4])
