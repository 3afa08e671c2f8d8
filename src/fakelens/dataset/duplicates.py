"""Near-duplicates: 64-bit perceptual hashes in, a group number for each picture out."""

import itertools

import numpy as np
import numpy.typing as npt

from fakelens.core.imaging import ImageU8

# Two pictures whose hashes differ in at most this many of 64 bits count as the same picture.
MAX_DISTANCE_BITS = 4


def perceptual_hash(square: ImageU8) -> int:
    """DCT perceptual hash (imagehash's `phash`) of one (S, S, 3) uint8 picture as a 64-bit integer."""
    import imagehash
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(square)).hash.flatten()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def group_near_duplicates(
    hashes: npt.NDArray[np.uint64], max_distance_bits: int = MAX_DISTANCE_BITS
) -> npt.NDArray[np.int64]:
    """Group pictures linked by near-equal hashes; returns the smallest member's index for each, shape (N,).

    Not all pairs are compared: of d + 1 bands of bits, two hashes at distance d or less share one (pigeonhole).
    """
    # Flat and blank pictures share one hash: a thousand of them would be half a million pairs.
    unique, inverse = np.unique(hashes, return_inverse=True)
    roots = _linked(unique, max_distance_bits)[inverse]
    smallest = np.full(len(unique), len(hashes), dtype=np.int64)
    np.minimum.at(smallest, roots, np.arange(len(hashes)))
    return smallest[roots]


def _linked(hashes: npt.NDArray[np.uint64], max_distance_bits: int) -> npt.NDArray[np.int64]:
    """The same for hashes that are all different."""
    parent = np.arange(len(hashes))
    num_bands = max_distance_bits + 1
    edges = [64 * band // num_bands for band in range(num_bands + 1)]
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order[:1]] + np.uint64(1)))
        for bucket in np.split(order, starts[1:]):
            _link_bucket(parent, bucket, hashes[bucket], max_distance_bits)
    return np.array([_root(parent, i) for i in range(len(hashes))], dtype=np.int64)


def _link_bucket(
    parent: npt.NDArray[np.int64], members: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64], limit: int
) -> None:
    for i in range(len(members) - 1):
        close = np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= limit
        for j in members[i + 1 :][close]:
            a, b = _root(parent, members[i]), _root(parent, j)
            parent[max(a, b)] = min(a, b)


def _root(parent: npt.NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return int(index)
