"""Augmentation is decided by its random stream alone, and does what its settings say as often as they say it."""

import inspect

import numpy as np
import pytest

from fakelens.core.imaging import ImageU8
from fakelens.dataset import augmentation
from fakelens.dataset.augmentation import AugmentationSettings, augment

DEFAULTS = AugmentationSettings()
NOTHING = AugmentationSettings(flip=0, jpeg=0, webp=0)
NUM_DRAWS = 3000


def noise(side_px: int = 48) -> ImageU8:
    return np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def is_crop_of(crop: ImageU8, square: ImageU8) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(square, crop.shape)
    return bool((windows == crop).all(axis=(-3, -2, -1)).any())


class Recorder:
    """Stands in for the codecs and notes what was asked of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, pixels: ImageU8, codec: str, quality: int) -> ImageU8:
        self.calls.append((codec, quality))
        return pixels


def histories(settings: AugmentationSettings, monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, int]]]:
    """The codecs applied in each of many draws."""
    square, found = noise(), []
    for number in range(NUM_DRAWS):
        recorder = Recorder()
        monkeypatch.setattr(augmentation, "_recompress", recorder)
        augment(square, 40, settings, rng(number))
        found.append(recorder.calls)
    return found


def test_same_stream_same_picture() -> None:
    square = noise()
    for key in ((0, 5, 0, 1), (0, 5, 1, 0), (3, 5, 0, 1)):
        assert np.array_equal(augment(square, 40, DEFAULTS, rng(*key)), augment(square, 40, DEFAULTS, rng(*key)))


def test_other_streams_other_pictures() -> None:
    square = noise()
    made = {augment(square, 40, DEFAULTS, rng(0, number)).tobytes() for number in range(20)}
    assert len(made) == 20


def test_nothing_takes_a_label() -> None:
    assert set(inspect.signature(augment).parameters) == {"square", "crop_px", "settings", "rng"}


@pytest.mark.parametrize("crop_px", [32, 40, 48])
def test_size_and_memory_layout(crop_px: int) -> None:
    for number in range(8):
        crop = augment(noise(), crop_px, DEFAULTS, rng(number))
        assert (crop.shape, crop.dtype, crop.flags["C_CONTIGUOUS"]) == ((crop_px, crop_px, 3), np.uint8, True)


def test_square_is_left_as_it_was() -> None:
    square = noise()
    square.flags.writeable = False  # as a memory map opened for reading
    for number in range(8):
        augment(square, 48, DEFAULTS, rng(number))
    assert np.array_equal(square, noise())


def test_without_codecs_pixels_are_only_cut_out() -> None:
    square = noise()
    crops = [augment(square, 40, NOTHING, rng(number)) for number in range(30)]
    assert all(is_crop_of(crop, square) for crop in crops)
    assert len({crop.tobytes() for crop in crops}) > 15


def test_every_place_can_be_cut_out() -> None:
    square = noise(10)
    crops = {augment(square, 8, NOTHING, rng(number)).tobytes() for number in range(300)}
    assert len(crops) == 9


def test_flip_mirrors_left_and_right() -> None:
    square = noise()
    always = NOTHING.model_copy(update={"flip": 1.0})
    assert np.array_equal(augment(square, 48, always, rng(0)), square[:, ::-1])
    flips = sum(
        not np.array_equal(augment(square, 48, NOTHING.model_copy(update={"flip": 0.3}), rng(n)), square)
        for n in range(NUM_DRAWS)
    )
    assert flips / NUM_DRAWS == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    ("jpeg", "webp", "repeat"), [(0.45, 0.2, 0.3), (0.2, 0.6, 0.0), (1.0, 0.0, 1.0), (0.0, 1.0, 0.5)]
)
def test_codecs_come_as_often_as_settings_say(
    monkeypatch: pytest.MonkeyPatch, jpeg: float, webp: float, repeat: float
) -> None:
    found = histories(AugmentationSettings(jpeg=jpeg, webp=webp, repeat=repeat), monkeypatch)
    used = [calls for calls in found if calls]
    # Four standard deviations of a share in 3000 draws are 0.037; of a third of the draws 0.064.
    for codec, share in (("JPEG", jpeg), ("WEBP", webp)):
        assert sum(calls[0][0] == codec for calls in used) / NUM_DRAWS == pytest.approx(share, abs=0.037)
    assert sum(len(calls) == 2 for calls in used) / len(used) == pytest.approx(repeat, abs=0.064)
    assert {len(calls) for calls in used} <= {1, 2}
    assert all(len({codec for codec, _ in calls}) == 1 for calls in used)


def test_qualities_cover_the_whole_range(monkeypatch: pytest.MonkeyPatch) -> None:
    found = histories(AugmentationSettings(quality=(60, 69)), monkeypatch)
    qualities = [quality for calls in found for _, quality in calls]
    counted = np.bincount(qualities, minlength=70)
    assert counted[:60].sum() == 0
    assert len(counted) == 70
    assert counted[60:].min() > 0.7 * len(qualities) / 10


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_lower_quality_loses_more(codec: str) -> None:
    square = noise()
    errors = []
    for quality in (20, 60, 95):
        settings = AugmentationSettings.checked(
            {"flip": 0, "jpeg": 0, "webp": 0, "repeat": 0, codec: 1, "quality": (quality, quality)}
        )
        changed = augment(square, 48, settings, rng(0))
        errors.append(np.abs(changed.astype(int) - square).mean())
    assert errors[0] > errors[1] > errors[2] > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jpeg": 1.2}, "'jpeg'"),
        ({"flip": -0.1}, "'flip'"),
        ({"quality": (50,)}, "'quality"),
        ({"blur": 0.5}, "'blur'"),
        ({"jpeg": 0.7, "webp": 0.5}, "exclude each other"),
        ({"quality": (95, 55)}, "lowest, highest"),
        ({"quality": (55, 101)}, "within 1 to 100"),
        ({"quality": (0, 50)}, "within 1 to 100"),
    ],
)
def test_senseless_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationSettings.checked(values)
