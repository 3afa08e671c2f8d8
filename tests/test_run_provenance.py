"""What was trained on what, by which seed: told by the records, refused where it does not fit, found where damaged."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_source import Listening
from fakelens import pipeline
from fakelens.config import with_overrides
from fakelens.core.artifacts import Stage, load_record, read_json
from fakelens.core.errors import DamagedFileError, FakelensError, OtherDataError
from fakelens.core.run_folder import RunFolder
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.detectors.spec import discover
from fakelens.judging.systems import open_models
from fakelens.recipes import RECIPES, Recipe, recipe_for
from in_process import fakelens

pytestmark = pytest.mark.usefixtures("undrawn")
SPEC = next(iter(discover().values()))


def smoke(*changes: str) -> Recipe:
    quick = ("evaluate.robustness_images=0", "export.search_seconds=0", "train.max_epochs=1")
    return with_overrides(RECIPES["smoke"], [*quick, *changes])


def stages(workdir: Path, recipe: Recipe, *names: str, **options: Any) -> list[str]:
    """Run some stages; returns what they said."""
    reporter = Listening()
    for name in names:
        if name == "prepare":
            pipeline.prepare(workdir, recipe, reporter=reporter, **options)
        else:
            getattr(pipeline, name)(workdir, recipe, SPEC, reporter=reporter, **options)
    return reporter.said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("provenance")
    stages(workdir, smoke(), "prepare", "train", "evaluate", "export")
    return workdir


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def trained(run: Path) -> Path:
    for name in ("evaluation", "onnx"):
        shutil.rmtree(run / SPEC.name / name)
    return run


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << (position % 8)
    path.write_bytes(content)


@pytest.mark.parametrize("stage", ["evaluate", "export"])
def test_a_detector_is_not_judged_on_other_data_than_it_was_trained_on(run: Path, stage: str) -> None:
    fewer = smoke("data.num_images=60")
    before = load_record(run / "data" / "prepare.json").digest
    stages(run, fewer, "prepare")
    now = load_record(run / "data" / "prepare.json").digest
    with pytest.raises(OtherDataError, match="was trained on other data") as refused:
        stages(run, fewer, stage)
    assert before[:12] in str(refused.value)
    assert now[:12] in str(refused.value)
    assert f"fakelens train {SPEC.name}" in str(refused.value)


def test_neither_report_nor_bundle_take_figures_of_other_data(run: Path) -> None:
    fewer = smoke("data.num_images=60")
    stages(run, fewer, "prepare")
    with pytest.raises(OtherDataError, match="was trained on other data"):
        pipeline.report(run, fewer, [SPEC])
    with pytest.raises(OtherDataError, match="was trained on other data"):
        pipeline.bundle(run, fewer, [SPEC])


def test_an_export_of_an_earlier_training_is_not_reported(run: Path) -> None:
    other = smoke("train.seed=5")
    stages(run, other, "train", "evaluate")
    with pytest.raises(FakelensError, match=f"trained again since `export`: run `fakelens export {SPEC.name}`"):
        pipeline.report(run, other, [SPEC])


def test_the_data_must_have_the_settings_asked_for(trained: Path) -> None:
    with pytest.raises(FakelensError, match=r"data\.num_images 80 → 60.*fakelens prepare"):
        stages(trained, smoke("data.num_images=60"), "train")
    assert read_json(trained / SPEC.name / "train.json")["settings"]["seed"] == 0
    # What was refused is not what later stages start from.
    assert recipe_for(None, trained)[0].data.num_images == 80


def test_another_seed_is_another_training_and_both_are_kept(trained: Path) -> None:
    folder = trained / SPEC.name
    first = (folder / "best.safetensors").read_bytes()
    said = stages(trained, smoke("train.seed=5"), "train")
    assert any("seed 0 → 5" in line and "kept in" in line for line in said)
    second = (folder / "best.safetensors").read_bytes()
    assert second != first
    assert load_record(folder / "train.json").settings["seed"] == 5
    assert load_checkpoint(folder / "best.safetensors")[1].seed == 5
    assert load_record(trained / "data" / "prepare.json").settings["seed"] == 0
    stages(trained, smoke(), "train")  # taken up again, not trained again
    assert (folder / "best.safetensors").read_bytes() == first
    assert any(path.read_bytes() == second for path in folder.glob("earlier/*/best.safetensors"))


def test_the_report_prints_the_seed_of_the_training(run: Path) -> None:
    recipe = smoke("train.seed=7")
    stages(run, recipe, "train", "evaluate", "export")
    text = pipeline.report(run, recipe, [SPEC]).with_name("report.md").read_text(encoding="utf-8")
    assert f"{SPEC.display_name}: seed of the training | 7" in text
    assert "Seed of the data | 0" in text


def test_the_same_training_again_has_the_same_digest_and_later_stages_stay(run: Path) -> None:
    before = {name: load_record(run / SPEC.name / name) for name in ("train.json", "evaluation/evaluate.json")}
    stages(run, smoke(), "train", force=True)
    again = load_record(run / SPEC.name / "train.json")
    assert again.environment.written >= before["train.json"].environment.written
    assert again.digest == before["train.json"].digest
    stages(run, smoke(), "evaluate")
    left = load_record(run / SPEC.name / "evaluation" / "evaluate.json")
    assert left == before["evaluation/evaluate.json"]  # not done again


def test_the_recipe_is_saved_and_changes_are_said(run: Path) -> None:
    saved, folder = recipe_for(None, run)
    assert (saved, folder) == (smoke(), run)
    assert stages(run, smoke("evaluate.uncertain_band=0.2"), "evaluate")[0] == (
        f"{RunFolder(run).recipe}: evaluate.uncertain_band 0.1 → 0.2"
    )
    assert recipe_for(None, run)[0].evaluate.uncertain_band == 0.2
    assert recipe_for(None, run, ["evaluate.uncertain_band=0.3"])[0].evaluate.uncertain_band == 0.3


def test_a_recipe_file_without_a_name_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {num_images: 100}\n")
    recipe, workdir = recipe_for(str(path), None)
    assert (recipe.name, workdir) == ("mine", Path("runs/mine"))
    path.write_text("name: other\n")
    assert recipe_for(str(path), None)[1] == Path("runs/other")


READERS = {
    "data/prepare.json": "evaluate",
    "data/val.npy": "evaluate",
    "data/test.npy": "evaluate",
    "data/manifest.parquet": "evaluate",
    "data/train.npy": "train",
    f"{SPEC.name}/best.safetensors": "evaluate",
    f"{SPEC.name}/train.json": "evaluate",
    f"{SPEC.name}/evaluation/scores.parquet": "export",
    f"{SPEC.name}/evaluation/evaluate.json": "export",
    f"{SPEC.name}/evaluation/metrics.json": "report",
    f"{SPEC.name}/history.csv": "train",
    f"{SPEC.name}/onnx/export.json": "bundle",
    f"{SPEC.name}/onnx/fp32.onnx": "export",
}


def read_by(stage: str, workdir: Path, **options: Any) -> None:
    if stage in ("report", "bundle"):
        getattr(pipeline, stage)(workdir, smoke(), [SPEC])
    else:
        stages(workdir, smoke(), stage, **options)


@pytest.mark.parametrize("name", READERS)
def test_ten_flips_in_each_kind_of_file_are_refused_by_name(run: Path, name: str) -> None:
    path, stage = run / name, READERS[name]
    whole, rng = path.read_bytes(), np.random.default_rng(len(name))
    forced = {"train": {}, "evaluate": {"force": True}, "export": {"force": "onnx/" not in name}}
    if name == "data/train.npy":
        forced["train"] = {"force": True}
    for position in [0, len(whole) - 1, *rng.integers(0, len(whole), 8).tolist()]:
        flip(path, position)
        with pytest.raises(FakelensError) as refused:
            read_by(stage, run, **forced.get(stage, {}))
        assert path.name in str(refused.value)
        path.write_bytes(whole)


def test_judging_a_folder_compares_hashes_too(run: Path) -> None:
    checkpoint, file = run / SPEC.name / "best.safetensors", run / SPEC.name / "onnx" / "fp32.onnx"
    assert len(open_models([checkpoint, file])) == 2
    for path in (checkpoint, file):
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        with pytest.raises(DamagedFileError, match=path.name):
            open_models([path])
        path.write_bytes(whole)


def test_the_weights_of_another_run_are_refused(run: Path, finished: Path) -> None:
    stages(run, smoke("train.seed=3"), "train")
    shutil.copyfile(finished / SPEC.name / "best.safetensors", run / SPEC.name / "best.safetensors")
    with pytest.raises(DamagedFileError, match=r"best\.safetensors is not the file that `train` wrote"):
        stages(run, smoke("train.seed=3"), "evaluate")


def test_another_setting_keeps_the_finished_weights(run: Path) -> None:
    folder = run / SPEC.name
    first = (folder / "best.safetensors").read_bytes()
    said = stages(run, smoke("train.max_epochs=2"), "train")
    assert any("max_epochs 1 → 2" in line for line in said)
    (kept,) = folder.glob("earlier/*/best.safetensors")
    assert kept.read_bytes() == first
    assert json.loads((kept.parent / "train.json").read_text())["settings"]["engine"]["max_epochs"] == 1


def test_the_record_of_a_redone_stage_stays_beside(run: Path) -> None:
    before = (run / SPEC.name / "evaluation" / "evaluate.json").read_bytes()
    stages(run, smoke("evaluate.uncertain_band=0.2"), "evaluate")
    assert (run / SPEC.name / "evaluation" / "evaluate.previous.json").read_bytes() == before


def test_detectors_of_a_run_are_those_of_its_bundle_and_report(run: Path) -> None:
    recipe, _ = recipe_for(None, run, [f"only=[{SPEC.name}]"])
    assert recipe.only == (SPEC.name,)
    with pytest.raises(FakelensError, match="unknown detector 'resnet'"):
        recipe_for(None, run, ["only=[resnet]"])


def test_a_working_folder_without_a_bundle_is_not_judged_with_that_of_another_run(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    done = fakelens("judge", tmp_path / "pictures", "--workdir", tmp_path / "run")
    assert done.returncode == 1
    assert "has no bundle" in done.stderr


def test_records_are_compared_without_their_place(run: Path, finished: Path) -> None:
    record = load_record(run / "data" / "prepare.json")
    assert record == load_record(finished / "data" / "prepare.json")
    assert record.folder != load_record(finished / "data" / "prepare.json").folder
    assert dataclasses.replace(record, seconds=-1) != record


def contents(workdir: Path) -> dict[str, bytes]:
    return {
        path.relative_to(workdir).as_posix(): path.read_bytes()
        for path in workdir.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        (("train.accelerator=quantum",), {"force": True}),
        (("train.accelerator=quantum", "train.seed=5"), {}),
        (("train.logger=wandb", "train.seed=5"), {}),
        ((f"detectors.{SPEC.name}.teacher={SPEC.name}",), {}),
    ],
)
def test_a_training_that_is_refused_leaves_the_folder_as_it_was(
    run: Path, changes: tuple[str, ...], options: dict[str, bool]
) -> None:
    before = contents(run)
    with pytest.raises(FakelensError):
        stages(run, smoke(*changes), "train", **options)
    after = contents(run)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"recipe.yaml"}
    stages(run, smoke(), "train", "evaluate", "export")  # finished still
    assert contents(run).keys() == before.keys()


def test_a_refused_run_leaves_the_recipe_of_the_data_that_it_prepared(run: Path) -> None:
    diverging = smoke("data.num_images=60", f"detectors.{SPEC.name}.learning_rate=1e30")
    with pytest.raises(FakelensError):
        pipeline.run(run, diverging, [SPEC])
    left, _ = recipe_for(None, run)
    assert (left.data.num_images, left.detectors) == (60, {})
    stages(run, left, "train")


def test_a_changed_digit_of_a_records_key_is_found_and_moves_nothing(run: Path) -> None:
    record = run / SPEC.name / "train.json"
    text = record.read_text()
    at = text.index('"key": "') + 8
    record.write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])
    before = contents(run)
    with pytest.raises(DamagedFileError, match=r"train\.json"):
        stages(run, smoke(), "train")
    assert contents(run) == before
    stages(run, smoke(), "train", force=True)


def test_the_mark_of_an_interrupted_training_is_checked_too(run: Path) -> None:
    stage = Stage("train", run / "other", version=1, settings={"a": 1}, inputs={})
    stage.begin()
    mark = run / "other" / ".train.begun.json"
    mark.write_text(mark.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(DamagedFileError, match="begun"):
        stage.keep_others()
    stage.keep_others(force=True)


def test_the_report_is_refused_another_recipes_data_and_says_other_settings(run: Path) -> None:
    for name in ("report", "bundle"):
        with pytest.raises(FakelensError, match=r"data\.seed"):
            getattr(pipeline, name)(run, smoke("data.seed=99"), [SPEC])
    pipeline.report(run, smoke("train.seed=77"), [SPEC])
    page = (run / "report" / "report.md").read_text()
    assert f"# {SPEC.display_name} was trained with other settings: seed 77 → 0" in page


def test_a_seed_that_generators_cannot_take_is_a_sentence() -> None:
    for key in ("data.seed", "train.seed"):
        with pytest.raises(FakelensError, match="less than 4294967296"):
            smoke(f"{key}=18446744073709551615")
