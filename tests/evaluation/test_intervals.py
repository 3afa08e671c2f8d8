"""Intervals cover what they should, and the fast bootstrap is the plain one."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from fakelens.evaluation.metrics import bootstrap_intervals, compute_metrics, wilson_interval


def scored(num: int, seed: int = 0, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 2
    return labels, 1 / (1 + np.exp(-rng.normal(shift * (2 * labels - 1), 1.5)))


def test_the_figures_lie_in_their_intervals_and_more_pictures_narrow_them() -> None:
    widths = []
    for num in (100, 1600):
        labels, probabilities = scored(num)
        metrics, found = compute_metrics(labels, probabilities), bootstrap_intervals(labels, probabilities, seed=0)
        for name, (low, high) in found.items():
            assert low < getattr(metrics, name) < high
        widths.append(found["auc"][1] - found["auc"][0])
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)


def test_it_is_the_plain_stratified_bootstrap() -> None:
    labels, probabilities = scored(120)
    probabilities = probabilities.round(1)  # ties
    fast = bootstrap_intervals(labels, probabilities, seed=1, num_resamples=4000)
    rng, plain = np.random.default_rng(9), []
    of_each = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(300):
        drawn = np.concatenate([rng.choice(own, len(own)) for own in of_each])
        m = compute_metrics(labels[drawn], probabilities[drawn])
        plain.append([getattr(m, name) for name in fast])
    wanted = np.percentile(plain, (2.5, 97.5), axis=0)
    np.testing.assert_allclose(np.array(list(fast.values())).T, wanted, atol=0.025)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    labels, probabilities = scored(200_000, seed=7)
    truth = roc_auc_score(labels, probabilities)
    hits = 0
    for seed in range(200):
        low, high = bootstrap_intervals(*scored(200, seed=seed), seed=seed, num_resamples=300)["auc"]
        hits += low <= truth <= high
    assert hits / 200 == pytest.approx(0.95, abs=0.05)


def test_the_seed_decides() -> None:
    labels, probabilities = scored(60)
    first, again, other = (bootstrap_intervals(labels, probabilities, seed, 200) for seed in (0, 0, 1))
    assert first == again != other


def test_large_sets_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(values: np.ndarray, axis: int) -> np.ndarray:
        drawn.append(len(values) if values.ndim > 1 else 0)
        return rankdata(values, axis=axis)

    monkeypatch.setattr("scipy.stats.rankdata", counted)
    monkeypatch.setattr("fakelens.evaluation.metrics.DRAWN_AT_ONCE", 60 * 7)
    bootstrap_intervals(*scored(60), seed=0, num_resamples=400)
    assert (max(drawn), sum(drawn)) == (7, 400)


def test_one_picture_of_a_class_bounds_nothing() -> None:
    intervals = bootstrap_intervals(np.array([0, 1, 1]), np.array([0.1, 0.8, 0.9]), seed=0)
    assert set(intervals.values()) == {(0.0, 1.0)}


@pytest.mark.parametrize(
    ("hits", "count", "wanted"), [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (45, 100, (0.3561, 0.5476))]
)
def test_wilson_is_wilsons(hits: int, count: int, wanted: tuple[float, float]) -> None:
    assert wilson_interval(hits, count) == pytest.approx(wanted, abs=1e-3)
