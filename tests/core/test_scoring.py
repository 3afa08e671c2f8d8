"""From a probability to a verdict, and which thresholds make sense."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakelens.core.scoring import FAKE, LABELS, REAL, VERDICT_WORDS, Threshold, Verdict

probabilities = st.floats(0, 1)


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0.0, "real"), (0.3999, "real"), (0.4, "uncertain"), (0.5999, "uncertain"), (0.6, "fake"), (1.0, "fake")],
)
def test_default_band(probability: float, verdict: str) -> None:
    assert Threshold().verdict(probability) == verdict


def test_a_single_cut_leaves_no_uncertain_band() -> None:
    cut = Threshold(real=0.5, fake=0.5)
    assert (cut.verdict(0.4999), cut.verdict(0.5)) == (Verdict.REAL, Verdict.FAKE)


@settings(deadline=None, derandomize=True)
@given(st.tuples(probabilities, probabilities).map(sorted), st.lists(probabilities, min_size=2))
def test_more_probability_never_means_less_fake(band: list[float], values: list[float]) -> None:
    threshold = Threshold(*band)
    order = [Verdict.REAL, Verdict.UNCERTAIN, Verdict.FAKE]
    ranks = [order.index(threshold.verdict(value)) for value in sorted(values)]
    assert all(low <= high for low, high in itertools.pairwise(ranks))


@pytest.mark.parametrize(("real", "fake"), [(0.7, 0.6), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)])
def test_senseless_thresholds_are_refused(real: float, fake: float) -> None:
    with pytest.raises(ValueError, match="0 <= real <= fake <= 1"):
        Threshold(real, fake)


def test_words_and_labels_agree() -> None:
    assert (LABELS[REAL], LABELS[FAKE]) == (Verdict.REAL, Verdict.FAKE)
    assert set(VERDICT_WORDS) == set(Verdict)
