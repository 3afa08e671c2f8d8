"""Exact numbers, balance over generators, nothing drawn twice, and the same whatever order the catalogue came in."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.selection import Pool, water_fill
from fakelens.sources.base import Candidate

repeatable = settings(deadline=None, derandomize=True)
names = st.sampled_from("abcdef")
counts = st.integers(0, 12)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    rows = draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from((REAL, FAKE)), names), max_size=60))
    return [Candidate(block, f"picture-{i}", label, name) for i, (block, label, name) in enumerate(rows)]


@repeatable
@given(st.dictionaries(names, counts), st.dictionaries(names, counts), st.integers(0, 60))
def test_water_fill_is_exact_and_as_even_as_can_be(
    available: dict[str, int], taken: dict[str, int], quota: int
) -> None:
    given_out = water_fill(available, taken, quota)
    assert set(given_out) == set(available)
    assert sum(given_out.values()) == min(quota, sum(available.values()))
    assert all(0 <= given_out[name] <= available[name] for name in available)
    level = {name: taken.get(name, 0) + given_out[name] for name in available}
    for giver in (name for name in available if given_out[name] > 0):
        for other in (name for name in available if given_out[name] < available[name]):
            assert level[giver] <= level[other] + 1, f"one of {giver}'s should have been {other}'s"


@pytest.mark.parametrize(
    ("available", "taken", "quota", "expected"),
    [
        ({"a": 9, "b": 9, "c": 9}, {}, 6, {"a": 2, "b": 2, "c": 2}),
        ({"a": 1, "b": 9, "c": 9}, {}, 7, {"a": 1, "b": 3, "c": 3}),
        ({"a": 9, "b": 9}, {"a": 4}, 6, {"a": 1, "b": 5}),
        ({"b": 9, "a": 9}, {}, 1, {"a": 1, "b": 0}),
        ({"a": 1}, {}, 5, {"a": 1}),
    ],
)
def test_water_fill_by_hand(
    available: dict[str, int], taken: dict[str, int], quota: int, expected: dict[str, int]
) -> None:
    assert water_fill(available, taken, quota) == expected


@repeatable
@given(candidates(), st.lists(st.tuples(counts, counts), min_size=1, max_size=4), st.randoms())
def test_draws_are_exact_disjoint_and_independent_of_the_catalogue_order(
    found: list[Candidate], quotas: list[tuple[int, int]], random: object
) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    pool, twin = Pool(found), Pool(shuffled)
    accepted: dict[int, Counter[str]] = {REAL: Counter(), FAKE: Counter()}
    drawn: list[Candidate] = []
    for quota in quotas:
        left = {label: pool.num_left(label) for label in (REAL, FAKE)}
        wanted = dict(zip((REAL, FAKE), quota, strict=True))
        new = pool.draw(wanted, accepted)
        assert new == twin.draw(wanted, accepted) == sorted(new)
        assert Counter(c.label for c in new) == Counter({n: min(wanted[n], left[n]) for n in wanted})
        drawn += new
        for candidate in new:
            accepted[candidate.label][candidate.generator] += 1
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(found)
    assert pool.num_left(REAL) + pool.num_left(FAKE) == len(found) - len(drawn)


@repeatable
@given(candidates(), counts, counts)
def test_each_generator_gives_its_cheapest_blocks_first(found: list[Candidate], real: int, fake: int) -> None:
    drawn = Pool(found).draw({REAL: real, FAKE: fake}, {REAL: Counter(), FAKE: Counter()})
    for label, name in {(c.label, c.generator) for c in found}:
        own = sorted(c for c in found if (c.label, c.generator) == (label, name))
        taken = [c for c in drawn if (c.label, c.generator) == (label, name)]
        assert taken == own[: len(taken)]


def test_what_was_refused_is_replaced_by_the_same_generator() -> None:
    pool = Pool([Candidate(0, f"{name}-{i}", FAKE, name) for name in "abc" for i in range(5)])
    none: dict[int, Counter[str]] = {REAL: Counter(), FAKE: Counter()}
    assert Counter(c.generator for c in pool.draw({FAKE: 6}, none)) == {"a": 2, "b": 2, "c": 2}
    accepted = {REAL: Counter[str](), FAKE: Counter({"a": 2, "c": 2})}
    assert Counter(c.generator for c in pool.draw({FAKE: 2}, accepted)) == {"b": 2}
