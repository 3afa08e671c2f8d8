"""The demonstration's pictures: repeatable, all different, and without a label in their container."""

import io
import pickle
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakelens.core.imaging import ImageF32, decode
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.duplicates import perceptual_hash
from fakelens.settings import SourceSettings
from fakelens.sources import synthetic
from fakelens.sources.base import Source
from fakelens.sources.synthetic import NUM_CANDIDATES, SyntheticSource
from reading import all_rows, read


def source(seed: int = 0, side_px: int = 128) -> SyntheticSource:
    return SyntheticSource(SourceSettings(source="synthetic", seed=seed, synthetic_px=side_px))


@pytest.fixture(scope="module")
def pictures() -> dict[int, list[bytes]]:
    """120 encoded pictures by label."""
    made: dict[int, list[bytes]] = {REAL: [], FAKE: []}
    for block, num in zip(source().catalogue(), (64, 56), strict=False):
        for row, data in zip(block.rows, read(block, range(num)), strict=False):
            made[row.label].append(data)
    assert [len(of_label) for of_label in made.values()] == [60, 60]
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
    assert made.test_sets() == {}


def test_catalogue_alternates_labels_and_shares_out_generators() -> None:
    rows = all_rows(source())
    assert [row.key for row in rows] == [f"picture-{number:05d}" for number in range(NUM_CANDIDATES)]
    assert [row.label for row in rows[:4]] == [REAL, FAKE, REAL, FAKE]
    assert sorted(rows) == rows == all_rows(source())
    for label, generators in synthetic.GENERATORS.items():
        named = [row.generator for row in rows[:600] if row.label == label]
        assert {generator: named.count(generator) for generator in generators} == dict.fromkeys(generators, 100)


def test_a_picture_depends_on_seed_and_number_alone() -> None:
    block, other = source().catalogue()[1], source(seed=1).catalogue()[1]
    in_order = read(block, range(6))
    assert len(set(in_order)) == 6
    assert read(block, range(5, -1, -1)) == in_order[::-1]
    assert read(block, [4]) == [in_order[4]]
    # Numbers run through the blocks: where a block begins is no matter.
    assert list(synthetic.Pictures(0, 128, first=0).images(Path(), range(64, 70))) == in_order
    assert not set(in_order) & set(read(other, range(6)))


@pytest.mark.parametrize("side_px", [64, 127, 288])
def test_every_generator_makes_every_size(side_px: int) -> None:
    block = source(side_px=side_px).catalogue()[0]
    assert {row.generator for row in block.rows[:6]} == {*synthetic.CAMERAS, *synthetic.DECODERS}
    for row, data in zip(block.rows, read(block, range(6)), strict=False):
        _, container = decode(data)
        assert (container.format, container.width_px, container.height_px) == ("JPEG", side_px, side_px)
        assert plane(data).std() > 5, row.generator


def test_pictures_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(synthetic, "draw_picture", lambda _, generator, __: made.append(generator) or b"picture")
    block = source().catalogue()[0]
    images = block.reader.images(Path(), range(64))
    assert made == []
    assert next(images) == b"picture"
    assert made == [block.rows[0].generator]


def test_nothing_is_downloaded_and_a_reader_works_elsewhere(tmp_path: Path) -> None:
    block, spool = source().catalogue()[2], tmp_path / "spool"
    assert list(block.reader.download(spool)) == []
    assert not spool.exists()
    sent = pickle.loads(pickle.dumps(block))
    assert sent == block
    assert read(sent, [7]) == read(block, [7])


def test_no_two_pictures_look_alike(pictures: dict[int, list[bytes]]) -> None:
    squares = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for made in pictures.values() for data in made)
    hashes = [perceptual_hash(square) for square in squares]
    assert min((left ^ right).bit_count() for left, right in combinations(hashes, 2)) > 6


def test_bytes_and_brightness_do_not_tell_the_label(pictures: dict[int, list[bytes]]) -> None:
    for measure in (len, lambda data: plane(data).mean(), lambda data: plane(data).std()):
        real, fake = (np.array([measure(data) for data in pictures[label]]) for label in (REAL, FAKE))
        # The chance that a fake measures more than a real one: 0.5 tells nothing, 0 or 1 everything.
        assert 0.2 < (fake[:, None] > real).mean() < 0.8


def test_compression_is_drawn_from_one_range(pictures: dict[int, list[bytes]]) -> None:
    def tables(data: bytes) -> tuple[int, ...]:
        return tuple(Image.open(io.BytesIO(data)).quantization[0])

    real, fake = ({tables(data) for data in pictures[label]} for label in (REAL, FAKE))
    low, high = synthetic.JPEG_QUALITY
    assert real == fake
    assert len(real) == high - low


def test_decoders_leave_a_grid_that_cameras_do_not(pictures: dict[int, list[bytes]]) -> None:
    real, fake = ([phase_contrast(data) for data in pictures[label]] for label in (REAL, FAKE))
    assert np.median(fake) > 3 * np.median(real)


def test_nearest_neighbour_upsampling_repeats_pixels() -> None:
    planes = np.random.default_rng(0).random((3, 5, 4), np.float32)
    up = synthetic.upsample(planes, np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(up, planes.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("generator", synthetic.DECODERS)
def test_decoders_keep_the_mean_up_to_the_border(generator: str) -> None:
    kernel = synthetic.decoder_kernel(np.random.default_rng(0), synthetic.DECODERS[generator])
    up = synthetic.upsample(np.ones((3, 6, 6), np.float32), kernel)
    phases = up.reshape(3, 6, 2, 6, 2)
    np.testing.assert_allclose(phases.mean(axis=(2, 4)), 1, rtol=1e-5)
    np.testing.assert_allclose(phases, np.broadcast_to(phases[:, :1, :, :1], phases.shape), rtol=1e-5)


@pytest.mark.parametrize("camera", synthetic.CAMERAS.values())
def test_demosaicing_keeps_a_flat_colour(camera: synthetic.Camera) -> None:
    cells = synthetic.bayer_cells(camera)
    assert sorted(channel for channel, _, _ in cells) == [0, 1, 1, 2]
    colour = np.array([0.2, 0.5, 0.7], np.float32)
    mosaic = np.empty((9, 8), np.float32)
    for channel, row, column in cells:
        mosaic[row::2, column::2] = colour[channel]
    planes = synthetic.demosaic(mosaic, cells)
    np.testing.assert_allclose(planes, np.broadcast_to(colour[:, None, None], (3, 9, 8)), rtol=1e-6)
