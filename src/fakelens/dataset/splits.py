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


def grouped_split(labels: Ints, generators: Sequence[str], groups: Ints, seed: int) -> Ints:
    """Assign each of N images to a split: exact sizes, exactly half fake in each, no group in two splits.

    Generators are spread over the splits in proportion. Images of larger groups are placed first; the single ones,
    the bulk of any real data, then fill what is left.

    Returns:
        Index into SPLITS for each image, shape (N,).

    Raises:
        ValueError: when near-duplicate groups are so large that exact sizes cannot be met.
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
        raise FakelensError(
            f"a group of {len(group)} near-duplicate images fits into no split: the source repeats itself too much; "
            "ask for more images or another source"
        )
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
