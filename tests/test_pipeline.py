"""The whole pipeline on tiny data: which files each stage leaves, and what is skipped, refused and said."""

import csv
import html
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakelens import pipeline
from fakelens.core.artifacts import Stage, load_record, read_json
from fakelens.core.records import ExportResults
from fakelens.core.scoring import percent, point_at, points_of
from fakelens.core.table import Table, plain
from fakelens.dataset.store import PreparedData
from fakelens.evaluation.robustness import RobustnessScores
from fakelens.evaluation.scores import Scores
from fakelens.recipes import RECIPES, named_detectors, shipped, shown
from fakelens.report.model_card import gist
from fakelens.report.records import Entry
from fakelens.report.report import page_of
from fakelens.runtime.cautions import DEMO
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import Judgement
from fakelens.sharing import open_bundle
from labelled_pictures import fill, structured
from onnx_models import VARIANT

pytestmark = pytest.mark.usefixtures("undrawn")
DETECTORS = named_detectors(None)
SMOKE = RECIPES["smoke"]
ROWS = shown(DETECTORS, SMOKE)
EVALUATION_PLOTS = (
    "confusion_matrix",
    "mistakes",
    "precision_recall",
    "reliability",
    "risk_coverage",
    "robustness",
    "roc",
    "samples",
)
PLOTS = ("accuracy", "learning_rate", "loss", *EVALUATION_PLOTS)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_prepare_leaves_these_files(finished_run: Path) -> None:
    assert files(finished_run / "data") == {"train.npy", "val.npy", "test.npy", "manifest.parquet", "prepare.json"}


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
def test_each_detector_leaves_these_files(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    assert files(finished_run / spec.name) == {
        "best.safetensors",
        *([] if spec.full else ["last.ckpt", "last.sha256"]),
        "history.csv",
        "train.json",
        *(f"plots/{name}.png" for name in ("loss", "accuracy", "learning_rate")),
        *(["model_card.md"] if spec in shipped(DETECTORS, SMOKE) else []),
        *(f"evaluation/{name}" for name in ("scores.parquet", "metrics.json", "evaluate.json")),
        *(f"evaluation/{name}" for name in ("robustness.parquet", "robustness.json")),
        *(f"evaluation/plots/{name}.png" for name in EVALUATION_PLOTS),
        *(f"onnx/{name}" for name in ("fp32.onnx", "int8-dynamic.onnx", "int8-static.onnx", "export.json")),
    }


def test_the_report_leaves_these_files(finished_run: Path) -> None:
    plots = {f"plots/{spec.name}/{name}.png" for spec in ROWS for name in PLOTS}
    assert files(finished_run / "report") == {"index.html", "report.md", "plots/tradeoff.png", *plots}


def test_the_report_is_one_file_and_says_that_it_is_a_demonstration(finished_run: Path) -> None:
    page = (finished_run / "report" / "index.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/webp;base64,") == 1 + len(PLOTS) * len(ROWS)
    # How to read a plot is told to who cannot see it, and beside one that a narrow screen cuts.
    assert page.count("Lower is better. The dot") == len(ROWS)
    assert page.count("degraded and judged again at 0.5. Rows are") == 2 * len(ROWS)
    assert "demonstration on synthetic pictures" in page
    assert len(page) < 4_000_000
    assert all(spec.display_name in page for spec in ROWS)


def test_the_splits_are_exact_and_balanced(finished_run: Path) -> None:
    splits = load_record(finished_run / "data" / "prepare.json").results["splits"]
    assert splits == {
        "train": {"real": 28, "fake": 28},
        "val": {"real": 6, "fake": 6},
        "test": {"real": 6, "fake": 6},
    }
    px = SMOKE.data.stored_px
    assert np.load(finished_run / "data" / "train.npy", mmap_mode="r").shape == (56, px, px, 3)


def counted(logits: list[float], labels: list[int]) -> tuple[list[list[int]], float]:
    """Confusion matrix at a probability of 0.5, a logit of 0, and AUC, by the definitions and picture by picture."""
    matrix = [[0, 0], [0, 0]]
    for logit, label in zip(logits, labels, strict=True):
        matrix[label][logit >= 0] += 1
    fakes, photographs = ([x for x, label in zip(logits, labels, strict=True) if label == wanted] for wanted in (1, 0))
    wins = [(fake > photograph) + (fake == photograph) / 2 for fake in fakes for photograph in photographs]
    return matrix, sum(wins) / len(wins)


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
def test_metrics_are_those_of_the_scores(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    folder = finished_run / spec.name / "evaluation"
    scores = Scores.read(folder / "scores.parquet").of("test")
    matrix, auc = counted(scores.logit.tolist(), scores.label.tolist())
    real_right, fake_right = matrix[0][0], matrix[1][1]
    metrics = read_json(folder / "metrics.json")["test"]
    assert (metrics["num_images"], metrics["confusion_matrix"]) == (12, matrix)
    assert metrics["accuracy"] == pytest.approx((real_right + fake_right) / 12)
    assert metrics["recall"] == pytest.approx(fake_right / 6)
    assert metrics["auc"] == pytest.approx(auc)
    assert sum(group["num_images"] for group in metrics["groups"]) == 12


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
def test_robustness_is_that_of_its_scores(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    folder = finished_run / spec.name / "evaluation"
    scores = RobustnessScores.read(folder / "robustness.parquet")
    steps = read_json(folder / "robustness.json")
    assert len(steps) == len(set(scores.step.tolist()))
    assert (steps[0]["flips"], steps[0]["num_images"]) == (0, SMOKE.evaluate.robustness_images)
    as_stored = (scores.logit[scores.step == 0] >= 0).tolist()
    for number, step in enumerate(steps):
        own = scores.step == number
        (real_right, real_wrong), (fake_wrong, fake_right) = counted(
            scores.logit[own].tolist(), scores.label[own].tolist()
        )[0]
        assert step["recall"] == pytest.approx(fake_right / (fake_right + fake_wrong))
        assert step["false_positive_rate"] == pytest.approx(real_wrong / (real_right + real_wrong))
        verdicts = (scores.logit[own] >= 0).tolist()
        changed = [one != other for one, other in zip(verdicts, as_stored, strict=True)]
        assert step["flips"] == pytest.approx(sum(changed) / len(changed))


def test_a_named_set_is_in_every_later_report(own_run: Path, tmp_path: Path) -> None:
    pictures = {f"{label}/{index}.png": structured(index) for index, label in enumerate(["real", "fake"] * 2)}
    folder = fill(tmp_path / "mistakes", pictures)
    pipeline.judge(own_run, SMOKE, [folder], [own_run / "bundle"], [], set_name="reports")
    pipeline.report(own_run, SMOKE, DETECTORS)
    page = (own_run / "report" / "report.md").read_text(encoding="utf-8")
    assert f"- reports: 2 real and 2 fake pictures of `{folder}`" in page
    assert page.count("\n| Accuracy on reports | ") == 1
    assert page.count("\n| reports | 4 | ") == len(ROWS)


def test_the_sweep_can_be_left_out(own_run: Path) -> None:
    spec = DETECTORS[0]
    evaluate = SMOKE.evaluate.model_copy(update={"robustness_images": 0})
    without = SMOKE.model_copy(update={"evaluate": evaluate})
    pipeline.evaluate(own_run, without, spec)
    pipeline.export(own_run, without, spec)
    pipeline.bundle(own_run, SMOKE, [spec])
    page = pipeline.report(own_run, without, [spec])
    assert not list((own_run / spec.name).rglob("robustness*"))
    assert "Robustness" not in page.read_text(encoding="utf-8")
    assert "Not measured in this run" in (own_run / spec.name / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
def test_temperature_and_thresholds_travel_with_the_file(finished_run: Path, spec: pipeline.DetectorSpec) -> None:
    judged = load_record(finished_run / spec.name / "evaluation" / "evaluate.json").results
    detector = OnnxDetector(finished_run / spec.name / "onnx" / "fp32.onnx")
    assert detector.operating_points == points_of(judged["operating_points"])
    assert [point.false_positive_rate for point in detector.operating_points] == [None, 0.01, 0.05]
    assert detector.threshold == detector.operating_points[0].threshold
    assert detector.temperature == judged["temperature"]


def test_a_chosen_false_positive_rate_decides_the_verdicts(own_run: Path) -> None:
    spec = DETECTORS[0]
    strict = SMOKE.model_copy(update={"evaluate": SMOKE.evaluate.model_copy(update={"verdicts_at": 0.05})})
    pipeline.evaluate(own_run, strict, spec)
    pipeline.export(own_run, strict, spec)
    detector = OnnxDetector(own_run / spec.name / "onnx" / "fp32.onnx")
    assert detector.threshold == point_at(detector.operating_points, 0.05).threshold


def test_the_card_is_in_the_bundle_and_its_gist_in_the_app(finished_run: Path) -> None:
    for model in read_json(finished_run / "bundle" / "bundle.json")["models"]:
        card = (finished_run / "bundle" / model["card"]).read_text(encoding="utf-8")
        assert card == (finished_run / model["name"] / "model_card.md").read_text(encoding="utf-8")
        assert all(f"- {fact}" in card for fact in model["facts"])
        for part in ("Use", "Model", "Data", "Figures", "Thresholds", "Weakest", "Robustness", "Limits", "Training"):
            assert f"\n## {part}" in card
        metrics = read_json(finished_run / model["name"] / "evaluation" / "metrics.json")["test"]
        assert f"{metrics['accuracy']:.3f} ({metrics['intervals']['accuracy'][0]:.3f}" in card
        assert "demonstration" in card


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.name)
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
    assert len(watched) == 1 + 6 * len(ROWS)
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
    exported = pipeline.export(own_run, SMOKE.model_copy(update={"export": export}), spec)
    assert exported.ships == "fp32"
    assert "accuracy_drop" in exported.why
    pipeline.bundle(own_run, SMOKE, [spec])
    assert read_json(own_run / "bundle" / "bundle.json")["models"][0]["variant"] == "fp32"


def test_the_bundle_carries_the_shipped_files(finished_run: Path) -> None:
    bundle = read_json(finished_run / "bundle" / "bundle.json")
    assert bundle["demo"] is True
    ranks = {spec.name: Entry.load(finished_run, spec).rank() for spec in shipped(DETECTORS, SMOKE)}
    assert [model["name"] for model in bundle["models"]] == sorted(ranks, key=lambda name: ranks[name], reverse=True)
    for model in bundle["models"]:
        file = finished_run / model["name"] / "onnx" / f"{model['variant']}.onnx"
        assert (finished_run / "bundle" / model["file"]).read_bytes() == file.read_bytes()


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
    prepared = pipeline.prepare(tmp_path / "run", SMOKE.model_copy(update={"data": data}))
    assert prepared.demo is False
    assert prepared.generators.fake == {"some-generator": 14}
    shutil.rmtree(tmp_path / "pictures" / "fake")
    with pytest.raises(ValueError, match="fake"):
        pipeline.prepare(tmp_path / "run", SMOKE.model_copy(update={"data": data}))


def test_history_has_the_columns_that_were_promised(finished_run: Path) -> None:
    with (finished_run / DETECTORS[0].name / "history.csv").open(newline="") as file:
        columns = csv.DictReader(file).fieldnames or []
    names = ("loss", "accuracy", "precision", "recall", "f1", "auc")
    assert {"epoch", "learning_rate", *(f"{s}_{n}" for s in ("train", "val") for n in names)} <= set(columns)


def test_where_float_ships_the_run_says_so_with_its_size(tmp_path: Path) -> None:
    spec = DETECTORS[0]
    for ships, told in (
        ("int8-static", []),
        ("fp32", [f"{spec.display_name} ships in float, 80.2 MB: INT8 was refused"]),
    ):
        exported = replace(VARIANT, name=ships, size_bytes=80_200_000)
        stage = Stage("export", tmp_path / spec.name / "onnx", version=1, settings={}, inputs={})
        stage.begin()
        stage.finish([], asdict(ExportResults(ships, "INT8 was refused", (exported,), ())))
        assert pipeline.float_that_ships(tmp_path, SMOKE, [spec]) == told


def test_the_gate_chooses_on_validation_alone(finished_run: Path) -> None:
    for spec in ROWS:
        for variant in load_record(finished_run / spec.name / "onnx" / "export.json").results["variants"]:
            own = [f"val: {reason}" for reason in variant["val"]["reasons"]]
            assert variant["reasons"] == own or variant["name"] == "fp32"
            assert variant["passed"] is (not variant["reasons"])
            assert variant["val"]["num_images"] == 12


@pytest.mark.parametrize("name", ["![x](y)", "[![x](report.md)", "<b>`a`</b>", "two\nlines", "a|b*c"])
def test_a_generator_of_any_name_is_text_in_the_report(own_run: Path, name: str) -> None:
    cell = Table(("Group",), ((name,),))
    text = f"{cell.markdown()}\n\n{plain(name)}\n"
    page = page_of(text, own_run / "report")
    shown = html.escape(" ".join(name.splitlines()), quote=False)
    assert page.count(shown) == 2
    assert "<img" not in page.split("<body>")[1]


def test_a_damaged_named_set_names_its_remedy(own_run: Path) -> None:
    (own_run / "sets").mkdir()
    (own_run / "sets" / "reports.json").write_text("[]")
    with pytest.raises(ValueError, match=r"reports\.json is not as it was written: delete it.*--set-name reports"):
        pipeline.report(own_run, SMOKE, DETECTORS)


def test_the_conclusion_and_the_card_are_of_the_file_that_ships(finished_run: Path) -> None:
    entries = [Entry.load(finished_run, spec) for spec in ROWS]
    best = max(entries, key=Entry.rank).shipped.metrics
    report = (finished_run / "report" / "report.md").read_text(encoding="utf-8")
    assert f"it judges {percent(best.accuracy, 1)} of {best.num_images} held-out test pictures" in report
    for entry in entries:
        assert (
            f"On {best.num_images} pictures from the sources it was trained on: it judges "
            in (gist(entry, PreparedData(finished_run / "data"))[0])
        )
        assert percent(entry.shipped.metrics.accuracy) in gist(entry, PreparedData(finished_run / "data"))[0]


def test_each_verdict_of_a_demonstration_says_so_wherever_it_goes(finished_run: Path) -> None:
    image = next((finished_run / "bundle" / "examples").glob("*.jpg"))
    verdict = open_bundle(finished_run / "bundle").judge(image)
    assert isinstance(verdict, Judgement)
    assert DEMO.words in verdict.as_dict()["cautions"]
    assert DEMO.words in verdict.remarks
