"""Groups that whole cannot give exact sizes: members are left out, no group is divided between splits."""

import numpy as np
import pytest

from fakelens.dataset.splits import PackingError, grouped_split, packed_split, split_sizes


def clips(num_per_label: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    groups = np.repeat(np.arange(2 * num_per_label), num_frames)
    return (groups >= num_per_label).astype(np.int64), groups


def check(labels: np.ndarray, groups: np.ndarray, num_images: int, splits: np.ndarray) -> None:
    for split, size in enumerate(split_sizes(num_images)):
        assert np.bincount(labels[splits == split], minlength=2).tolist() == [size // 2] * 2
    used = splits >= 0
    assert all(len(set(splits[used & (groups == group)].tolist())) <= 1 for group in np.unique(groups))


@pytest.mark.parametrize("num_images", [14, 40, 60, 100, 160, 272])
def test_frames_of_sixteen_clips(num_images: int) -> None:
    labels, groups = clips(8, 20)
    check(labels, groups, num_images, packed_split(labels, groups, num_images, seed=0))


def test_too_many_is_refused_with_the_largest_number_that_works() -> None:
    labels, groups = clips(8, 20)
    with pytest.raises(PackingError, match=r"320 images cannot be split .*at most --set data\.num_images=272"):
        packed_split(labels, groups, 320, seed=0)
    with pytest.raises(PackingError, match=r"274"):
        packed_split(labels, groups, 274, seed=0)


def test_two_scenes_of_a_label_fill_no_three_splits() -> None:
    labels, groups = clips(2, 50)
    with pytest.raises(PackingError, match="add pictures of other scenes"):
        packed_split(labels, groups, 40, seed=0)


@pytest.mark.parametrize("seed", range(40))
def test_groups_of_all_sizes_are_packed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 2, 10, 25], size=60, p=[0.4, 0.3, 0.2, 0.1])
    groups = np.repeat(np.arange(60), sizes)
    labels = (groups % 2).astype(np.int64)
    most = 2 * int(np.bincount(labels).min())
    num_images = max(14, int(most * 0.6) // 2 * 2)
    splits = packed_split(labels, groups, num_images, seed)
    check(labels, groups, num_images, splits)
    assert (splits == packed_split(labels, groups, num_images, seed)).all()


def test_whole_groups_are_kept_where_they_fit() -> None:
    labels, groups = clips(40, 2)
    splits = grouped_split(labels, ["g"] * 160, groups, seed=0)
    check(labels, groups, 160, splits)
    assert (splits >= 0).all()
