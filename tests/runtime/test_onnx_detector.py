"""The detector reads everything from the file, refuses foreign files and scores through the one code path."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakelens.core import imaging
from fakelens.core.scoring import Threshold
from fakelens.runtime.detector import OnnxDetector
from onnx_models import noise, onnx_bytes


def test_what_it_knows_comes_from_the_file() -> None:
    detector = OnnxDetector(onnx_bytes({"fakelens.name": "other", "fakelens.threshold_fake": "0.75"}))
    assert (detector.name, detector.input_px, detector.stored_px) == ("other", 224, 256)
    assert detector.threshold == Threshold(0.4, 0.75)
    assert (detector.variant, detector.demo, detector.licence) == ("fp32", False, "CC-BY-NC-4.0")
    assert detector.temperature == 1.0


def test_what_an_export_writes_is_read_back() -> None:
    detector = OnnxDetector(onnx_bytes({"fakelens.demo": "true", "fakelens.temperature": "1.25"}))
    assert OnnxDetector(onnx_bytes(detector.strings())).strings() == detector.strings()


@pytest.mark.parametrize("num_images", [1, 3, 5])
def test_scores_are_one_float_an_image(num_images: int) -> None:
    images_nchw = np.random.default_rng(0).random((num_images, 3, 224, 224), dtype=np.float32)
    scores = OnnxDetector(onnx_bytes()).score(images_nchw)
    expected = 1 / (1 + np.exp(-12 * (images_nchw.mean(axis=(1, 2, 3)) - 0.5)))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_examine_says_probability_and_where() -> None:
    pixels = np.zeros((256, 256, 3), dtype=np.uint8)
    pixels[16 + 2 * 32 : 16 + 3 * 32, 16 + 5 * 32 : 16 + 6 * 32] = 255  # one cell of the model's square
    detector, picture = OnnxDetector(onnx_bytes()), Image.fromarray(pixels)
    probability, heatmap = detector.examine(picture)
    assert probability == float(detector.score(imaging.to_model_input(imaging.to_square(picture)[None]))[0])
    assert (heatmap.shape, heatmap.dtype) == ((7, 7), np.float32)
    assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (2, 5)
    np.testing.assert_allclose(1 / (1 + np.exp(-heatmap.mean())), probability, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "box"),
    [((256, 256), (16, 16, 240, 240)), ((356, 256), (66, 16, 290, 240)), ((256, 301), (16, 38, 240, 262))],
)
def test_the_heatmap_covers_what_the_model_sees(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    detector, picture = OnnxDetector(onnx_bytes()), Image.fromarray(noise(size[1], size[0]))
    assert detector.heatmap_box(picture) == box
    pixels = np.asarray(picture.crop(box))
    side = (picture.width - 256) // 2, (picture.height - 256) // 2
    square = np.asarray(picture.crop((*side, side[0] + 256, side[1] + 256)))[None]
    np.testing.assert_array_equal(imaging.to_model_input(square, 224)[0], pixels.transpose(2, 0, 1) / np.float32(255))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fakelens.name", None),
        ("fakelens.threshold_fake", None),
        ("fakelens.input_px", "wide"),
        ("fakelens.input_px", "0"),
        ("fakelens.input_px", "200"),  # the network takes 224
        ("fakelens.stored_px", "100"),
        ("fakelens.demo", "maybe"),
        ("fakelens.threshold_real", "0.9"),
    ],
)
def test_a_file_without_our_metadata_is_refused_with_the_remedy(key: str, value: str | None) -> None:
    with pytest.raises(ValueError, match="export it again"):
        OnnxDetector(onnx_bytes({key: value}))


def test_a_foreign_graph_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not a fakelens detector.*logits"):
        OnnxDetector(onnx_bytes(output="logits"))


def test_a_file_without_evidence_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"no output 'heatmap'.*export it again"):
        OnnxDetector(onnx_bytes(heatmap="evidence"))


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x00 no model")
    with pytest.raises(ValueError, match=r"cannot load .*broken\.onnx"):
        OnnxDetector(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.onnx cannot be read"):
        OnnxDetector(tmp_path / "absent.onnx")


def test_neither_torch_nor_pydantic_is_imported() -> None:
    code = (
        "import sys, fakelens.runtime.bundle, fakelens.app.view;"
        "print(sorted({'torch', 'pydantic', 'streamlit', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
