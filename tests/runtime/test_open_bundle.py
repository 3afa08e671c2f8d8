"""A bundle opens when it is whole; whatever is wrong is named before onnxruntime sees a byte."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakelens.core.artifacts import write_sealed
from fakelens.core.scoring import Threshold, Verdict
from fakelens.runtime import bundle as bundle_module
from fakelens.runtime.bundle import Bundle, BundleDamaged
from fakelens.runtime.judgement import judge
from onnx_models import ABOUT, DETECTORS, FIGURES, flat_picture, make_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_reads_back_what_was_written(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert [model.name for model in bundle.models] == ["small_net", "large_net", "mobile_net"]
    model = bundle.model("mobile_net")
    assert (model.file, model.variant, model.input_px, model.stored_px) == (
        "mobile_net.onnx",
        "fp32",
        224,
        256,
    )
    assert model.threshold == Threshold(0.4, 0.6)
    assert model.metrics == FIGURES
    assert (bundle.demo, bundle.info.data) == (False, ABOUT)


def test_a_detector_is_loaded_once_and_judges(folder: Path) -> None:
    bundle = Bundle.open(folder)
    detector = bundle.detector("small_net")
    assert bundle.detector("small_net") is detector
    assert judge(flat_picture(255), detector).as_dict()["verdict"] == Verdict.FAKE


def test_an_unknown_detector_is_answered_with_those_there_are(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no detector 'resnet'; it has small_net, large_net, mobile_net"):
        Bundle.open(folder).detector("resnet")


@pytest.mark.parametrize("position", [0, 0.5, -1])
def test_one_flipped_byte_is_refused_before_onnxruntime_sees_it(
    folder: Path, position: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "small_net.onnx"
    data = bytearray(path.read_bytes())
    data[int(position * len(data)) if position > 0 else int(position)] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr(bundle_module, "OnnxDetector", lambda *_, **__: pytest.fail("onnxruntime saw damaged bytes"))
    with pytest.raises(BundleDamaged, match=r"small_net\.onnx is damaged.*fakelens bundle"):
        Bundle.open(folder).detector("small_net")


def test_a_missing_model_is_named(folder: Path) -> None:
    (folder / "small_net.onnx").unlink()
    with pytest.raises(BundleDamaged, match=r"small_net\.onnx cannot be read"):
        Bundle.open(folder).detector("small_net")


def test_a_threshold_edited_by_hand_is_refused(folder: Path) -> None:
    edit(folder, lambda content: content["models"][0]["threshold"].update(fake=0.99))
    with pytest.raises(BundleDamaged, match="is not as it was written"):
        Bundle.open(folder)
    # Even under a seal of its own it is not what the model's file says.
    write_sealed(folder / "bundle.json", json.loads((folder / "bundle.json").read_text()))
    with pytest.raises(BundleDamaged, match="disagree"):
        Bundle.open(folder).detector("small_net")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=1), "format is 1, this program reads 3"),
        (lambda c: c.pop("format"), "format should be of type int, not None"),
        (lambda c: c.pop("models"), "models should be of type list"),
        (lambda c: c.update(models=[]), "at least one is needed"),
        (lambda c: c["models"].append(c["models"][0]), "a name of its own"),
        (lambda c: c["models"][1].pop("summary"), r"models\[1\]: summary should be of type str"),
        (lambda c: c["models"][0].update(file="../evil.onnx"), r"does not list '\.\./evil\.onnx'"),
        (
            lambda c: (c["files"].update({"../x": ""}), c["models"][0].update(file="../x")),
            r"does not list '\.\./x'",
        ),
        (lambda c: c["models"][0]["threshold"].update(real=0.9), "real <= fake"),
        (
            lambda c: c["models"][0]["metrics"].update(auc="good"),
            r"models\[0\].metrics: auc should be of type float",
        ),
        (
            lambda c: c["models"][0]["metrics"].update(confusion_matrix=[1, 2]),
            r"models\[0\].metrics: confusion_matrix should be two rows of two counts",
        ),
        (lambda c: c["data"].pop("licence"), "data: licence"),
        (lambda c: c["models"][0].pop("facts"), r"models\[0\]: facts should be of type list"),
        (lambda c: c["models"][0]["operating_points"][0].pop("threshold"), "operating points are not as"),
    ],
)
def test_a_wrong_description_is_named(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(folder, change)
    with pytest.raises(BundleDamaged, match=rf"(?s)bundle\.json.*{message}.*fakelens bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 3', "\x00"])
def test_what_is_no_description_is_refused(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleDamaged, match="fakelens bundle"):
        Bundle.open(folder)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a bundle, it has no bundle\.json"):
        Bundle.open(tmp_path)


def test_metrics_may_have_more_in_them_and_whole_numbers(folder: Path) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    content["models"][0]["metrics"] |= {"brier": 0.1, "auc": 1}
    write_sealed(folder / "bundle.json", content)
    assert Bundle.open(folder).models[0].metrics.auc == 1.0


def flipped(path: Path, position: int, bit: int) -> bytes:
    """Flip one bit of one byte of the file; returns what it held before."""
    whole = path.read_bytes()
    data = bytearray(whole)
    data[position] ^= 1 << bit
    path.write_bytes(data)
    return whole


def test_a_flipped_byte_anywhere_in_any_model_is_refused(folder: Path) -> None:
    rng, refused = np.random.default_rng(0), 0
    for _ in range(100):
        path = folder / f"{rng.choice(list(DETECTORS))}.onnx"
        before = flipped(path, int(rng.integers(path.stat().st_size)), int(rng.integers(8)))
        with pytest.raises(BundleDamaged, match=rf"{path.name} is damaged"):
            Bundle.open(folder).detector(path.stem)
        path.write_bytes(before)
        refused += 1
    assert refused == 100


def test_a_flipped_bit_of_the_description_is_refused(folder: Path) -> None:
    path, rng = folder / "bundle.json", np.random.default_rng(1)
    for _ in range(100):
        before = flipped(path, int(rng.integers(path.stat().st_size)), int(rng.integers(8)))
        with pytest.raises(BundleDamaged, match=r"bundle\.json cannot be used .*fakelens bundle"):
            Bundle.open(folder)
        path.write_bytes(before)
    whole = path.read_bytes()
    path.write_bytes(whole[:900])
    with pytest.raises(BundleDamaged, match=r"^((?!--force).)*write it again with `fakelens bundle`$"):
        Bundle.open(folder)
    path.write_bytes(whole)
    assert Bundle.open(folder).models
