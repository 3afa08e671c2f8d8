"""Who goes into which split: labels, generators and near-duplicate groups in, a split number for each image out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError

SPLITS = ("train", "val", "test")
Ints = npt.NDArray[np.int64]


def split_sizes(num_images: int) -> tuple[int, int, int]:
    """70 / 15 / 15 %, each an even number so that exactly half can be fake.

    Raises:
        ValueError: when `num_images` is odd or too small to give each split both labels.
    """
    held_out = 2 * round(num_images * 0.15 / 2)
    if num_images % 2 or held_out < 2:
        raise FakelensError(f"data.num_images must be even and at least 14, not {num_images}")
    return num_images - 2 * held_out, held_out, held_out


class PackingError(FakelensError):
    """Groups of near-duplicates fill the splits in no way."""


def grouped_split(labels: Ints, generators: Sequence[str], groups: Ints, seed: int) -> Ints:
    """Assign each of N images to a split: exact sizes, exactly half fake in each, no group in two splits.

    Generators are spread over the splits in proportion. Images of larger groups are placed first; the single ones,
    the bulk of any real data, then fill what is left.

    Returns:
        Index into SPLITS for each image, shape (N,).

    Raises:
        PackingError: when near-duplicate groups are so large that whole groups do not give exact sizes.
    """
    rng = np.random.default_rng((seed, 2))
    room = np.array([[size // 2] * 2 for size in split_sizes(len(labels))], dtype=np.int64)
    result = np.full(len(labels), -1, dtype=np.int64)
    members: dict[int, list[int]] = {}
    for index in rng.permutation(len(labels)):
        members.setdefault(int(groups[index]), []).append(int(index))
    many = sorted((group for group in members.values() if len(group) > 1), key=len, reverse=True)
    for group in many:
        _place_group(result, room, labels, group)
    singles = [group[0] for group in members.values() if len(group) == 1]
    for label in (0, 1):
        ordered = sorted((i for i in singles if labels[i] == label), key=lambda i: generators[i])
        _deal(result, room[:, label], ordered)
    return result


def _place_group(result: Ints, room: Ints, labels: Ints, group: list[int]) -> None:
    """Put a whole group where the largest share of room is left and both labels fit."""
    need = np.bincount(labels[group], minlength=2)
    fits = np.flatnonzero((room >= need).all(axis=1))
    if len(fits) == 0:
        raise PackingError(f"a group of {len(group)} near-duplicate images fits into no split")
    # Train first on equal shares: its room is by far the largest, and a leak-free test set stays varied.
    chosen = max(fits, key=lambda split: (int(room[split].sum()), -int(split)))
    room[chosen] -= need
    result[group] = chosen


def _deal(result: Ints, room: Ints, ordered: list[int]) -> None:
    """Deal images out in proportion to the room, so that neighbours in the order (a generator) spread evenly."""
    total = room.sum()
    if total != len(ordered):
        raise AssertionError("groups and single images do not add up to the split sizes")
    given = np.zeros_like(room)
    for position, index in enumerate(ordered, start=1):
        behind = room * position / total - given
        behind[given >= room] = -np.inf
        split = int(np.argmax(behind))
        given[split] += 1
        result[index] = split


def packed_split(labels: Ints, groups: Ints, num_images: int, seed: int) -> Ints:
    """Assign `num_images` of N images to splits: exact sizes, exactly half fake, no group in two splits.

    Members of a group that its split has no room for are left out. Groups are of one label each.

    Returns:
        Index into SPLITS for each image, -1 where it is left out, shape (N,).

    Raises:
        PackingError: when that cannot be done either, with the largest number with which it can.
    """
    rng = np.random.default_rng((seed, 2))
    result = np.full(len(labels), -1, dtype=np.int64)
    sizes = [size // 2 for size in split_sizes(num_images)]
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        members: dict[int, list[int]] = {}
        for index in rng.permutation(own):
            members.setdefault(int(groups[index]), []).append(int(index))
        cover = _covers([len(group) for group in members.values()], sizes)
        if cover is None:
            most = _largest_packing(labels, groups, num_images)
            remedy = f"ask for at most --set data.num_images={most}" if most else "add pictures of other scenes"
            raise PackingError(
                f"{num_images:,} images cannot be split so that near-duplicates (such as the frames of one video) stay "
                f"together: there are only {len(members)} different ones of one label; {remedy}"
            )
        room = list(sizes)
        for split, group in zip(cover, members.values(), strict=True):
            taken = group[: room[split]] if split >= 0 else []
            result[taken] = split
            room[split] -= len(taken)
    return result


def _covers(group_sizes: list[int], sizes: list[int]) -> list[int] | None:
    """A split for each group, -1 for none, so that each split has at least its size; None where none is found.

    The small splits first, each with the groups that overshoot it least; then the largest groups for the large one.
    """
    result = [-1] * len(group_sizes)
    free = set(range(len(group_sizes)))
    for split in sorted(range(len(sizes)), key=lambda split: sizes[split]):
        left = sizes[split]
        while left > 0 and free:
            enough = [index for index in free if group_sizes[index] >= left]
            # One that fills it with the least left over, or else the largest.
            best = min(enough, key=lambda i: (group_sizes[i], i)) if enough else max(
                free, key=lambda i: (group_sizes[i], -i)
            )  # fmt: skip
            result[best] = split
            free.remove(best)
            left -= group_sizes[best]
        if left > 0:
            return None
    return result


def _largest_packing(labels: Ints, groups: Ints, below: int) -> int:
    """Largest even number of images under `below` that can be packed; 0 where there is none."""
    group_sizes = [np.unique(groups[labels == label], return_counts=True)[1].tolist() for label in (0, 1)]
    for num_images in range(below - 2, 13, -2):
        sizes = [size // 2 for size in split_sizes(num_images)]
        if all(_covers(own, sizes) for own in group_sizes):
            return num_images
    return 0
