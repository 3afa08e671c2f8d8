"""Whatever bytes come in, the page gets a verdict or a sentence; never an exception."""

import platform
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fakelens.app import view, wording
from fakelens.core import imaging
from fakelens.core.scoring import OperatingPoint, Threshold, Verdict, probability_words
from fakelens.runtime.bundle import BundledModel
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import Judgement, Picture, Refusal
from onnx_models import FIGURES, encoded, flat_picture, noise, onnx_bytes
from picture_files import png_promising


@pytest.fixture(scope="module")
def detector() -> OnnxDetector:
    return OnnxDetector(onnx_bytes())


def taken(data: bytes) -> Picture:
    picture = view.take("picture", data, [256])
    assert isinstance(picture, Picture), picture
    return picture


def judged(detector: OnnxDetector, data: bytes, threshold: Threshold | None = None) -> Judgement:
    picture = taken(data)
    answer = view.answer(picture, view.assess(detector, picture), detector.name, threshold or detector.threshold)
    assert isinstance(answer, Judgement)
    return answer


@pytest.mark.parametrize(
    ("level", "verdict", "words", "sentence"),
    [
        (0, Verdict.REAL, "likely a photograph", "gives 0.3 %; below 40 % it calls a picture a photograph"),
        (127, Verdict.UNCERTAIN, "uncertain", "between 40 % and 60 % it does not decide"),
        (
            255,
            Verdict.FAKE,
            "likely AI-generated",
            "gives 99.7 %; from 60 % on it calls a picture AI-generated",
        ),
    ],
)
def test_a_verdict_in_words(detector: OnnxDetector, level: int, verdict: Verdict, words: str, sentence: str) -> None:
    shown = judged(detector, flat_picture(level))
    assert (shown.name, shown.verdict, shown.words) == ("picture", verdict, words)
    assert sentence in shown.sentence
    assert view.caption(shown).startswith(f"320 × 240 px, PNG, {len(flat_picture(level)) / 1000:.0f} kB")
    assert f"width:{100 * shown.probability:.2f}%" in view.bar_html(shown.probability, shown.threshold, shown.verdict)


def test_of_a_long_picture_the_middle_is_kept_and_its_square_stays_the_same() -> None:
    data = encoded(Image.fromarray(noise(256, 2001)))
    whole, _ = imaging.decode(data)
    kept = taken(data).images[256]
    assert kept.size == (769, 256)
    assert np.array_equal(imaging.to_square(kept), imaging.to_square(whole))


def test_a_picture_on_its_side_is_shown_upright() -> None:
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[:, :160] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was left is on top
    picture = taken(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95))
    with Image.open(BytesIO(picture.preview)) as shown:
        assert shown.width < shown.height
        assert shown.getpixel((100, 20))[0] > 200 > 100 > shown.getpixel((100, shown.height - 20))[0]


def test_transparent_pixels_count_as_white(detector: OnnxDetector) -> None:
    clear_black = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    assert judged(detector, encoded(clear_black)).probability > 0.99


def test_sixteen_bits_are_scaled_not_clipped(detector: OnnxDetector) -> None:
    grey = Image.fromarray(np.full((100, 100), 0x8000, np.uint16))
    assert judged(detector, encoded(grey)).probability == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"GIF89a, and then nothing of the kind", "not a JPEG, PNG"),
        (encoded(Image.fromarray(noise()), "PPM"), "not a JPEG, PNG"),
        (encoded(Image.fromarray(noise()), "BMP")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "TIFF")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "JPEG")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "PNG")[:9000], "cannot be decoded"),
        (encoded(Image.fromarray(noise()), "WEBP")[:9000], "cannot be"),
        (png_promising(9_000, 9_000), "limit for PNG is 24"),
        (png_promising(100_000, 100_000), "too many pixels"),
        (flat_picture(0, (20, 40)), "too small"),
        (flat_picture(0, (64, 80_000)), "1 to 1250"),
        (bytes(10 * 2**20 + 1), "10.5 MB, and the limit is 10 MB"),
    ],
)
def test_a_file_that_cannot_be_judged_gets_a_sentence(data: bytes, message: str) -> None:
    shown = view.take("bad.png", data, [256])
    assert isinstance(shown, Refusal)
    assert shown.name == "bad.png"
    assert message in shown.error
    assert "Traceback" not in shown.error


def test_a_flipped_byte_anywhere_never_raises() -> None:
    random = np.random.default_rng(1)
    originals = [encoded(Image.fromarray(noise(96, 96)), kind) for kind in imaging.FORMATS]
    for original in originals:
        for position in random.integers(0, len(original), 40):
            data = bytearray(original)
            data[position] ^= 0xFF
            taken = view.take("flipped", bytes(data), [256])
            assert isinstance(taken, Picture) or taken.error


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.0, "under 0.1 %"), (0.0314, "3.1 %"), (0.5, "50.0 %"), (0.9985, "99.9 %"), (1.0, "over 99.9 %")],
)
def test_a_probability_never_claims_certainty(probability: float, words: str) -> None:
    assert probability_words(probability) == words


def test_the_bar_marks_both_thresholds() -> None:
    bar = view.bar_html(0.83, Threshold(0.25, 0.975), Verdict.UNCERTAIN)
    assert "left:calc(25.00% - 1px)" in bar
    assert "left:calc(97.50% - 1px)" in bar
    assert "photograph below 25 %" in bar
    assert "AI-generated from 97.5 %" in bar


MODEL = BundledModel(
    "tiny", "Tiny", "", "tiny.onnx", "int8-static", 224, 256, Threshold(), 2_590_000, 3.6, FIGURES,
    operating_points=(), facts=(), point_facts=(), card="tiny.md",
)  # fmt: skip


