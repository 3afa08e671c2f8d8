"""Degradations do what their names say, the same every time, and reach the detector by the serving path."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from fakelens.core.imaging import ImageRefused, ImageU8, decode, to_square
from fakelens.evaluation.degradations import MIN_SIDE_PX, STEPS, Action, Step, degrade, degraded_file

SIDE = 96
STEP_IDS = [f"{step.family}, {step.label}" for step in STEPS]
FORMATS = {"JPEG": "JPEG", "WebP": "WEBP", "AVIF": "AVIF"}
every_step = pytest.mark.parametrize("step", STEPS, ids=STEP_IDS)


@pytest.fixture(scope="module")
def square() -> ImageU8:
    """Shapes, slopes and grain in colour, stored like every picture: after serving's JPEG round trip."""
    rng = np.random.default_rng(0)
    grain = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(1))
    coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((SIDE, SIDE))
    return to_square(Image.blend(coarse, grain, 0.5))


def rng() -> np.random.Generator:
    return np.random.default_rng((3, 9, 5))


def served(data: bytes) -> ImageU8:
    return to_square(decode(data, short_side_px=SIDE, min_side_px=MIN_SIDE_PX)[0])


def difference(one: ImageU8, other: ImageU8) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def family(name: str) -> list[Step]:
    return [step for step in STEPS if step.family == name]


def costs(name: str, square: ImageU8) -> list[float]:
    return [difference(degrade(square, step, rng()), square) for step in family(name)]


def test_every_step_has_its_place() -> None:
    assert len({(step.family, step.label) for step in STEPS}) == len(STEPS)
    for name in {step.family for step in STEPS}:
        assert [step.severity for step in family(name)] == list(range(1, len(family(name)) + 1))


@every_step
def test_shape_repeatability_and_effect(step: Step, square: ImageU8) -> None:
    before = square.copy()
    degraded = degrade(square, step, rng())
    assert (degraded.shape, degraded.dtype) == (square.shape, np.uint8)
    assert np.array_equal(degraded, degrade(square, step, rng()))
    assert np.array_equal(square, before)
    if step.family == "none":
        assert difference(degraded, square) < 0.5
    else:
        assert not np.array_equal(degraded, square)


@every_step
def test_the_path_is_that_of_serving(step: Step, square: ImageU8) -> None:
    data = degraded_file(square, step, rng())
    assert np.array_equal(degrade(square, step, rng()), served(data))
    assert decode(data, min_side_px=MIN_SIDE_PX)[1].format == step.actions[-1].kind


@every_step
def test_a_read_only_square_will_do(step: Step, square: ImageU8) -> None:
    locked = square.copy()
    locked.flags.writeable = False  # as memory-mapped ones are
    assert np.array_equal(degrade(locked, step, rng()), degrade(square, step, rng()))


@pytest.mark.parametrize("quality", [95, 50, 30])
def test_jpeg_by_hand(quality: int, square: ImageU8) -> None:
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=quality)
    step = next(step for step in family("JPEG") if step.label == f"quality {quality}")
    assert np.array_equal(degrade(square, step, rng()), served(buffer.getvalue()))


@pytest.mark.parametrize("name", FORMATS)
def test_a_codec_ladder_ends_in_its_codec(name: str) -> None:
    assert [step.actions[-1].kind for step in family(name)] == [FORMATS[name]] * len(family(name))


def test_sizes_of_the_files(square: ImageU8) -> None:
    sizes = {}
    for step in STEPS:
        container = decode(degraded_file(square, step, rng()), min_side_px=MIN_SIDE_PX)[1]
        assert container.width_px == container.height_px
        sizes[step.family, step.label] = container.width_px / SIDE
    assert [sizes["resize", label] for label in ("×2", "×1.5", "×0.75", "×0.5", "×0.25")] == [2, 1.5, 0.75, 0.5, 0.25]
    assert sizes["crop", "centre 0.75"] == 0.75
    assert sizes["screenshot", "×1.5, PNG"] == pytest.approx(1.5 * 0.97, abs=0.02)
    assert sizes["social media", "WebP 70, ×0.6, JPEG 70 and 60"] == pytest.approx(0.6, abs=0.01)
    assert {sizes[step.family, step.label] for step in STEPS if step.family in ("JPEG", "blur", "noise", "none")} == {1}


@pytest.mark.parametrize("name", ["WebP", "AVIF", "blur", "noise", "crop", "social media"])
def test_stronger_steps_change_more(name: str, square: ImageU8) -> None:
    found = costs(name, square)
    assert found == sorted(found)
    assert found[-1] > 1.2 * found[0]


def test_stronger_jpeg_changes_more(square: ImageU8) -> None:
    by_quality = dict(zip((step.label for step in family("JPEG")), costs("JPEG", square), strict=True))
    # Quality 85 is what the stored square has been through: the second time is nearly free.
    assert by_quality.pop("quality 85") < by_quality["quality 95"] / 2
    found = list(by_quality.values())
    assert found == sorted(found)


def test_stronger_shrinking_changes_more(square: ImageU8) -> None:
    *enlarged, three_quarters, half, quarter = costs("resize", square)
    assert max(enlarged) < three_quarters < half < quarter


def test_crop_keeps_the_centre(square: ImageU8) -> None:
    marked = square.copy()
    marked[:8], marked[-8:], marked[:, :8], marked[:, -8:] = 255, 255, 255, 255
    half = family("crop")[-1]
    assert np.array_equal(degrade(marked, half, rng()), degrade(square, half, rng()))
    data = degraded_file(square, half, rng())
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), square[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4])


@pytest.mark.parametrize("sigma", [2, 5, 10])
def test_noise_has_its_sigma(sigma: int) -> None:
    grey = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    with Image.open(
        io.BytesIO(degraded_file(grey, Step("", "", 1, (Action("noise", sigma), Action("PNG"))), rng()))
    ) as i:
        noise = np.asarray(i).astype(float) - 128
    assert noise.std() == pytest.approx(sigma, rel=0.05)
    assert abs(noise.mean()) < 0.3


def test_noise_does_not_wrap_around() -> None:
    white = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    assert degrade(white, family("noise")[-1], rng()).min() > 150


@every_step
def test_only_noise_depends_on_the_stream(step: Step, square: ImageU8) -> None:
    same = np.array_equal(degrade(square, step, rng()), degrade(square, step, np.random.default_rng(1)))
    assert same == (step.family != "noise")


@pytest.mark.parametrize("step", family("resize"), ids=lambda step: step.label)
def test_small_squares_survive(step: Step, square: ImageU8) -> None:
    assert degrade(square[:64, :64].copy(), step, rng()).shape == (64, 64, 3)


def test_too_small_a_square_is_refused(square: ImageU8) -> None:
    with pytest.raises(ImageRefused, match="too small"):
        degrade(square[:60, :60].copy(), family("resize")[-1], rng())
