"""The split of each image: exact sizes, half of each label, and no group of near-duplicates in two splits."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.dataset.duplicates import members_of
from fakelens.dataset.selection import equal_shares

SPLITS = TRAIN, VAL, TEST = "train", "val", "test"
LEFT_OUT = -1
SMALLEST = 14
"""Images of which each split gets one of each label."""
# How much of what there is beyond the sizes is shared out in proportion to them: as much as possible.
_SURPLUS_PARTS = (0.95, 0.75, 0.5, 0.25, 0.0)
_MAX_NODES = 20_000
_TRIED_IN_TURN = 4
Ints = npt.NDArray[np.int64]


def split_sizes(num_images: int) -> tuple[int, int, int]:
    """70 / 15 / 15 %, each an even number so that exactly half can be fake.

    Raises:
        FakelensError: when `num_images` is odd or too small to give each split both labels.
    """
    held_out = 2 * round(num_images * 0.15 / 2)
    if num_images % 2 or num_images < SMALLEST:
        raise FakelensError(f"data.num_images must be even and at least {SMALLEST}, not {num_images}")
    return num_images - 2 * held_out, held_out, held_out


def grouped_split(labels: Ints, generators: Sequence[str], groups: Ints, seed: int) -> Ints | None:
    """Assign each of N images to a split: exact sizes, exactly half fake in each, no group in two splits.

    Generators are spread over the splits in proportion. Images of larger groups are placed first; the single ones,
    the bulk of any real data, then fill what is left.

    Returns:
        Index into SPLITS for each image, shape (N,); None where the groups are too large for this to come out even.
    """
    rng = np.random.default_rng((seed, 2))
    room = _sizes_by_label(len(labels))
    result = np.full(len(labels), LEFT_OUT, dtype=np.int64)
    members: dict[int, list[int]] = {}
    for index in rng.permutation(len(labels)):
        members.setdefault(int(groups[index]), []).append(int(index))
    many = sorted((group for group in members.values() if len(group) > 1), key=len, reverse=True)
    if not all(_place_group(result, room, labels, group) for group in many):
        return None
    singles = [group[0] for group in members.values() if len(group) == 1]
    for label in (0, 1):
        ordered = sorted((i for i in singles if labels[i] == label), key=lambda i: generators[i])
        _deal(result, room[:, label], ordered)
    return result


def split_with_surplus(
    labels: Ints, generators: Sequence[str], groups: Ints, num_images: int, seed: int
) -> Ints | None:
    """Choose `num_images` of N images and assign them to splits; what a group has beyond its split's size is left out.

    Groups are dealt to the splits whole, in proportion to the sizes. Of what a split then has of a label, generators
    give equally many, and of each generator its groups do.

    Returns:
        Index into SPLITS for each image or LEFT_OUT, shape (N,); None where no division of the groups has that many.
    """
    sizes = _sizes_by_label(num_images)
    members = members_of(groups)
    counts = np.array([np.bincount(labels[group], minlength=2) for group in members])
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    shares = _balanced_shares(kinds, np.bincount(kind_of.ravel(), minlength=len(kinds)), sizes)
    if shares is None:
        return None
    split_of = np.empty(len(members), dtype=np.int64)
    order = np.random.default_rng((seed, 2)).permutation(len(members))
    for kind, room in enumerate(shares):
        own = [int(group) for group in order if kind_of.ravel()[group] == kind]
        _deal(split_of, room, sorted(own, key=lambda group: generators[members[group][0]]))
    result = np.full(len(labels), LEFT_OUT, dtype=np.int64)
    split_of_image = np.repeat(split_of, [len(group) for group in members])[np.argsort(np.concatenate(members))]
    for (split, label), size in np.ndenumerate(sizes):
        available = np.flatnonzero((split_of_image == split) & (labels == label))
        result[spread(available, generators, groups, int(size))] = split
    return result


def largest_division(labels: Ints, groups: Ints, below: int) -> int | None:
    """The largest even number below `below` of images that `split_with_surplus` can choose of these; None for none."""
    counts = np.array([np.bincount(labels[group], minlength=2) for group in members_of(groups)])
    kinds, numbers = np.unique(counts, axis=0, return_counts=True)

    def possible(half: int) -> bool:
        return _shares(kinds, numbers, _sizes_by_label(2 * half)) is not None

    # Not strictly monotone, because 15 % are rounded: what bisection leaves is tried one by one.
    low, high = SMALLEST // 2, (below - 1) // 2
    while low < high - _TRIED_IN_TURN:
        middle = (low + high) // 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return next(
        (2 * half for half in range(high, low - _TRIED_IN_TURN, -1) if 2 * half >= SMALLEST and possible(half)), None
    )


def _balanced_shares(kinds: Ints, numbers: Ints, sizes: Ints) -> Ints | None:
    """A division of the groups in which every split has its size, and if it can be, as much more as the others.

    The arguments and the result are those of `_shares`.
    """
    most = float(np.min(numbers @ kinds / sizes.sum(axis=0)))
    tried = (_shares(kinds, numbers, np.ceil(sizes * (1 + part * (most - 1)))) for part in _SURPLUS_PARTS if most >= 1)
    return next((shares for shares in tried if shares is not None), None)


def _shares(kinds: Ints, numbers: Ints, least: npt.NDArray[np.number]) -> Ints | None:
    """Groups of each kind for each split, (K, 3), all in all `numbers`; None where that cannot be.

    An integer program in the kinds, not the groups: few unknowns, whatever the data set's size.

    Args:
        kinds: (K, 2) real and fake members of a group of each kind.
        numbers: (K,) groups of each kind.
        least: (3, 2) real and fake images that each split must get.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    num_kinds, num_splits = len(kinds), len(least)
    if np.any(numbers @ kinds < least.sum(axis=0)):
        return None
    all_placed = np.kron(np.eye(num_kinds), np.ones(num_splits))
    in_splits = np.kron(kinds.T, np.eye(num_splits))
    solution = milp(
        c=np.zeros(num_kinds * num_splits),
        integrality=np.ones(num_kinds * num_splits),
        bounds=Bounds(0, np.repeat(numbers, num_splits)),
        constraints=[LinearConstraint(all_placed, numbers, numbers), LinearConstraint(in_splits, least.T.ravel())],
        options={"node_limit": _MAX_NODES},  # and no limit in seconds: the outcome must not depend on the machine
    )
    if solution.x is None:
        return None
    shares = np.rint(solution.x).astype(np.int64).reshape(num_kinds, num_splits)
    # The solver allows for small errors.
    whole = np.array_equal(shares.sum(axis=1), numbers) and np.all(shares >= 0) and np.all(shares.T @ kinds >= least)
    return shares if whole else None


