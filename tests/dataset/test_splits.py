"""Exact sizes, exactly half fake, no group in two splits, every generator in all of them."""

import itertools
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakelens.dataset.splits import (
    LEFT_OUT,
    SPLITS,
    Ints,
    grouped_split,
    largest_division,
    split_sizes,
    split_with_surplus,
)

repeatable = settings(deadline=None, derandomize=True, max_examples=30)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Ints, list[str], Ints]:
    """Labels, generators and groups; up to three in ten pictures have near-duplicates, of either label."""
    half = draw(st.integers(7, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.permutation(np.repeat([0, 1], half))
    generators = [f"{label}-{rng.integers(draw(st.integers(1, 6)))}" for label in labels]
    groups = np.arange(2 * half)
    pool = list(rng.permutation(2 * half)[: int(0.6 * half)])
    while len(pool) > 1 and draw(st.booleans()):
        members = [pool.pop() for _ in range(min(len(pool), draw(st.integers(2, 6))))]
        groups[members] = min(members)
    return labels, generators, groups


@pytest.mark.parametrize(
    ("num_images", "sizes"),
    [
        (12_000, (8400, 1800, 1800)),
        (100, (68, 16, 16)),
        (14, (10, 2, 2)),
        (920, (644, 138, 138)),
        (80, (56, 12, 12)),
    ],
)
def test_sizes_by_hand(num_images: int, sizes: tuple[int, int, int]) -> None:
    assert split_sizes(num_images) == sizes


@repeatable
@given(st.integers(7, 10**6).map(lambda half: 2 * half))
def test_sizes_add_up_are_even_and_near_70_15_15(num_images: int) -> None:
    sizes = split_sizes(num_images)
    assert sum(sizes) == num_images
    assert all(size > 0 and size % 2 == 0 for size in sizes)
    # An even number is at most one away from the exact share.
    assert sizes[1] == sizes[2]
    assert abs(sizes[1] - 0.15 * num_images) <= 1


@pytest.mark.parametrize("num_images", [13, 15, 12_001, 2, 0])
def test_impossible_numbers_are_refused(num_images: int) -> None:
    with pytest.raises(ValueError, match=rf"data\.num_images must be even and at least 14, not {num_images}"):
        split_sizes(num_images)


@repeatable
@given(pictures(), st.integers(0, 5))
def test_sizes_halves_and_groups_hold(made: tuple[Ints, list[str], Ints], seed: int) -> None:
    labels, generators, groups = made
    result = grouped_split(labels, generators, groups, seed)
    for split, size in enumerate(split_sizes(len(labels))):
        assert list(np.bincount(labels[result == split], minlength=2)) == [size // 2, size // 2]
    for group in np.unique(groups):
        assert len(set(result[groups == group])) == 1
    assert np.array_equal(result, grouped_split(labels, generators, groups, seed))


@st.composite
def any_groups(draw: st.DrawFn) -> tuple[Ints, list[str], Ints]:
    """Groups of any size, also such that nothing could be done with."""
    half = draw(st.integers(7, 30))
    labels = np.array(draw(st.permutations([0, 1] * half)), dtype=np.int64)
    most = draw(st.sampled_from((2, half, 10 * half)))
    groups = np.array(draw(st.lists(st.integers(0, most), min_size=2 * half, max_size=2 * half)), dtype=np.int64)
    return labels, draw(st.lists(st.sampled_from("abc"), min_size=2 * half, max_size=2 * half)), groups


@repeatable
@given(any_groups(), st.integers(0, 2**40))
def test_groups_of_any_size_are_split_whole_or_not_at_all(made: tuple[Ints, list[str], Ints], seed: int) -> None:
    labels, generators, groups = made
    result = grouped_split(labels, generators, groups, seed)
    if result is None:
        return
    for split, size in enumerate(split_sizes(len(labels))):
        assert list(np.bincount(labels[result == split], minlength=2)) == [size // 2, size // 2]
    assert all(len(set(result[groups == group])) == 1 for group in np.unique(groups))


@repeatable
@given(pictures(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_numbers_of_the_groups_do_not_matter(made: tuple[Ints, list[str], Ints], seed: int, random: Random) -> None:
    labels, generators, groups = made
    others = random.sample(range(10**6), len(groups))
    renamed = np.array([others[group] for group in groups])
    assert np.array_equal(
        grouped_split(labels, generators, groups, seed), grouped_split(labels, generators, renamed, seed)
    )


@repeatable
@given(pictures(), st.integers(0, 2**40))
def test_another_seed_gives_another_split(made: tuple[Ints, list[str], Ints], seed: int) -> None:
    labels, generators, groups = made
    first = grouped_split(labels, generators, groups, seed)
    # Of fourteen pictures two seeds may well agree; nine seeds do not.
    assert any(not np.array_equal(first, grouped_split(labels, generators, groups, seed + k)) for k in range(1, 9))


@repeatable
@given(st.integers(7, 300), st.integers(1, 5), st.integers(0, 2**32))
def test_generators_are_spread_in_proportion(half: int, num_generators: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], half))
    generators = np.array([f"{label}-{rng.integers(num_generators)}" for label in labels])
    result = grouped_split(labels, generators.tolist(), np.arange(2 * half), seed)
    for name in np.unique(generators):
        own = result[generators == name]
        for split, size in enumerate(split_sizes(2 * half)):
            exact = len(own) * size / (2 * half)
            assert abs(np.sum(own == split) - exact) < 2, f"{name} has {exact:.1f} to give to {SPLITS[split]}"


def test_seed_decides() -> None:
    labels, generators = np.tile([0, 1], 100), ["a"] * 200
    first, second = (grouped_split(labels, generators, np.arange(200), seed) for seed in (0, 1))
    assert 0.3 < np.mean(first == second) < 0.8  # 0.535 is chance


def test_a_group_may_fill_what_no_other_split_could_hold() -> None:
    labels, groups = np.tile([0, 1], 50), np.arange(100)
    groups[:60] = 0  # fits into train's 68 alone
    result = grouped_split(labels, ["a"] * 100, groups, 0)
    assert set(result[:60]) == {SPLITS.index("train")}
    assert np.bincount(result).tolist() == [68, 16, 16]


def test_a_group_that_fits_nowhere_is_not_divided() -> None:
    labels, groups = np.tile([0, 1], 50), np.arange(100)
    groups[:70] = 0
    assert grouped_split(labels, ["a"] * 100, groups, 0) is None


def clips(sizes: Sequence[int], label: int, first: int) -> tuple[Ints, list[str], Ints]:
    """Frames of some videos of one label; of three generators in turn."""
    groups = first + np.repeat(np.arange(len(sizes)), sizes)
    return np.full(len(groups), label), [f"{label}-{group % 3}" for group in groups], groups


def both_labels(real: Sequence[int], fake: Sequence[int]) -> tuple[Ints, list[str], Ints]:
    one, other = clips(real, 0, 0), clips(fake, 1, len(real))
    labels, groups = (np.concatenate([one[i], other[i]]) for i in (0, 2))
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    generators = [*one[1], *other[1]]
    return labels[order], [generators[i] for i in order], groups[order]


def assert_divided(labels: Ints, groups: Ints, result: Ints, num_images: int) -> None:
    for split, size in enumerate(split_sizes(num_images)):
        assert np.bincount(labels[result == split], minlength=2).tolist() == [size // 2, size // 2]
    assert np.sum(result != LEFT_OUT) == num_images
    for group in np.unique(groups):
        assert len(set(result[groups == group]) - {LEFT_OUT}) <= 1


def by_trying_all(sizes: Sequence[int], least: Sequence[int]) -> bool:
    """Whether groups of these sizes can be dealt to three splits so that each has at least so many images."""
    ways = ([sum(n for n, own in zip(sizes, way, strict=True) if own == split) for split in range(3)]
            for way in itertools.product(range(3), repeat=len(sizes)))  # fmt: skip
    return any(all(n >= wanted for n, wanted in zip(own, least, strict=True)) for own in ways)


@st.composite
def videos(draw: st.DrawFn) -> tuple[Ints, list[str], Ints]:
    """All pictures are frames: of the same number in each video, of any, or with single pictures among them."""
    one = st.sampled_from((st.just(10), st.just(2), st.integers(1, 30), st.sampled_from((1, 1, 1, 2, 40))))
    sizes = draw(one)
    real, fake = (draw(st.lists(sizes, min_size=7, max_size=60)) for _ in range(2))
    return both_labels(real, fake)


@repeatable
@given(videos(), st.integers(0, 2**40), st.floats(0.3, 1))
def test_frames_are_divided_exactly_with_some_left_out(
    made: tuple[Ints, list[str], Ints], seed: int, part: float
) -> None:
    labels, generators, groups = made
    num_images = max(14, 2 * int(part * np.bincount(labels).min()))
    result = split_with_surplus(labels, generators, groups, num_images, seed)
    if result is None:
        num_images = largest_division(labels, groups, num_images) or 0
        if not num_images:
            return
        result = split_with_surplus(labels, generators, groups, num_images, seed)
    assert result is not None
    assert_divided(labels, groups, result, num_images)
    assert np.array_equal(result, split_with_surplus(labels, generators, groups, num_images, seed))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=7), st.integers(7, 20))
def test_a_division_is_found_exactly_where_there_is_one(sizes: list[int], half: int) -> None:
    labels, generators, groups = both_labels(sizes, [1] * half)
    possible = by_trying_all(sizes, [size // 2 for size in split_sizes(2 * half)])
    assert (split_with_surplus(labels, generators, groups, 2 * half, 0) is not None) == possible
    largest = largest_division(labels, groups, 2 * half + 2)
    assert (largest == 2 * half) == possible
    if largest:
        assert by_trying_all(sizes, [size // 2 for size in split_sizes(largest)])


@repeatable
@given(any_groups(), st.integers(0, 2**40))
def test_groups_of_both_labels_are_divided_too(made: tuple[Ints, list[str], Ints], seed: int) -> None:
    labels, generators, groups = made
    if (num_images := largest_division(labels, groups, len(labels) + 2)) is None:
        return
    result = split_with_surplus(labels, generators, groups, num_images, seed)
    assert result is not None
    assert_divided(labels, groups, result, num_images)


@pytest.mark.parametrize(
    ("real", "fake", "largest"),
    [
        ([20] * 8, [20] * 8, 272),  # 20 in test at most: 15 % of 272
        ([1] * 40, [1] * 40, 80),
        ([100], [100], None),
        ([50, 50], [1] * 100, None),  # three splits, two groups
        ([98, 1, 1], [1] * 100, 18),  # 15 % of 20 would be two
        ([7], [1] * 7, None),
    ],
)
def test_the_largest_division_by_hand(real: list[int], fake: list[int], largest: int | None) -> None:
    labels, _, groups = both_labels(real, fake)
    assert largest_division(labels, groups, len(labels) + 2) == largest


def test_the_surplus_is_shared_by_generators_videos_and_splits() -> None:
    # 30 videos of 20 frames of each label, three generators, and room for 60 % of the frames.
    labels, generators, groups = both_labels([20] * 30, [20] * 30)
    result = split_with_surplus(labels, generators, groups, 720, 0)
    assert result is not None
    for split, size in enumerate(split_sizes(720)):
        own = result == split
        per_group = np.unique(groups[own], return_counts=True)[1]
        assert 0.6 < len(per_group) / (60 * size / 720) < 1.4  # as many videos as the split's share
        per_generator = np.unique(np.array(generators)[own], return_counts=True)[1]
        assert len(per_generator) == 6
        assert np.ptp(per_generator) <= 2


def test_another_seed_divides_the_surplus_otherwise() -> None:
    labels, generators, groups = both_labels([20] * 30, [20] * 30)
    first, second = (split_with_surplus(labels, generators, groups, 720, seed) for seed in (0, 1))
    assert first is not None
    assert not np.array_equal(first, second)
