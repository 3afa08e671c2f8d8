"""Whatever bytes come in, the page gets a verdict or a sentence; never an exception."""

import struct
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fakelens.app import view
from fakelens.core.scoring import Threshold, Verdict
from fakelens.runtime.bundle import BundledModel
from fakelens.runtime.detector import OnnxDetector
from onnx_models import FIGURES, encoded, flat_picture, noise, onnx_bytes


@pytest.fixture(scope="module")
def detector() -> OnnxDetector:
    return OnnxDetector(onnx_bytes())


def judged(detector: OnnxDetector, data: bytes) -> view.PictureView:
    shown = view.judge(detector, "picture", data)
    assert isinstance(shown, view.PictureView), shown
    return shown


@pytest.mark.parametrize(
    ("level", "verdict", "words", "sentence"),
    [
        (0, Verdict.REAL, "Likely a photograph", "gives 0.2 %; below 40 % it calls a picture a photograph"),
        (127, Verdict.UNCERTAIN, "Uncertain", "between 40 % and 60 % it does not decide"),
        (
            255,
            Verdict.FAKE,
            "Likely AI-generated",
            "gives 99.8 %; from 60 % on it calls a picture AI-generated",
        ),
    ],
)
def test_a_verdict_in_words(detector: OnnxDetector, level: int, verdict: Verdict, words: str, sentence: str) -> None:
    shown = judged(detector, flat_picture(level))
    assert (shown.name, shown.verdict, shown.words) == ("picture", verdict, words)
    assert sentence in shown.sentence
    assert shown.caption.startswith("320 × 240 px, PNG, 1 kB")
    assert f"width:{100 * shown.probability:.2f}%" in shown.bar_html


def test_the_thumbnail_is_the_whole_picture_and_small(detector: OnnxDetector) -> None:
    shown = judged(detector, flat_picture(10, (2000, 1000), "JPEG"))
    with Image.open(BytesIO(shown.thumbnail_png)) as thumbnail:
        assert thumbnail.size == (512, 256)


def test_a_picture_on_its_side_is_shown_upright(detector: OnnxDetector) -> None:
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[:, :160] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was left is on top
    shown = judged(detector, encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95))
    with Image.open(BytesIO(shown.thumbnail_png)) as thumbnail:
        assert thumbnail.width < thumbnail.height
        assert thumbnail.getpixel((100, 20))[0] > 200 > 100 > thumbnail.getpixel((100, thumbnail.height - 20))[0]


def test_transparent_pixels_count_as_white(detector: OnnxDetector) -> None:
    clear_black = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    assert judged(detector, encoded(clear_black)).verdict is Verdict.FAKE


def test_sixteen_bits_are_scaled_not_clipped(detector: OnnxDetector) -> None:
    grey = Image.fromarray(np.full((100, 100), 0x8000, np.uint16))
    assert judged(detector, encoded(grey)).probability == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (Image.new("CMYK", (100, 100), (0, 0, 0, 0)), "JPEG"),
        (Image.new("L", (100, 100), 255), "PNG"),
        (Image.new("1", (100, 100), 1), "PNG"),
        (Image.new("RGB", (100, 100), "white").quantize(4), "PNG"),
        (Image.new("RGB", (100, 100), "white"), "WEBP"),
    ],
)
def test_every_colour_mode_is_understood(detector: OnnxDetector, image: Image.Image, format: str) -> None:
    assert judged(detector, encoded(image, format)).verdict is Verdict.FAKE


