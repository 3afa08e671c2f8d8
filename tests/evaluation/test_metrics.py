"""Figures that were worked out by hand, and what has no figure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakelens.core.records import Metrics
from fakelens.evaluation.metrics import compute_metrics, summarise
from fakelens.report.tables import with_interval


def computed(labels: list[int], probabilities: list[float]) -> Metrics:
    return compute_metrics(np.array(labels), np.array(probabilities, dtype=np.float32))


def test_by_hand() -> None:
    # Said fake: 0.5 (wrong), 0.9, 0.6, 0.5; missed: 0.4. Of 12 pairs 10 are in order and one is a tie.
    metrics = computed([0, 0, 0, 1, 1, 1, 1], [0.1, 0.5, 0.2, 0.9, 0.4, 0.6, 0.5])
    assert metrics.accuracy == pytest.approx(5 / 7)
    assert metrics.precision == pytest.approx(3 / 4)
    assert metrics.recall == pytest.approx(3 / 4)
    assert metrics.f1 == pytest.approx(3 / 4)
    assert metrics.auc == pytest.approx(10.5 / 12)
    assert metrics.confusion_matrix == ((2, 1), (1, 3))
    assert metrics.num_images == 7


def test_precision_and_recall_are_those_of_fakes() -> None:
    metrics = computed([0, 0, 0, 0, 1, 1], [0.9, 0.8, 0.1, 0.2, 0.7, 0.6])
    assert (metrics.precision, metrics.recall) == (0.5, 1.0)
    assert metrics.f1 == pytest.approx(2 / 3)


def test_perfect_and_perfectly_wrong() -> None:
    right = computed([0, 1], [0.2, 0.8])
    assert (right.accuracy, right.precision, right.recall, right.f1, right.auc) == (1, 1, 1, 1, 1)
    wrong = computed([0, 1], [0.8, 0.2])
    assert (wrong.accuracy, wrong.precision, wrong.recall, wrong.f1, wrong.auc) == (0, 0, 0, 0, 0)
    assert wrong.confusion_matrix == ((0, 1), (1, 0))


def test_a_set_without_an_error_is_no_certainty() -> None:
    labels, probabilities = np.repeat([0, 1], 90), np.repeat([0.1, 0.9], 90)
    block = summarise(labels, probabilities, ["a"] * 180, (), seed=0, num_resamples=200)
    assert block.intervals["accuracy"] == pytest.approx((0.9791, 1.0), abs=1e-4)  # Wilson's, by hand: n / (n + z²)
    assert block.intervals["recall"] == pytest.approx((0.9591, 1.0), abs=1e-4)
    assert with_interval(block, "accuracy") == "1.000 (0.979–1.000)"
    assert with_interval(block, "auc") == "1.000"  # no resample differs, which says nothing of other pictures


def test_precision_without_a_hit_is_zero() -> None:
    metrics = computed([0, 1, 1], [0.1, 0.2, 0.3])
    assert (metrics.precision, metrics.recall, metrics.f1, metrics.auc) == (0, 0, 0, 1)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=30))
def test_against_counting(pairs: list[tuple[int, int]]) -> None:
    pairs += [(0, 3), (1, 4)]
    labels, probabilities = [label for label, _ in pairs], [eighths / 8 for _, eighths in pairs]
    metrics = computed(labels, probabilities)
    real, fake = ([p for n, p in zip(labels, probabilities, strict=True) if n == label] for label in (0, 1))
    in_order = sum((f > r) + 0.5 * (f == r) for f in fake for r in real)
    assert metrics.auc == pytest.approx(in_order / (len(real) * len(fake)))
    hits, alarms = sum(p >= 0.5 for p in fake), sum(p >= 0.5 for p in real)
    assert metrics.confusion_matrix == ((len(real) - alarms, alarms), (len(fake) - hits, hits))
    assert metrics.accuracy == pytest.approx((hits + len(real) - alarms) / len(labels))


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1], []])
def test_one_label_missing_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="one of the two is missing"):
        computed(labels, [0.5] * len(labels))
