"""Near-duplicates by perceptual hash, and pictures that lie under both labels: no label of theirs can be trusted."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import ImageU8
from fakelens.core.scoring import FAKE, REAL

# Two pictures whose hashes differ in at most this many of 64 bits count as the same picture.
MAX_DISTANCE_BITS = 4
_HASHED_PX = 64
_DCT_PX = 32

# Pairs compared at a time, at roughly 60 bytes each.
PIECE_PAIRS = 2**20


def perceptual_hash(square: ImageU8) -> int:
    """DCT perceptual hash of one (S, S, 3) uint8 picture as a 64-bit integer; the bits of imagehash's `phash`.

    Of the 32 × 32 picture's discrete cosine transform, which of the 8 × 8 lowest frequencies exceed their median
    (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions").
    """
    from scipy.fft import dctn

    # The hash looks at 32 × 32 pixels: halving by a box filter down to twice that takes half the time of one resize.
    grey = Image.fromarray(square).convert("L").reduce(max(1, len(square) // _HASHED_PX))
    pixels = np.asarray(grey.resize((_DCT_PX, _DCT_PX), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(pixels)[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def group_near_duplicates(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Group pictures linked by near-equal hashes; returns the smallest member's index for each, shape (N,).

    Exact: every two hashes at `MAX_DISTANCE_BITS` or less end in one group, and so do chains of such pairs.
    """
    # Flat and blank pictures share one hash: a thousand of them would be half a million pairs.
    unique, inverse = np.unique(hashes, return_inverse=True)
    components = _components(unique)[inverse]
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    return first[inverse]


def near_any(hashes: npt.NDArray[np.uint64], reference: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which of N pictures share a group with any picture of `reference` when both are grouped together, shape (N,)."""
    groups = group_near_duplicates(np.concatenate([hashes, reference]))
    return np.isin(groups[: len(hashes)], groups[len(hashes) :])


def _components(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """A component number for each of (N,) hashes, which are all different and ascend.

    Of d + 2 bands of bits, two hashes at distance d or less share at least two (pigeonhole), so only hashes that
    share two bands are compared, for each two bands in turn.
    """
    components = np.arange(len(hashes))
    # Whole rows or columns of the hash's 8 × 8 frequencies may be constant in plain or symmetric pictures. Of bits 37
    # apart (4 rows and 5 columns), any two bands keep 9 or more that vary when half of the rows or columns do not.
    bits = np.uint64(1) << (np.arange(64, dtype=np.uint64) * np.uint64(37) % np.uint64(64))
    bands = [np.bitwise_or.reduce(band) for band in np.array_split(bits, MAX_DISTANCE_BITS + 2)]
    # Next neighbours first: they join a dense heap into one component, whose other pairs then need no comparison.
    for reach, (one, other) in itertools.product((1, len(hashes)), itertools.combinations(bands, 2)):
        key = hashes & (one | other)
        order = np.lexsort((components, key))
        for left, right in _pairs_to_compare(key[order], components[order], reach):
            a, b = order[left], order[right]
            close = np.bitwise_count(hashes[a] ^ hashes[b]) <= MAX_DISTANCE_BITS
            components = _joined(components, a[close], b[close])
    return components


def _pairs_to_compare(
    key: npt.NDArray[np.uint64], component: npt.NDArray[np.int64], reach: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Positions of pairs with one key and two components, at most `reach` to a left one; sorted (N,) columns in."""
    start = _run_ends(key, component)
    num_right = np.minimum(_run_ends(key) - start, reach)
    lefts = np.flatnonzero(num_right)
    for piece in np.split(lefts, np.flatnonzero(np.diff(np.cumsum(num_right[lefts]) // PIECE_PAIRS)) + 1):
        num = num_right[piece]
        left = np.repeat(piece, num)
        yield left, start[left] + np.arange(len(left)) - np.repeat(np.cumsum(num) - num, num)


def _run_ends(*columns: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """For each row of sorted (N,) columns, the position after the last row equal to it."""
    changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    ends = np.append(np.flatnonzero(changes) + 1, len(columns[0]))
    return np.repeat(ends, np.diff(ends, prepend=0))


def _joined(
    components: npt.NDArray[np.int64], a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The component numbers once hashes `a` and `b`, (M,) positions, are linked."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(a):
        return components
    num = components.max() + 1
    links = coo_array((np.ones(len(a), dtype=bool), (components[a], components[b])), shape=(num, num))
    joined: npt.NDArray[np.int64] = connected_components(links, directed=False)[1][components]
    return joined


_SIDE_PX = 16
# Levels of 255 by which one pixel of two thumbnails may differ. On 60 photographs JPEG at quality 10 moves none by more
# than 6, halving the size by 9; an edit of an eighth of the side moves one by 30 in the median, and leaves the
# perceptual hash as it was for four of five. Such an edit beside its original is a right pair of labels, no slip.
_MAX_LEVELS = 9
_MAX_NAMES = 12


def thumbnail(square: ImageU8) -> npt.NDArray[np.uint8]:
    """Mean luminance of an (S, S, 3) uint8 square in (16, 16) cells."""
    grey = Image.fromarray(square).convert("L")
    return np.asarray(grey.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX))


def members_of(groups: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Positions of each group's members, both in ascending order, for the (N,) numbers of their groups."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def doubles(
    hashes: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int64],
    thumbnail_of: Callable[[int], npt.NDArray[np.uint8]],
) -> dict[int, int]:
    """The position of each picture that is found under the other label too -> that of a copy there.

    Args:
        hashes: (N,) perceptual hashes.
        labels: (N,) 0 real, 1 fake.
        thumbnail_of: the `thumbnail` of the picture at a position; asked for those whose hashes are near ones of the
            other label alone.
    """
    result: dict[int, int] = {}
    for group in members_of(group_near_duplicates(hashes)):
        reals, fakes = (group[labels[group] == label] for label in (REAL, FAKE))
        if not (len(reals) and len(fakes)):
            continue
        of_fakes = np.stack([thumbnail_of(int(fake)) for fake in fakes]).astype(np.int16)
        for real in reals:
            levels = np.abs(of_fakes - thumbnail_of(int(real)).astype(np.int16))
            for fake in fakes[np.max(levels, axis=(1, 2)) <= _MAX_LEVELS]:
                result.setdefault(int(real), int(fake))
                result.setdefault(int(fake), int(real))
    return result


def same_bytes(digests: Sequence[str], labels: Sequence[int]) -> dict[int, int]:
    """Like `doubles` for files of the same bytes alone; (N,) digests and labels."""
    first: dict[tuple[str, int], int] = {}
    for position, each in enumerate(zip(digests, labels, strict=True)):
        first.setdefault(each, position)
    pairs = enumerate(zip(digests, labels, strict=True))
    return {position: first[digest, 1 - label] for position, (digest, label) in pairs if (digest, 1 - label) in first}


def both_labels_words(double_of: Mapping[str, str]) -> str:
    """A sentence about pictures under both labels: how many, and which."""
    # Of a pair once.
    pairs = [item for item in sorted(double_of.items()) if item[0] < item[1] or double_of[item[1]] != item[0]]
    names = [f"{name} as {other}" for name, other in pairs]
    rest = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return (
        f"{len(double_of):,} pictures lie under both labels, as exact or re-encoded copies: which label is right is "
        f"not known, so both are left out ({', '.join(names[:_MAX_NAMES])}{rest})"
    )
