"""The same picture saved twice is found, different ones are kept apart, and nothing depends on comparing all pairs."""

import io
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakelens.core.imaging import ImageU8, decode, to_square
from fakelens.dataset.duplicates import MAX_DISTANCE_BITS, group_near_duplicates, perceptual_hash

Hashes = np.typing.NDArray[np.uint64]


def picture(seed: int, side_px: int = 256) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)


def stored(image: Image.Image, codec: str = "PNG", **options: int) -> ImageU8:
    """What `prepare` keeps of a file."""
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return to_square(decode(buffer.getvalue())[0])


def by_brute_force(hashes: Hashes, limit: int) -> list[int]:
    """Connected components by comparing every pair, until nothing changes."""
    group = list(range(len(hashes)))
    close = [(a, b) for a, b in itertools.combinations(group, 2) if int(hashes[a] ^ hashes[b]).bit_count() <= limit]
    while any(group[a] != group[b] for a, b in close):
        for a, b in close:
            group[a] = group[b] = min(group[a], group[b])
    return group


def flipped(value: int, bits: list[int]) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def test_recompressed_and_resized_pictures_are_one_group() -> None:
    squares = []
    for seed in range(12):
        original = picture(seed)
        squares += [stored(original), stored(original, "JPEG", quality=50), stored(original, "WEBP", quality=40)]
        squares += [stored(original.resize((160, 160))), stored(original.resize((900, 900)), "JPEG", quality=80)]
    hashes = np.array([perceptual_hash(square) for square in squares], dtype=np.uint64)
    assert group_near_duplicates(hashes).tolist() == [5 * seed for seed in range(12) for _ in range(5)]


def test_hash_is_imagehash_phash_as_a_number() -> None:
    imagehash = pytest.importorskip("imagehash")
    square = stored(picture(3))
    number = perceptual_hash(square)
    assert f"{number:016x}" == str(imagehash.phash(Image.fromarray(square)))


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 63), max_size=7)), max_size=20),
    st.integers(0, 8),
    st.randoms(),
)
def test_groups_are_those_of_comparing_every_pair(
    bases: list[int], changes: list[tuple[int, list[int]]], limit: int, random: object
) -> None:
    values = bases + [flipped(bases[base % len(bases)], bits) for base, bits in changes]
    random.shuffle(values)  # type: ignore[attr-defined]
    hashes = np.array(values, dtype=np.uint64)
    assert group_near_duplicates(hashes, limit).tolist() == by_brute_force(hashes, limit)


def test_chains_link_and_the_limit_is_sharp() -> None:
    step = (1 << MAX_DISTANCE_BITS) - 1
    far = 2**64 - 1
    chain = np.array([far, step | step << 20, 0, step], dtype=np.uint64)
    assert group_near_duplicates(chain).tolist() == [0, 1, 1, 1]
    apart = np.array([0, (1 << (MAX_DISTANCE_BITS + 1)) - 1], dtype=np.uint64)
    assert group_near_duplicates(apart).tolist() == [0, 1]


def test_no_pictures_have_no_groups() -> None:
    assert group_near_duplicates(np.array([], dtype=np.uint64)).tolist() == []


def test_many_pictures_take_seconds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 50_000, dtype=np.uint64)
    partners = rng.permutation(50_000).reshape(2, -1)[:, :500]
    hashes[partners[1]] = hashes[partners[0]] ^ np.uint64(0b1011 << 30)
    blank = rng.integers(0, 50_000, 3000)
    blank = np.setdiff1d(blank, partners)
    hashes[blank] = 0
    started_s = time.process_time()
    groups = group_near_duplicates(hashes)
    assert time.process_time() - started_s < 10
    assert np.array_equal(groups[partners[0]], groups[partners[1]])
    assert set(groups[blank]) == {blank.min()}
    assert len(np.unique(groups)) == 50_000 - 500 - (len(blank) - 1)
