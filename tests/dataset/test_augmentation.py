"""Augmentation is decided by its random stream alone, and does what its settings say as often as they say it."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from fakelens.core.imaging import ImageU8
from fakelens.dataset.augmentation import Variation, augment, draw
from fakelens.settings import AugmentationSettings

DEFAULTS = AugmentationSettings()
NOTHING = AugmentationSettings(crop_scale=1, flip=0, colour=0, blur=0, jpeg=0, webp=0, avif=0, resize_jpeg=0)
WAYS = ("jpeg", "webp", "avif", "resize_jpeg")
NUM_DRAWS = 3000


def noise(side_px: int = 48) -> ImageU8:
    return np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)


def rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def is_crop_of(crop: ImageU8, square: ImageU8) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(square, crop.shape)
    return bool((windows == crop).all(axis=(-3, -2, -1)).any())


def drawn(settings: AugmentationSettings, num_draws: int = NUM_DRAWS) -> list[Variation]:
    """What is decided for many pictures."""
    return [draw(48, 40, settings, rng(number)) for number in range(num_draws)]


def way(variation: Variation) -> str:
    """How a picture is compressed first."""
    if not variation.compressions:
        return "none"
    first = variation.compressions[0]
    return "resize_jpeg" if first.scale < 1 else first.codec.lower()


def test_same_stream_same_picture() -> None:
    square = noise()
    for key in ((0, 5, 0, 1), (0, 5, 1, 0), (3, 5, 0, 1)):
        assert np.array_equal(augment(square, 40, DEFAULTS, rng(*key)), augment(square, 40, DEFAULTS, rng(*key)))


def test_other_streams_other_pictures() -> None:
    square = noise()
    made = {augment(square, 40, DEFAULTS, rng(0, number)).tobytes() for number in range(20)}
    assert len(made) == 20


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
    ("shares", "repeat"), [((0.45, 0.2, 0.1, 0.1), 0.3), ((0.2, 0.6, 0.0, 0.2), 0.0), ((0.0, 0.0, 1.0, 0.0), 1.0)]
)
def test_compressions_come_as_often_as_settings_say(shares: tuple[float, ...], repeat: float) -> None:
    wanted = dict(zip(WAYS, shares, strict=True))
    found = drawn(AugmentationSettings.checked({**wanted, "repeat": repeat}))
    # Four standard deviations of a share in 3000 draws are 0.037.
    for name, share in {**wanted, "none": 1 - sum(shares)}.items():
        assert sum(way(v) == name for v in found) / NUM_DRAWS == pytest.approx(share, abs=0.037)
    compressed = [v for v in found if v.compressions]
    assert sum(len(v.compressions) == 2 for v in compressed) / len(compressed) == pytest.approx(repeat, abs=0.04)
    assert {len(v.compressions) for v in compressed} <= {1, 2}


def test_both_labels_get_the_same_mixture() -> None:
    """The loader's own streams, keyed by (seed, epoch, index), over a split whose halves are the two labels."""
    labels = np.random.default_rng(3).permutation(np.repeat([0, 1], 2000))
    found = [draw(48, 40, DEFAULTS, rng(0, 5, 2, index)) for index in range(len(labels))]
    kinds = [
        [f"{way(v)} {len(v.compressions)} {v.flip} {v.colour is None} {v.blur_sigma_px > 0}" for v in found],
        [f"{compression.codec} {compression.quality // 10}" for v in found for compression in v.compressions[:1]],
    ]
    of_kinds = [labels, np.array([label for label, v in zip(labels, found, strict=True) if v.compressions])]
    for names, own in zip(kinds, of_kinds, strict=True):
        table = [[np.sum((np.array(names) == kind) & (own == label)) for kind in set(names)] for label in (0, 1)]
        assert chi2_contingency(table).pvalue > 0.001


def test_colour_and_blur_come_as_often_and_as_strong_as_settings_say() -> None:
    found = drawn(AugmentationSettings(colour=0.4, colour_strength=0.1, blur=0.25, blur_sigma_px=(0.5, 0.7)))
    colours = np.array([v.colour for v in found if v.colour])
    blurs = np.array([v.blur_sigma_px for v in found if v.blur_sigma_px])
    assert len(colours) / NUM_DRAWS == pytest.approx(0.4, abs=0.037)
    assert len(blurs) / NUM_DRAWS == pytest.approx(0.25, abs=0.037)
    for values, lowest, highest in ((colours, 0.9, 1.1), (blurs, 0.5, 0.7)):
        assert values.min() == pytest.approx(lowest, abs=0.01)
        assert values.max() == pytest.approx(highest, abs=0.01)


def test_crops_of_every_scale_end_in_the_input_size() -> None:
    settings = NOTHING.model_copy(update={"crop_scale": 0.5})
    sides = [draw(48, 40, settings, rng(number)).side_px for number in range(NUM_DRAWS)]
    assert (min(sides), max(sides)) == (24, 48)
    assert augment(noise(), 40, settings, rng(0)).shape == (40, 40, 3)


def test_blur_and_colour_change_pixels_as_meant() -> None:
    square = np.clip(noise() // 2 + 60, 0, 255).astype(np.uint8)
    blurred = augment(square, 48, NOTHING.model_copy(update={"blur": 1.0, "blur_sigma_px": (1.5, 1.5)}), rng(0))
    assert blurred.std() < 0.5 * square.std()
    coloured = augment(square, 48, NOTHING.model_copy(update={"colour": 1.0}), rng(0))
    assert not np.array_equal(coloured, square)
    assert np.corrcoef(coloured.ravel(), square.ravel())[0, 1] > 0.9


def test_qualities_cover_the_whole_range() -> None:
    found = drawn(AugmentationSettings(quality=(60, 69)))
    qualities = [compression.quality for v in found for compression in v.compressions]
    counted = np.bincount(qualities, minlength=70)
    assert counted[:60].sum() == 0
    assert len(counted) == 70
    assert counted[60:].min() > 0.7 * len(qualities) / 10


@pytest.mark.parametrize("codec", WAYS)
def test_lower_quality_loses_more(codec: str) -> None:
    square = noise()
    errors = []
    for quality in (20, 60, 95):
        settings = AugmentationSettings.checked(
            {**NOTHING.model_dump(), "repeat": 0, "resize_scale": (0.9, 0.9), codec: 1, "quality": (quality, quality)}
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
        ({"blurr": 0.5}, "did you mean 'blur'"),
        ({"jpeg": 0.7, "webp": 0.5}, "exclude each other"),
        ({"resize_scale": (0.9, 0.5)}, "strongest, mildest"),
        ({"blur_sigma_px": (2, 1)}, "smallest, largest"),
        ({"quality": (95, 55)}, "lowest, highest"),
        ({"quality": (55, 101)}, "within 1 to 100"),
        ({"quality": (0, 50)}, "within 1 to 100"),
    ],
)
def test_senseless_settings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentationSettings.checked(values)