def png_promising(width_px: int, height_px: int) -> bytes:
    """A PNG that says it has this size and holds next to no pixels."""
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(9)),
    ]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"GIF89a, and then nothing of the kind", "not a JPEG, PNG"),
        (encoded(Image.fromarray(noise()), "GIF"), "not a JPEG, PNG"),
        (encoded(Image.fromarray(noise()), "JPEG")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "PNG")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "WEBP")[:9000], "cannot be"),
        (png_promising(9_000, 9_000), "limit of 64 megapixels"),
        (png_promising(100_000, 100_000), "too many pixels"),
        (flat_picture(0, (20, 400)), "too small"),
        (flat_picture(0, (64, 80_000)), "too elongated"),
        (bytes(10 * 2**20 + 1), "10.5 MB; the limit is 10 MB"),
    ],
)
def test_a_file_that_cannot_be_judged_gets_a_sentence(detector: OnnxDetector, data: bytes, message: str) -> None:
    shown = view.judge(detector, "bad.png", data)
    assert isinstance(shown, view.RefusedView)
    assert shown.name == "bad.png"
    assert message in shown.message
    assert "Traceback" not in shown.message


def test_a_flipped_byte_anywhere_never_raises(detector: OnnxDetector) -> None:
    random = np.random.default_rng(1)
    originals = [encoded(Image.fromarray(noise(96, 96)), kind) for kind in ("JPEG", "PNG", "WEBP")]
    for original in originals:
        for position in random.integers(0, len(original), 40):
            data = bytearray(original)
            data[position] ^= 0xFF
            view.judge(detector, "flipped", bytes(data))


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.0, "under 0.1 %"), (0.0314, "3.1 %"), (0.5, "50.0 %"), (0.9985, "99.9 %"), (1.0, "over 99.9 %")],
)
def test_a_probability_never_claims_certainty(probability: float, words: str) -> None:
    assert view.probability_words(probability) == words


def test_the_bar_marks_both_thresholds() -> None:
    bar = view.bar_html(0.83, Threshold(0.25, 0.975))
    assert "left:calc(25.00% - 1px)" in bar
    assert "left:calc(97.50% - 1px)" in bar
    assert "photograph below 25 %" in bar
    assert "AI-generated from 97.5 %" in bar


def test_the_figures_are_the_models_own() -> None:
    model = BundledModel(
        "tiny", "Tiny", "", "tiny.onnx", "int8-static", 224, 256, Threshold(), 2_590_000, 3.6, FIGURES,
        operating_points=(), facts=(), card="tiny.md",
    )  # fmt: skip
    rows = {label: value for label, value, _ in view.figure_rows(model)}
    assert rows == {
        "Accuracy": "91.3 %",
        "Precision": "92.7 %",
        "Recall": "89.6 %",
        "F1": "0.911",
        "AUC": "0.970",
        "Test images": "1,800",
        "Model size": "2.6 MB",
        "Time": "3.6 ms",
    }
    assert dict(rows, Accuracy="100 %") == {
        label: value for label, value, _ in view.figure_rows(replace(model, metrics=replace(FIGURES, accuracy=1.0)))
    }


def test_thresholds_are_offered_by_name_the_default_first() -> None:
    detector = OnnxDetector(onnx_bytes({"fakelens.threshold_fake": "0.9"}))
    choices = view.threshold_choices(detector)
    assert list(choices.values()) == [Threshold(0.4, 0.9), Threshold(0.4, 0.6)]
    assert list(choices) == ["Few false alarms: 1 % of validation photographs", "Balanced: the likelier side"]


def test_another_threshold_changes_the_verdict_not_the_probability() -> None:
    detector = OnnxDetector(onnx_bytes())
    balanced = view.judge(detector, "a.png", flat_picture(160))
    strict = view.judge(detector, "a.png", flat_picture(160), Threshold(0.4, 0.99))
    assert isinstance(balanced, view.PictureView)
    assert isinstance(strict, view.PictureView)
    assert (balanced.verdict, strict.verdict) == (Verdict.FAKE, Verdict.UNCERTAIN)
    assert balanced.probability == strict.probability
    assert "99 %" in strict.sentence


def test_words_from_outside_are_no_markup() -> None:
    assert view.as_text("flux_1 [dev](x) *now*") == r"flux\_1 \[dev\](x) \*now\*"
