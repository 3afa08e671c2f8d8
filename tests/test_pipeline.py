"""The whole pipeline on tiny data: which files each stage leaves, and what is skipped, refused and said."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakelens import pipeline
from fakelens.core.artifacts import load_record, read_json
from fakelens.detectors.discovery import discover
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.metrics import compute_metrics
from fakelens.evaluation.scores import read_scores
from fakelens.recipes import RECIPES

DETECTORS = list(discover().values())
SMOKE = RECIPES["smoke"]
PLOTS = ("accuracy", "confusion_matrix", "learning_rate", "loss", "roc", "samples")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_prepare_leaves_these_files(finished_run: Path) -> None:
    assert files(finished_run / "data") == {"train.npy", "val.npy", "test.npy", "manifest.parquet", "prepare.json"}


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_each_detector_leaves_these_files(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    assert files(finished_run / spec.name) == {
        "best.safetensors",
        "last.ckpt",
        "history.csv",
        "train.json",
        *(f"plots/{name}.png" for name in ("loss", "accuracy", "learning_rate")),
        *(f"evaluation/{name}" for name in ("scores.parquet", "metrics.json", "evaluate.json")),
        *(f"evaluation/plots/{name}.png" for name in ("confusion_matrix", "roc", "samples")),
        *(f"onnx/{name}" for name in ("fp32.onnx", "int8-dynamic.onnx", "int8-static.onnx", "export.json")),
    }


def test_the_report_leaves_these_files(finished_run: Path) -> None:
    plots = {f"plots/{spec.name}/{name}.png" for spec in DETECTORS for name in PLOTS}
    assert files(finished_run / "report") == {"index.html", "report.md", "plots/tradeoff.png", *plots}


def test_the_report_is_one_file_and_says_that_it_is_a_demonstration(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") == 1 + len(PLOTS) * len(DETECTORS)
    assert "demonstration on synthetic pictures" in page
    assert all(spec.display_name in page for spec in DETECTORS)


def test_the_splits_are_exact_and_balanced(finished_run: Path) -> None:
    splits = load_record(finished_run / "data" / "prepare.json").results["splits"]
    assert splits == {
        "train": {"real": 28, "fake": 28},
        "val": {"real": 6, "fake": 6},
        "test": {"real": 6, "fake": 6},
    }
    px = SMOKE.data.stored_px
    assert np.load(finished_run / "data" / "train.npy", mmap_mode="r").shape == (56, px, px, 3)


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_metrics_follow_from_the_scores_alone(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    folder = finished_run / spec.name / "evaluation"
    scores = read_scores(folder / "scores.parquet").of("test")
    temperature = load_record(folder / "evaluate.json").results["temperature"]
    again = compute_metrics(scores.label, calibrated(scores.logit, temperature))
    assert read_json(folder / "metrics.json")["test"] == json.loads(json.dumps(again.__dict__))


@pytest.mark.parametrize("spec", DETECTORS, ids=lambda spec: spec.name)
def test_export_records_every_variant(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    results = load_record(finished_run / spec.name / "onnx" / "export.json").results
    variants = {variant["name"]: variant for variant in results["variants"]}
    assert set(variants) == {"fp32", "int8-dynamic", "int8-static"}
    assert variants["fp32"]["max_difference"] <= 1e-4
    for variant in variants.values():
        assert variant["size_bytes"] == (finished_run / spec.name / "onnx" / variant["file"]).stat().st_size
        # Dynamic quantisation scales by the whole batch, so pictures depend on their neighbours: it may be refused.
        assert variant["batch_difference"] <= 1e-3 or (variant["name"] == "int8-dynamic" and not variant["passed"])
        assert variant["metrics"]["num_images"] == 12


def test_a_second_run_leaves_finished_stages_alone(own_run: Path) -> None:
    records = [*own_run.glob("*/*.json"), *own_run.glob("*/*/*.json"), *own_run.glob("*/*.safetensors")]
    watched = {path: path.stat().st_mtime_ns for path in records if "bundle" not in path.parts}
    assert len(watched) == 1 + 5 * len(DETECTORS)
    pipeline.run(own_run, SMOKE, DETECTORS)
    assert {path: path.stat().st_mtime_ns for path in watched} == watched


def test_a_missing_output_is_made_again(own_run: Path) -> None:
    spec = DETECTORS[0]
    lost = own_run / spec.name / "evaluation" / "plots" / "roc.png"
    lost.unlink()
    pipeline.evaluate(own_run, SMOKE, spec)
    assert lost.is_file()


def test_a_failed_gate_ships_fp32_and_says_why(own_run: Path) -> None:
    spec = DETECTORS[0]
    gate = SMOKE.export.gate.model_copy(update={"max_accuracy_drop": -1.0})  # nothing can pass this one
    export = SMOKE.export.model_copy(update={"gate": gate})
    record = pipeline.export(own_run, SMOKE.model_copy(update={"export": export}), spec)
    assert record.results["ships"] == "fp32"
    assert "accuracy_drop" in record.results["why"]
    pipeline.bundle(own_run, [spec])
    assert read_json(own_run / "bundle" / "bundle.json")["models"][0]["variant"] == "fp32"


def test_the_bundle_carries_the_shipped_files(finished_run: Path) -> None:
    bundle = read_json(finished_run / "bundle" / "bundle.json")
    assert bundle["demo"] is True
    assert [model["name"] for model in bundle["models"]] == [spec.name for spec in DETECTORS]
    for model in bundle["models"]:
        shipped = finished_run / model["name"] / "onnx" / f"{model['variant']}.onnx"
        assert (finished_run / "bundle" / model["file"]).read_bytes() == shipped.read_bytes()


def test_a_folder_of_ones_own_pictures_runs_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("real", "fake/some-generator"):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(14):
            pixels = rng.integers(0, 256, (90, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "pictures" / "real" / "broken.png").write_bytes(b"not a picture")
    data = SMOKE.data.model_copy(update={"source": "folder", "path": str(tmp_path / "pictures"), "num_images": 28})
    record = pipeline.prepare(tmp_path / "run", SMOKE.model_copy(update={"data": data}))
    assert record.results["demo"] is False
    assert record.results["generators"]["fake"] == {"some-generator": 14}
    shutil.rmtree(tmp_path / "pictures" / "fake")
    with pytest.raises(ValueError, match="fake"):
        pipeline.prepare(tmp_path / "run", SMOKE.model_copy(update={"data": data}))


def test_history_has_the_columns_that_were_promised(finished_run: Path) -> None:
    with (finished_run / DETECTORS[0].name / "history.csv").open(newline="") as file:
        columns = csv.DictReader(file).fieldnames or []
    names = ("loss", "accuracy", "precision", "recall", "f1", "auc")
    assert {"epoch", "learning_rate", *(f"{s}_{n}" for s in ("train", "val") for n in names)} <= set(columns)
