"""Two detectors' difference: against published and brute-force values."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fakelens.evaluation.significance import compare, delong


def scored(num: int, seed: int, shift: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-rng.normal(shift * (2 * (np.arange(num) % 2) - 1), 1.5)))


def test_the_areas_are_the_areas_and_the_variance_is_that_of_resampling() -> None:
    labels = np.arange(300) % 2
    scores = np.stack([scored(300, 0, 1.0), scored(300, 1, 0.5)])
    areas, covariance = delong(labels, scores)
    assert areas == pytest.approx([roc_auc_score(labels, row) for row in scores])
    rng, drawn = np.random.default_rng(0), []
    of_each = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(1000):
        real, fake = (rng.choice(own, len(own)) for own in of_each)
        # The share of pairs in the right order is the area, and counting them is a tenth of the work.
        drawn.append([np.mean(row[fake][:, None] > row[real]) for row in scores])
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), np.std(drawn, axis=0), rtol=0.1)


def test_ties_count_half() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    areas, _ = delong(labels, np.array([[0.5, 0.5, 0.2, 0.8, 0.8, 0.5]]))
    assert areas == pytest.approx([roc_auc_score(labels, [0.5, 0.5, 0.2, 0.8, 0.8, 0.5])])


def test_mcnemar_counts_and_is_exact() -> None:
    """Nine pictures that only the first judges rightly, one that only the second does: p = 2 · 11 / 1024."""
    labels = np.array([0, 1] * 20)
    first = np.where(labels == 1, 0.9, 0.1)
    second = first.copy()
    second[:9] = 1 - second[:9]
    first[9] = 1 - first[9]
    found = compare(labels, first, second)
    assert (found.only_first_right, found.only_second_right) == (9, 1)
    assert found.mcnemar_p == pytest.approx(22 / 1024)
    assert found.accuracy_difference == pytest.approx(8 / 40)


def test_a_detector_does_not_differ_from_itself() -> None:
    labels, scores = np.arange(50) % 2, scored(50, 0, 1.0)
    found = compare(labels, scores, scores)
    assert (found.mcnemar_p, found.delong_p, found.auc_difference, found.auc_interval) == (1.0, 1.0, 0.0, (0.0, 0.0))


def test_p_values_are_uniform_when_there_is_no_difference() -> None:
    labels = np.arange(120) % 2
    found = [compare(labels, scored(120, 2 * s, 1.0), scored(120, 2 * s + 1, 1.0)).delong_p for s in range(300)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.median(found) == pytest.approx(0.5, abs=0.12)
