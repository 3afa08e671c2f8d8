"""The package as Python sees it: light, typed, and the same judgements as everywhere."""

import importlib.util
import inspect
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fakelens
from fakelens import ImageRefused, Judgement, Refusal, pipeline
from fakelens.core.errors import DamagedFileError
from onnx_models import encoded, flat_picture, make_bundle, noise
from picture_files import png_promising

WHITE, BLACK = flat_picture(255), flat_picture(0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> fakelens.Bundle:
    return fakelens.open_bundle(make_bundle(tmp_path_factory.mktemp("api") / "bundle"))


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_importing_it_loads_no_library() -> None:
    libraries = {"torch", "onnxruntime", "numpy", "PIL", "pydantic", "typer", "huggingface_hub"}
    assert python(f"import sys, fakelens; dir(fakelens); print({libraries} & set(sys.modules) or 'none')") == "none"
    assert python("import sys, fakelens; fakelens.pipeline.run; print('torch' in sys.modules)") == "False"


def test_every_name_is_there_and_none_is_a_sub_package() -> None:
    assert fakelens.__all__ == sorted(fakelens.__all__)
    assert set(fakelens.__all__) <= set(dir(fakelens))
    for name in fakelens.__all__:
        value = getattr(fakelens, name)
        assert inspect.getdoc(value), name
        # Importing a sub-package would put it in the place of the name.
        assert inspect.ismodule(value) or not importlib.util.find_spec(f"fakelens.{name}"), name
    with pytest.raises(AttributeError, match="no attribute 'open_bundel'"):
        fakelens.open_bundel  # noqa: B018


def test_the_stages_are_the_command_lines_own() -> None:
    stages = {"bundle", "compress", "evaluate", "export", "judge", "prepare", "report", "run", "train"}
    assert set(pipeline.__all__) == stages
    assert all(inspect.isfunction(getattr(pipeline, name)) for name in stages)


@pytest.mark.parametrize(
    "lines",
    [
        ("import fakelens.bundle.writer, fakelens.report.report, fakelens.export.stage", "import fakelens.pipeline"),
        ("import fakelens.pipeline", "import fakelens.bundle.writer, fakelens.report.report, fakelens.export.stage"),
    ],
    ids=["packages first", "pipeline first"],
)
def test_the_stages_stay_functions_whatever_is_imported_first(lines: tuple[str, str]) -> None:
    stages = "fakelens.pipeline.bundle, fakelens.pipeline.report, fakelens.pipeline.export"
    assert python("\n".join([*lines, f"print(*map(callable, ({stages})))"])) == "True True True"


def test_it_says_that_it_is_typed() -> None:
    assert (Path(fakelens.__file__).with_name("py.typed")).is_file()


def test_one_picture_is_a_judgement(bundle: fakelens.Bundle, tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    path.write_bytes(WHITE)
    by_path, by_bytes = bundle.judge(path), bundle.judge(WHITE)
    assert isinstance(by_path, Judgement)
    assert (by_path.name, by_path.verdict, by_path.detector) == (str(path), "fake", bundle.model().name)
    assert (by_bytes.name, by_bytes.probability, by_bytes.sha256) == ("", by_path.probability, by_path.sha256)
    assert bundle.judge(str(path)).name == by_path.name


def test_detector_and_thresholds_are_chosen_as_on_the_command_line(bundle: fakelens.Bundle) -> None:
    judgement = bundle.judge(WHITE, detector="mobile_net", max_fpr=0.01)
    assert (judgement.detector, judgement.threshold.fake) == ("mobile_net", 0.9)
    with pytest.raises(fakelens.FakelensError, match="it has small_net"):
        bundle.judge(WHITE, detector="resnet")
    with pytest.raises(fakelens.FakelensError, match=r"choose one of 0\.01"):
        bundle.judge([WHITE], max_fpr=0.5)


def test_a_list_keeps_its_order_and_refuses_one_by_one(bundle: fakelens.Bundle, tmp_path: Path) -> None:
    answers = bundle.judge([WHITE, b"no picture", tmp_path / "missing.png", BLACK, np.zeros((80, 80)), noise()])
    assert [type(answer) for answer in answers] == [Judgement, Refusal, Refusal, Judgement, Refusal, Judgement]
    assert [answer.verdict for answer in answers if isinstance(answer, Judgement)][:2] == ["fake", "real"]
    assert answers[2].name == str(tmp_path / "missing.png")
    assert answers[4].remarks == (
        "the array is float64 of shape (80, 80): give RGB of (height, width, 3), uint8 from 0 to 255",
    )
    assert bundle.judge([]) == []


def test_an_image_and_an_array_are_judged_as_their_png(bundle: fakelens.Bundle) -> None:
    pixels = noise(200, 300)
    probability = bundle.judge(encoded(Image.fromarray(pixels))).probability
    assert bundle.judge(pixels).probability == bundle.judge(Image.fromarray(pixels)).probability == probability
    for shape in ((200, 300), (200, 300, 4)):
        assert bundle.judge(np.full(shape, 255, np.uint8)).container.format == "PNG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "RGBX"])
def test_images_of_every_mode_are_judged(bundle: fakelens.Bundle, mode: str) -> None:
    grey = Image.fromarray(noise()[..., 0])
    image = Image.fromarray(noise()[..., 0].astype(np.uint16) * 257) if mode == "I;16" else None
    image = image or (Image.fromarray(noise()) if mode == "LAB" else grey.convert(mode))
    assert 0 < bundle.judge(image).probability < 1


def test_an_opened_photograph_is_turned_upright(bundle: fakelens.Bundle, tmp_path: Path) -> None:
    pixels = noise(120, 400)
    pixels[:, 200:] //= 3
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert bundle.judge(image).probability == bundle.judge(tmp_path / "turned.png").probability


@pytest.mark.parametrize(
    ("picture", "reason", "words"),
    [
        (b"", "empty", "the file is empty"),
        (b"<html>", "unsupported_format", "JPEG"),
        (np.zeros((80, 80, 2), np.uint8), "unsupported_format", "give RGB"),
        (np.zeros((0, 80, 3), np.uint8), "empty", "no pixels"),
        (Image.new("F", (80, 80)), "unsupported_format", "convert it to RGB"),
        (Image.new("RGB", (0, 80)), "empty", "no pixels"),
        (Image.new("RGB", (8, 8)), "too_small", "8"),
        (png_promising(60_000, 60_000), "too_many_pixels", "pixels"),
    ],
)
def test_one_that_cannot_be_judged_is_refused(
    bundle: fakelens.Bundle, picture: bytes | Image.Image, reason: str, words: str
) -> None:
    with pytest.raises(ImageRefused, match=words) as refused:
        bundle.judge(picture)
    assert refused.value.reason == reason
    (answer,) = bundle.judge([picture])
    assert isinstance(answer, Refusal)
    assert answer.error == str(refused.value)


def test_an_image_that_was_cut_is_refused(bundle: fakelens.Bundle, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(WHITE[: len(WHITE) // 2])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(ImageRefused, match="cannot be decoded"):
        bundle.judge(image)


def test_a_file_that_is_not_there_and_what_is_no_picture_are_errors(bundle: fakelens.Bundle, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bundle.judge(tmp_path / "missing.png")
    with pytest.raises(TypeError, match="not int"):
        bundle.judge([WHITE, 3])


def test_a_share_of_false_alarms_that_cannot_be_shown_is_warned_of(
    bundle: fakelens.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = bundle.operating_point("mobile_net", 0.01)
    monkeypatch.setattr(bundle, "operating_point", lambda *_: replace(point, num_photographs=20))
    with pytest.warns(UserWarning, match="1 % false alarms cannot be verified with 20 validation photographs"):
        bundle.judge(WHITE, max_fpr=0.01)


def test_errors_come_through_a_pool_of_processes(tmp_path: Path) -> None:
    errors = [
        ImageRefused("unreadable", "it is cut"),
        DamagedFileError(tmp_path / "x", "is not ours", "make it again"),
        fakelens.BundleDamaged("a file is missing"),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    assert pickle.loads(pickle.dumps(errors[0])).reason == "unreadable"


def test_a_bundle_is_found_after_the_process_has_gone_elsewhere(
    bundle: fakelens.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.folder.parent)
    opened = fakelens.open_bundle(bundle.folder.name)
    monkeypatch.chdir(tmp_path)
    assert opened.judge(WHITE) == bundle.judge(WHITE)


def test_any_number_of_pictures_in_any_form_of_bytes(bundle: fakelens.Bundle) -> None:
    whole, view, wrong = bundle.judge(iter([bytearray(WHITE), memoryview(WHITE), "a\0b"]))
    assert whole == view == bundle.judge(WHITE)
    assert isinstance(wrong, Refusal)
    assert "no file can have this path" in wrong.error
    with pytest.raises(TypeError, match="or a list of these, not int"):
        bundle.judge(7)  # type: ignore[call-overload]


@pytest.mark.parametrize("order", [">", "<"])
def test_sixteen_bits_in_either_order_are_the_file_they_come_from(
    bundle: fakelens.Bundle, order: str, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[0:96, 0:96]
    pixels = ((rows + columns) * 300).astype(np.uint16)
    mode = {">": "I;16B", "<": "I;16"}[order]
    image = Image.frombytes(mode, (96, 96), pixels.astype(f"{order}u2").tobytes())
    image.save(tmp_path / "grey.tif")
    whole = bundle.judge(tmp_path / "grey.tif")
    with Image.open(tmp_path / "grey.tif") as opened:
        assert opened.mode == mode
        assert bundle.judge(opened).probability == pytest.approx(whole.probability, abs=1e-6)


def test_stages_take_names_and_refuse_none(tmp_path: Path) -> None:
    recipe = fakelens.load_recipe("smoke")
    for stage in (pipeline.train, pipeline.compress, pipeline.evaluate, pipeline.export):
        with pytest.raises(fakelens.FakelensError, match="unknown detector 'mobilenet'"):
            stage(str(tmp_path / "run"), recipe, "mobilenet")
    for several in (pipeline.run, pipeline.bundle, pipeline.report):
        with pytest.raises(fakelens.FakelensError, match="unknown detector 'mobilenet'"):
            several(str(tmp_path / "run"), recipe, ["mobilenet"])
        with pytest.raises(fakelens.FakelensError, match="give a list of names"):
            several(str(tmp_path / "run"), recipe, [])
    with pytest.raises(fakelens.FakelensError, match="nothing to judge with"):
        pipeline.judge(str(tmp_path / "run"), recipe, [str(tmp_path)])
    assert not (tmp_path / "run").exists()
    (tmp_path / "own.yaml").write_text("name: own\n")
    assert fakelens.load_recipe(tmp_path / "own.yaml").name == "own"
