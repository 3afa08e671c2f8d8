"""The demonstration's pictures: repeatable, all different, and without a label in their container."""

import io
from itertools import combinations

import imagehash
import numpy as np
import pytest
from PIL import Image

from fakelens.core.imaging import ImageF32, decode
from fakelens.core.scoring import FAKE, REAL
from fakelens.sources import synthetic
from fakelens.sources.base import Source, SourceSettings
from fakelens.sources.synthetic import NUM_CANDIDATES, SyntheticSource


def source(seed: int = 0, side_px: int = 128) -> SyntheticSource:
    return SyntheticSource(SourceSettings(source="synthetic", seed=seed, synthetic_px=side_px))


@pytest.fixture(scope="module")
def pictures() -> dict[int, list[bytes]]:
    """120 encoded pictures by label."""
    made: dict[int, list[bytes]] = {REAL: [], FAKE: []}
    whole = source()
    for candidate, data in whole.fetch(whole.catalogue()[:120]):
        made[candidate.label].append(data)
    return made


def plane(data: bytes) -> ImageF32:
    """Luma (H, W)."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float32)


def phase_contrast(data: bytes) -> float:
    """How unlike the four pixel phases of a 2×2 grid are in their mean detail, relative to the detail."""
    luma = plane(data)
    detail = luma[1:-1, 1:-1] - (luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]) / 4
    means = [detail[row::2, column::2].mean() for row in (0, 1) for column in (0, 1)]
    return float(np.std(means) / detail.std())


def test_fulfils_the_contract_and_says_what_it_is() -> None:
    made: Source = source()
    assert made.is_demo
    assert made.description.startswith("synthetic pictures made for demonstration: ")
    assert (made.name, made.licence, made.revision) == ("synthetic", "made by fakelens, free of rights", None)


def test_catalogue_alternates_labels_and_shares_out_generators() -> None:
    candidates = source().catalogue()
    assert len(candidates) == len({candidate.key for candidate in candidates}) == NUM_CANDIDATES
    assert [candidate.label for candidate in candidates[:4]] == [REAL, FAKE, REAL, FAKE]
    assert candidates == sorted(candidates)
    for label, generators in synthetic._GENERATORS.items():
        named = [candidate.generator for candidate in candidates[:600] if candidate.label == label]
        assert {generator: named.count(generator) for generator in generators} == dict.fromkeys(generators, 100)


def test_a_picture_depends_on_seed_and_number_alone() -> None:
    candidates = source().catalogue()[:6]
    in_order = list(source().fetch(candidates))
    assert [candidate for candidate, _ in in_order] == candidates
    assert list(source().fetch(candidates[::-1])) == in_order[::-1]
    other = [data for _, data in source(seed=1).fetch(candidates)]
    assert not {data for _, data in in_order} & set(other)


@pytest.mark.parametrize("side_px", [64, 127, 288])
def test_every_generator_makes_every_size(side_px: int) -> None:
    made = source(side_px=side_px)
    for candidate, data in made.fetch(made.catalogue()[:6]):
        _, container = decode(data)
        assert (container.format, container.width_px, container.height_px) == ("JPEG", side_px, side_px)
        assert plane(data).std() > 5, candidate.generator


def test_fetches_lazily() -> None:
    made = source()
    assert next(made.fetch(made.catalogue()))[0] == made.catalogue()[0]


def test_no_two_pictures_look_alike(pictures: dict[int, list[bytes]]) -> None:
    hashes = [imagehash.phash(Image.open(io.BytesIO(data))) for made in pictures.values() for data in made]
    assert min(left - right for left, right in combinations(hashes, 2)) > 6


def test_bytes_and_brightness_do_not_tell_the_label(pictures: dict[int, list[bytes]]) -> None:
    for measure in (len, lambda data: plane(data).mean(), lambda data: plane(data).std()):
        real, fake = (np.array([measure(data) for data in pictures[label]]) for label in (REAL, FAKE))
        # The chance that a fake measures more than a real one: 0.5 tells nothing, 0 or 1 everything.
        assert 0.2 < (fake[:, None] > real).mean() < 0.8


def test_compression_is_drawn_from_one_range(pictures: dict[int, list[bytes]]) -> None:
    def tables(data: bytes) -> tuple[int, ...]:
        return tuple(Image.open(io.BytesIO(data)).quantization[0])

    real, fake = ({tables(data) for data in pictures[label]} for label in (REAL, FAKE))
    low, high = synthetic._JPEG_QUALITY
    assert real == fake
    assert len(real) == high - low


def test_decoders_leave_a_grid_that_cameras_do_not(pictures: dict[int, list[bytes]]) -> None:
    real, fake = ([phase_contrast(data) for data in pictures[label]] for label in (REAL, FAKE))
    assert np.median(fake) > 3 * np.median(real)


def test_nearest_neighbour_upsampling_repeats_pixels() -> None:
    planes = np.random.default_rng(0).random((3, 5, 4), np.float32)
    up = synthetic._upsampled(planes, np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(up, planes.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("generator", synthetic._DECODERS)
def test_decoders_keep_the_mean_up_to_the_border(generator: str) -> None:
    kernel = synthetic._kernel(np.random.default_rng(0), synthetic._DECODERS[generator])
    up = synthetic._upsampled(np.ones((3, 6, 6), np.float32), kernel)
    phases = up.reshape(3, 6, 2, 6, 2)
    np.testing.assert_allclose(phases.mean(axis=(2, 4)), 1, rtol=1e-5)
    np.testing.assert_allclose(phases, np.broadcast_to(phases[:, :1, :, :1], phases.shape), rtol=1e-5)


@pytest.mark.parametrize("camera", synthetic._CAMERAS.values())
def test_demosaicing_keeps_a_flat_colour(camera: synthetic._Camera) -> None:
    cells = synthetic._bayer_cells(camera)
    assert sorted(channel for channel, _, _ in cells) == [0, 1, 1, 2]
    colour = np.array([0.2, 0.5, 0.7], np.float32)
    mosaic = np.empty((9, 8), np.float32)
    for channel, row, column in cells:
        mosaic[row::2, column::2] = colour[channel]
    planes = synthetic._demosaiced(mosaic, cells)
    np.testing.assert_allclose(planes, np.broadcast_to(colour[:, None, None], (3, 9, 8)), rtol=1e-6)