def test_the_figures_are_the_models_own() -> None:
    rows = {label: value for label, value, _ in wording.figure_rows(MODEL)}
    assert rows == {
        "Judged rightly": "91.3 %",
        "Fakes found": "89.6 %",
        "False alarms": "7 %",
        "Test pictures": "1,800",
        "Model size": "2.6 MB",
        "Time": "3.6 ms",
    }


def test_thresholds_are_offered_by_name_the_default_first() -> None:
    points = OnnxDetector(onnx_bytes()).operating_points
    model = replace(MODEL, threshold=Threshold(0.4, 0.9), operating_points=points)
    choices = wording.threshold_choices([model])
    assert choices == ["Careful: 1 % false alarms", "Standard"]
    assert [wording.threshold_of(model, choice) for choice in choices] == [Threshold(0.4, 0.9), Threshold(0.4, 0.6)]


def test_names_of_the_same_thresholds_are_offered_once() -> None:
    strict, loose = Threshold(0.4, 0.9), Threshold(0.4, 0.6)
    models = [
        replace(MODEL, operating_points=tuple(map(OperatingPoint, (None, 0.05, 0.01), thresholds)), threshold=loose)
        for thresholds in ((loose, loose, loose), (loose, loose, strict))
    ]
    assert wording.threshold_choices(models[:1]) == ["Standard"]
    assert wording.threshold_choices(models) == ["Standard", "Careful: 1 % false alarms"]


def test_another_threshold_changes_the_verdict_not_the_probability(detector: OnnxDetector) -> None:
    balanced, strict = (judged(detector, flat_picture(160), Threshold(0.4, fake)) for fake in (0.6, 0.99))
    assert (balanced.verdict, strict.verdict) == (Verdict.FAKE, Verdict.UNCERTAIN)
    assert balanced.probability == strict.probability
    assert "99 %" in strict.sentence


def test_a_caution_of_the_undecided_kind_keeps_the_score_and_takes_the_verdict(detector: OnnxDetector) -> None:
    shown = judged(detector, flat_picture(255, (100, 100)))
    assert (shown.verdict, shown.words) == (Verdict.UNCERTAIN, "uncertain")
    assert shown.probability > 0.99
    assert "but for the reason below that says nothing" in shown.sentence
    assert "which says nothing here: see the reason below" in view.row_html("A detector", shown)


@pytest.mark.parametrize(
    ("verdicts", "words", "brief"),
    [
        ("f", "Likely AI-generated", "Likely AI-generated"),
        ("rr", "Both detectors: likely a photograph", "Likely a photograph (2 of 2)"),
        ("fff", "All 3 detectors: likely AI-generated", "Likely AI-generated (3 of 3)"),
        ("uuu", "All 3 detectors: uncertain", "Uncertain (3 of 3)"),
        (
            "ffr",
            "The detectors contradict each other (2 likely AI-generated, 1 likely a photograph): treat this picture ",
            "Undecided: contradictory",
        ),
        (
            "fru",
            "The detectors contradict each other (1 likely AI-generated, 1 likely a photograph, 1 uncertain): treat",
            "Undecided: contradictory",
        ),
        ("ffu", "2 of 3 detectors: likely AI-generated; 1 uncertain", "Likely AI-generated (2 of 3)"),
        ("ruu", "1 of 3 detectors: likely a photograph; 2 uncertain", "Likely a photograph (1 of 3)"),
    ],
)
def test_what_several_detectors_say_together(verdicts: str, words: str, brief: str) -> None:
    letters = {"f": Verdict.FAKE, "r": Verdict.REAL, "u": Verdict.UNCERTAIN}
    assert view.combined([letters[letter] for letter in verdicts]).startswith(words)
    assert view.combined_briefly([letters[letter] for letter in verdicts]) == brief


def test_words_from_outside_are_no_markup() -> None:
    assert wording.as_text("flux_1 [dev](x) *now*") == r"flux\_1 \[dev\](x) \*now\*"


ARENAS = """
import ctypes, sys, threading
from fakelens.core.machine import share_arenas
if "shared" in sys.argv:
    share_arenas()
all_there = threading.Barrier(8)
def allocate():
    kept = [bytearray(100_000) for _ in range(10)]
    all_there.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL("libc.so.6")
libc.fdopen.restype, libc.fdopen.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_char_p]
stdout = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_two_arenas() -> None:
    def arenas(*arguments: str) -> int:
        command = [sys.executable, "-c", ARENAS, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap ")

    assert arenas("shared") <= 2 < arenas()


def test_the_figures_beside_a_verdict_are_those_of_its_setting() -> None:
    model = replace(
        MODEL,
        threshold=Threshold(0.4, 0.6),
        operating_points=(
            OperatingPoint(None, Threshold(0.4, 0.6)),
            OperatingPoint(0.01, Threshold(0.4, 0.6), num_photographs=22),
            OperatingPoint(0.05, Threshold(0.4, 0.7), num_photographs=22),
        ),
        point_facts=("of the default.", "of one in a hundred.", "of five in a hundred."),
    )
    assert wording.measured_words(model, "Standard") == "Of the default."
    assert wording.measured_words(model, "Careful: 5 % false alarms") == "Of five in a hundred."
    one = wording.measured_words(model, "Careful: 1 % false alarms")
    assert one.startswith("Of one in a hundred. 1 % false alarms cannot be verified with 22 validation photographs")
    assert wording.measured_words(model, "Careful: 20 % false alarms") == "Of the default."  # as its verdicts are