def _sizes_by_label(num_images: int) -> Ints:
    return np.array([[size // 2] * 2 for size in split_sizes(num_images)], dtype=np.int64)


def spread(positions: Iterable[int], generators: Sequence[str], groups: Ints, wanted: int) -> list[int]:
    """`wanted` of the positions: generators as equal as they can be, and within each its groups; the first of each."""
    chosen, names_of_groups = list[int](), [f"{group:012d}" for group in groups]
    by_generator = by_name(positions, generators)
    shares = equal_shares({name: len(own) for name, own in by_generator.items()}, wanted)
    for name, own in by_generator.items():
        by_group = by_name(own, names_of_groups)
        for group, num in equal_shares({group: len(each) for group, each in by_group.items()}, shares[name]).items():
            chosen += by_group[group][:num]
    return chosen


def by_name(positions: Iterable[int], names: Sequence[str]) -> dict[str, list[int]]:
    """The positions of each name."""
    result: dict[str, list[int]] = {}
    for position in positions:
        result.setdefault(names[position], []).append(int(position))
    return result


def _place_group(result: Ints, room: Ints, labels: Ints, group: list[int]) -> bool:
    """Put a whole group where the largest share of room is left and both labels fit; False where none does."""
    need = np.bincount(labels[group], minlength=2)
    fits = np.flatnonzero((room >= need).all(axis=1))
    if len(fits) == 0:
        return False
    # Train first on equal shares: its room is by far the largest, and a leak-free test set stays varied.
    chosen = max(fits, key=lambda split: (int(room[split].sum()), -int(split)))
    room[chosen] -= need
    result[group] = chosen
    return True


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
