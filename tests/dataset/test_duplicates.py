"""The same picture saved twice is found, different ones are kept apart, and nothing depends on comparing all pairs."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakelens.core.imaging import ImageU8, decode, to_square
from fakelens.dataset import duplicates
from fakelens.dataset.duplicates import MAX_DISTANCE_BITS, group_near_duplicates, near_any, perceptual_hash

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
    close = np.bitwise_count(hashes[:, None] ^ hashes) <= limit
    groups = np.arange(len(hashes))
    while np.any(groups != (smallest := np.where(close, groups, len(hashes)).min(axis=1))):
        groups = smallest
    return groups.tolist()


def with_flipped_bits(rng: np.random.Generator, hashes: Hashes, num_bits: int) -> Hashes:
    """The (N,) hashes, each at a distance of exactly `num_bits`."""
    bits = rng.permuted(np.tile(np.arange(64, dtype=np.uint64), (len(hashes), 1)), axis=1)[:, :num_bits]
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << bits, axis=1)


def test_recompressed_and_resized_pictures_are_one_group() -> None:
    squares = []
    for seed in range(12):
        original = picture(seed)
        squares += [stored(original), stored(original, "JPEG", quality=50), stored(original, "WEBP", quality=40)]
        squares += [stored(original.resize((160, 160))), stored(original.resize((900, 900)), "JPEG", quality=80)]
    hashes = np.array([perceptual_hash(square) for square in squares], dtype=np.uint64)
    assert group_near_duplicates(hashes).tolist() == [5 * seed for seed in range(12) for _ in range(5)]


def test_the_hash_has_the_bits_of_imagehash() -> None:
    """As imagehash 4.3.2 gave them for the same squares, `phash` after the same halving."""
    assert [f"{perceptual_hash(stored(picture(seed))):016x}" for seed in range(6)] == [
        "c087eefcc36442d3",
        "9b2e919da254e6b2",
        "e205cf49e7da1332",
        "874f657762b0d560",
        "94d4db50d50ff1c1",
        "f442e87af1bce182",
    ]


@settings(deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32),
    st.integers(1, 150),
    st.lists(st.integers(0, 6), max_size=4),
    st.integers(0, 2**64 - 1),
    st.integers(0, 8),
)
def test_groups_are_those_of_comparing_every_pair(
    seed: int, num_bases: int, distances: list[int], varying_bits: int, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, num_bases, dtype=np.uint64) & np.uint64(varying_bits)
    for distance in distances:
        some = rng.choice(hashes, min(len(hashes), 60))
        hashes = np.concatenate([hashes, with_flipped_bits(rng, some, distance)])
    rng.shuffle(hashes)
    groups = by_brute_force(hashes, limit)
    half = len(hashes) // 2
    expected = np.isin(groups[:half], groups[half:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "MAX_DISTANCE_BITS", limit)
        assert group_near_duplicates(hashes).tolist() == groups
        assert np.array_equal(near_any(hashes[:half], hashes[half:]), expected)


@pytest.mark.parametrize("distance", range(7))
def test_every_planted_neighbour_is_found_and_none_beyond_the_limit(distance: int) -> None:
    rng = np.random.default_rng(distance)
    originals = rng.integers(0, 2**64, 3000, dtype=np.uint64)
    copies = with_flipped_bits(rng, originals, distance)
    groups = group_near_duplicates(np.concatenate([originals, copies]))
    assert groups[:3000].tolist() == list(range(3000))
    assert np.all((groups[3000:] == groups[:3000]) == (distance <= MAX_DISTANCE_BITS))


def test_at_no_distance_only_equal_hashes_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_DISTANCE_BITS", 0)
    hashes = np.array([7, 6, 7, 0, 6, 2**63], dtype=np.uint64)
    assert group_near_duplicates(hashes).tolist() == [0, 1, 0, 3, 1, 5]
    assert near_any(hashes, np.array([6, 1], dtype=np.uint64)).tolist() == [False, True, False, False, True, False]


def test_chains_link_and_the_limit_is_sharp() -> None:
    step = (1 << MAX_DISTANCE_BITS) - 1
    far = 2**64 - 1
    chain = np.array([far, step | step << 20, 0, step], dtype=np.uint64)
    assert group_near_duplicates(chain).tolist() == [0, 1, 1, 1]
    apart = np.array([0, (1 << (MAX_DISTANCE_BITS + 1)) - 1], dtype=np.uint64)
    assert group_near_duplicates(apart).tolist() == [0, 1]


def test_near_a_reference_directly_or_through_another_picture() -> None:
    step = (1 << MAX_DISTANCE_BITS) - 1
    hashes = np.array([step | step << 20, 2**64 - 1, step], dtype=np.uint64)
    assert near_any(hashes, np.array([0], dtype=np.uint64)).tolist() == [True, False, True]
    assert near_any(hashes[:2], np.array([0], dtype=np.uint64)).tolist() == [False, False]


def test_no_pictures_have_no_groups_and_are_near_nothing() -> None:
    none, one = np.array([], dtype=np.uint64), np.array([5], dtype=np.uint64)
    assert group_near_duplicates(none).tolist() == []
    assert near_any(none, one).tolist() == []
    assert near_any(one, none).tolist() == [False]


def test_pairs_compared_in_many_pieces_are_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64) & np.uint64(0x00030F0F0F0F0300)
    monkeypatch.setattr(duplicates, "PIECE_PAIRS", 10)
    assert group_near_duplicates(hashes).tolist() == by_brute_force(hashes, MAX_DISTANCE_BITS)


@pytest.mark.parametrize("skew", ["one hash", "half of the bits", "every other column", "a heap"])
def test_few_pairs_are_compared_even_when_a_third_are_alike(skew: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 120_000, dtype=np.uint64)
    alike = slice(0, 40_000)
    if skew == "a heap":
        hashes[alike] = with_flipped_bits(rng, np.full(40_000, hashes[0]), MAX_DISTANCE_BITS)
    else:
        hashes[alike] &= np.uint64({"one hash": 0, "half of the bits": 2**32 - 1}.get(skew, 0x5555555555555555))
    hashes[-1000:] = with_flipped_bits(rng, hashes[50_000:51_000], MAX_DISTANCE_BITS)
    num_compared = []
    bitwise_count = np.bitwise_count

    def counted(differences: np.ndarray) -> np.ndarray:
        num_compared.append(len(differences))
        return bitwise_count(differences)

    monkeypatch.setattr(np, "bitwise_count", counted)
    groups = group_near_duplicates(hashes)
    assert 1000 < sum(num_compared) < 100 * len(hashes)  # all pairs are 60,000 to a hash
    assert groups[-1000:].tolist() == list(range(50_000, 51_000))
    if skew in ("one hash", "a heap"):
        assert np.all(groups[alike] == 0)
