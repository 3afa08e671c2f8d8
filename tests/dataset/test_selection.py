"""Quotas met exactly from few blocks, balance over generators, and the same whatever order the catalogue came in."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fake_source import Log, MemoryReader, without
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.selection import Kind, choose_blocks, choose_rows, equal_shares, generator_caps
from fakelens.sources.base import Block, Row, in_blocks

repeatable = settings(deadline=None, derandomize=True, max_examples=40)
names = st.sampled_from("abcdef")
counts = st.integers(0, 12)
kinds = st.tuples(st.sampled_from((REAL, FAKE)), names)
quotas = st.fixed_dictionaries({REAL: st.integers(0, 25), FAKE: st.integers(0, 25)})
NO_READER = MemoryReader("none", (), (), Log())
NONE_TAKEN: dict[Kind, int] = {}


def block(rank: int, held: Sequence[Kind]) -> Block:
    return Block(rank, tuple(Row(position, *kind) for position, kind in enumerate(held)), NO_READER)


@st.composite
def catalogues(draw: st.DrawFn, max_blocks: int = 9) -> list[Block]:
    """Blocks of up to eight images with ranks in no order."""
    ranks = draw(st.permutations(range(draw(st.integers(0, max_blocks)))))
    return [block(rank, draw(st.lists(kinds, min_size=1, max_size=8))) for rank in ranks]


def held(blocks: Sequence[Block]) -> Counter[Kind]:
    return Counter((row.label, row.generator) for own in blocks for row in own.rows)


def brought(blocks: Sequence[Block], quota: Mapping[int, int], caps: Mapping[Kind, int], taken: Counter[Kind]) -> int:
    """How many of the wanted images these blocks and what was taken give."""
    have = held(blocks) + taken
    return sum(
        min(wanted, sum(min(n, caps[kind]) for kind, n in have.items() if kind[0] == label))
        for label, wanted in quota.items()
    )


@st.composite
def problems(
    draw: st.DrawFn, max_blocks: int = 9
) -> tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]]:
    """Blocks, a quota, caps, and what was taken before: within the caps and, of each label, within the quota."""
    blocks, quota = draw(catalogues(max_blocks)), draw(quotas)
    caps = {(label, name): draw(st.integers(1, 15)) for label in (REAL, FAKE) for name in "abcdef"}
    taken: Counter[Kind] = Counter()
    for kind in draw(st.lists(kinds, max_size=12)):
        if taken[kind] < caps[kind] and sum(n for own, n in taken.items() if own[0] == kind[0]) < quota[kind[0]]:
            taken[kind] += 1
    return blocks, quota, caps, taken


def one_at_a_time(available: Mapping[str, int], quota: int) -> dict[str, int]:
    """Equal shares as a child deals sweets: to whoever has least and can take one more, in order of names."""
    shares = dict.fromkeys(available, 0)
    for _ in range(quota):
        if open_names := [name for name in sorted(available) if shares[name] < available[name]]:
            shares[min(open_names, key=shares.__getitem__)] += 1
    return shares


@repeatable
@given(st.dictionaries(names, counts), st.integers(0, 80))
def test_equal_shares_are_exact_and_as_even_as_can_be(available: dict[str, int], quota: int) -> None:
    shares = equal_shares(available, quota)
    assert set(shares) == set(available)
    assert sum(shares.values()) == min(quota, sum(available.values()))
    assert all(0 <= shares[name] <= available[name] for name in available)
    for giver, other in itertools.permutations(available, 2):
        if shares[other] < available[other]:
            assert shares[giver] <= shares[other] + 1, f"one of {giver}'s should have been {other}'s"
    assert shares == one_at_a_time(available, quota)
    assert shares == equal_shares(dict(reversed(available.items())), quota)


@pytest.mark.parametrize(
    ("available", "quota", "expected"),
    [
        ({"a": 9, "b": 9, "c": 9}, 6, {"a": 2, "b": 2, "c": 2}),
        ({"a": 1, "b": 9, "c": 9}, 7, {"a": 1, "b": 3, "c": 3}),
        ({"b": 9, "a": 9}, 1, {"a": 1, "b": 0}),
        ({"a": 1}, 5, {"a": 1}),
        ({"a": 0, "b": 3}, 2, {"a": 0, "b": 2}),
        ({}, 4, {}),
    ],
)
def test_equal_shares_by_hand(available: dict[str, int], quota: int, expected: dict[str, int]) -> None:
    assert equal_shares(available, quota) == expected


def test_equal_shares_of_large_numbers_are_quick() -> None:
    assert equal_shares({"a": 10**9, "b": 10**9, "c": 5}, 10**9)["a"] == 499_999_998


@repeatable
@given(st.dictionaries(kinds, st.integers(1, 40)), quotas, st.none() | st.integers(1, 30))
def test_caps_of_generators(available: dict[Kind, int], quota: dict[int, int], cap: int | None) -> None:
    caps = generator_caps(available, quota, cap)
    assert set(caps) == set(available)
    for label, wanted in quota.items():
        own = {name: n for (kind, name), n in available.items() if kind == label}
        if label == FAKE and cap is not None:
            assert all(caps[label, name] == cap for name in own)
            continue
        fair = max(equal_shares(own, wanted).values(), default=0)
        assert all(fair <= caps[label, name] <= 1.5 * fair + 1 for name in own)
        # A cap that nobody asked for never costs an image.
        assert sum(min(n, caps[label, name]) for name, n in own.items()) >= min(wanted, sum(own.values()))


@settings(repeatable, max_examples=80)
@given(problems())
def test_blocks_bring_every_label_to_its_quota(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    blocks, quota, caps, taken = problem
    chosen = choose_blocks(blocks, quota, caps, taken)
    # As much as all blocks together would: label by label, since no block takes another label's place.
    for label in quota:
        own = {label: quota[label]}
        assert brought(chosen, own, caps, taken) == brought(blocks, own, caps, taken)
    assert [own.rank for own in chosen] == sorted({own.rank for own in chosen})
    assert all(own in blocks for own in chosen)


@repeatable
@given(problems())
def test_every_chosen_block_gives_more_than_any_other_would(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    """Some order of the choice is a greedy one: each block in its turn gives most of all, and something."""
    blocks, quota, caps, taken = problem
    chosen = choose_blocks(blocks, quota, caps, taken)

    def is_greedy(done: list[Block], left: list[Block]) -> bool:
        after = {own.rank: brought([*done, own], quota, caps, taken) for own in blocks if own not in done}
        most = max(after.values(), default=0)
        return not left or (
            most > brought(done, quota, caps, taken)
            and any(
                is_greedy([*done, own], [other for other in left if other is not own])
                for own in left
                if after[own.rank] == most
            )
        )

    assert is_greedy([], chosen)


@repeatable
@given(problems(), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_catalogue(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]], random: Random
) -> None:
    blocks, quota, caps, taken = problem
    shuffled = list(blocks)
    random.shuffle(shuffled)
    chosen = choose_blocks(blocks, quota, caps, taken)
    assert chosen == choose_blocks(shuffled, quota, caps, taken)
    assert choose_rows(chosen, quota, caps, taken) == choose_rows(chosen[::-1], quota, caps, taken)


@repeatable
@given(problems(max_blocks=7))
def test_the_number_of_blocks_is_near_the_optimum(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    blocks, quota, caps, taken = problem
    most = brought(blocks, quota, caps, taken)
    fewest = next(
        size
        for size in range(len(blocks) + 1)
        if any(brought(some, quota, caps, taken) == most for some in itertools.combinations(blocks, size))
    )
    largest = max((brought([own], quota, caps, taken) for own in blocks), default=0) - brought([], quota, caps, taken)
    # Wolsey 1982: greedy submodular cover needs at most 1 + ln(the largest gain) times the fewest.
    assert len(choose_blocks(blocks, quota, caps, taken)) <= fewest * (1 + math.log(max(largest, 1)))


@repeatable
@given(st.lists(st.lists(names, min_size=1, max_size=8), max_size=12), st.integers(0, 40))
def test_no_more_blocks_than_reading_in_order_for_one_label(generators: list[list[str]], wanted: int) -> None:
    """With caps or two labels a lucky order may win; without, the largest blocks first is the optimum."""
    blocks = [block(rank, [(FAKE, name) for name in own]) for rank, own in enumerate(generators)]
    caps = dict.fromkeys(((FAKE, name) for name in "abcdef"), 1000)
    in_order, have = 0, 0
    while have < wanted and in_order < len(blocks):
        have += len(blocks[in_order].rows)
        in_order += 1
    assert len(choose_blocks(blocks, {REAL: 0, FAKE: wanted}, caps, NONE_TAKEN)) <= in_order


@pytest.mark.parametrize("seed", range(5))
def test_a_sorted_catalogue_needs_far_fewer_blocks_than_reading_in_order(seed: int) -> None:
    """Forty generators, each in a stretch of its own, as data sets are often written."""
    random = Random(seed)
    rows = [(FAKE, f"g{i // 100:02d}") for i in range(4000)] + [(REAL, "photo")] * 4000
    blocks = [Block(rank, own, NO_READER) for rank, (_, own) in enumerate(in_blocks(rows, 50))]
    random.shuffle(blocks)
    blocks = [Block(rank, own.rows, NO_READER) for rank, own in enumerate(blocks)]
    quota = {REAL: 1000, FAKE: 1000}
    caps = generator_caps(held(blocks), quota, None)
    chosen = choose_blocks(blocks, quota, caps, NONE_TAKEN)
    in_order = next(n for n in range(161) if brought(blocks[:n], quota, caps, Counter()) == 2000)
    assert brought(chosen, quota, caps, Counter()) == 2000
    assert len(chosen) <= min(in_order, 20 + math.ceil(1000 / caps[FAKE, "g00"]))


def test_of_equal_blocks_that_with_rare_generators_then_the_first_is_chosen() -> None:
    caps = {(FAKE, "a"): 10, (FAKE, "b"): 10}
    blocks = [block(rank, [(FAKE, name)] * 2) for rank, name in enumerate("aaba")]
    taken = Counter({(FAKE, "a"): 6})
    assert [own.rank for own in choose_blocks(blocks, {REAL: 0, FAKE: 8}, caps, taken)] == [2]
    assert [own.rank for own in choose_blocks(blocks[:2], {REAL: 0, FAKE: 8}, caps, taken)] == [0]


@settings(repeatable, max_examples=80)
@given(problems())
def test_rows_are_exact_within_caps_and_of_these_blocks(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    blocks, wanted, caps, taken = problem
    kept = choose_rows(blocks, wanted, caps, taken)
    by_rank = {own.rank: own for own in blocks}
    assert [own.rank for own in kept] == sorted({own.rank for own in kept})
    assert all(own.rows for own in kept)
    assert all(set(own.rows) <= set(by_rank[own.rank].rows) for own in kept)
    assert all(list(own.rows) == sorted(own.rows) for own in kept)
    got, there = held(kept), held(blocks)
    for label, number in wanted.items():
        room = {
            name: min(n, caps[kind, name] - taken[kind, name]) for (kind, name), n in there.items() if kind == label
        }
        shares = {name: got[label, name] for name in room}
        assert sum(shares.values()) == min(number, sum(room.values()))
        assert shares == one_at_a_time(room, number)


@repeatable
@given(problems())
def test_each_generator_gives_its_first_images_in_the_seeds_order(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    blocks, wanted, caps, taken = problem
    kept = choose_rows(blocks, wanted, caps, taken)

    def of(some: Sequence[Block], kind: Kind) -> list[tuple[int, int]]:
        ordered = sorted(some, key=lambda own: own.rank)
        return [(own.rank, row.position) for own in ordered for row in own.rows if (row.label, row.generator) == kind]

    for kind in held(blocks):
        assert of(kept, kind) == of(blocks, kind)[: len(of(kept, kind))]


@repeatable
@given(problems())
def test_rows_that_the_chosen_blocks_hold_fill_the_quota(
    problem: tuple[list[Block], dict[int, int], dict[Kind, int], Counter[Kind]],
) -> None:
    """The two together: few blocks, then rows of them, bring every label to what all blocks could give."""
    blocks, quota, caps, taken = problem
    assume(blocks)
    missing = {label: n - sum(m for kind, m in taken.items() if kind[0] == label) for label, n in quota.items()}
    kept = choose_rows(choose_blocks(blocks, quota, caps, taken), missing, caps, taken)
    assert brought(kept, quota, caps, taken) == brought(blocks, quota, caps, taken)
    assert held(kept).total() == brought(blocks, quota, caps, taken) - taken.total()


def test_rows_of_a_block_keep_their_positions() -> None:
    thinned = without(block(3, [(FAKE, "a"), (REAL, "p"), (FAKE, "b")]), 0)
    assert [row.position for row in thinned.rows] == [1, 2]
    kept = choose_rows([thinned], {REAL: 1, FAKE: 1}, {(REAL, "p"): 1, (FAKE, "b"): 1}, NONE_TAKEN)
    assert [(row.position, row.generator) for row in kept[0].rows] == [(1, "p"), (2, "b")]
