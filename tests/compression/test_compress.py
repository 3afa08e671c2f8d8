"""The compress stage on the real engine: resume, refusals, and what the compact detector is in a finished run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fakelens import pipeline
from fakelens.compression.stage import STEPS
from fakelens.core.artifacts import load_record, read_json
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.detectors.spec import discover
from fakelens.recipes import RECIPES, Recipe, shipped, shown
from in_process import fakelens
from reading import read_history
from training.test_training_stage import KillAfter, Killed

pytestmark = pytest.mark.usefixtures("undrawn")
SMOKE = RECIPES["smoke"]
LARGE = next(spec for spec in discover().values() if spec.compact_mb)
SMALL = next(spec for spec in discover().values() if not spec.compact_mb)


def recipe(**compress: object) -> Recipe:
    return SMOKE.model_copy(update={"compress": SMOKE.compress.model_copy(update=compress)})


@pytest.fixture
def trained_only(finished_run: Path, tmp_path: Path) -> Path:
    """A working folder with data and one trained detector, and nothing else."""
    shutil.copytree(finished_run / "data", tmp_path / "data")
    (tmp_path / LARGE.name).mkdir()
    for name in ("best.safetensors", "train.json", "history.csv"):
        shutil.copyfile(finished_run / LARGE.name / name, tmp_path / LARGE.name / name)
    shutil.copytree(finished_run / LARGE.name / "plots", tmp_path / LARGE.name / "plots")
    return tmp_path


def weights(workdir: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(workdir / LARGE.compact.name / "best.safetensors")[0].state_dict()


def test_the_file_fits_and_the_record_says_what_it_cost(finished_run: Path) -> None:
    record = load_record(finished_run / LARGE.compact.name / "train.json")
    found = record.results["compression"]
    assert SMOKE.compress.target_mb is not None
    static = (finished_run / LARGE.compact.name / "onnx" / "int8-static.onnx").stat().st_size
    assert static <= SMOKE.compress.target_mb * 1e6 < found["full_int8_bytes"]
    # What is predicted from the weights is what the file has: so much for its graph, its names and its metadata.
    assert found["int8_bytes"] == pytest.approx(static, rel=0.03)
    assert [step["num_parameters"] for step in found["steps"]] == sorted(
        (step["num_parameters"] for step in found["steps"]), reverse=True
    )
    assert record.results["num_parameters"] < found["full_parameters"]
    history = read_history(finished_run / LARGE.compact.name / "history.csv")
    assert [row.phase for row in history] == ["step 1", "step 2"]
    assert not (finished_run / LARGE.compact.name / STEPS).exists()


def test_the_report_sets_the_compact_detector_beside_the_full_one(finished_run: Path) -> None:
    report = (finished_run / "report" / "report.md").read_text(encoding="utf-8")
    section = report.split("## Compression", 1)[1].split("\n## ", 1)[0]
    assert all(words in section for words in (LARGE.display_name, LARGE.compact.display_name, "difference", "÷"))
    names = [model["name"] for model in read_json(finished_run / "bundle" / "bundle.json")["models"]]
    assert LARGE.compact.name in names
    assert LARGE.name not in names


def test_a_killed_compression_goes_on_and_ends_the_same(trained_only: Path, finished_run: Path) -> None:
    with pytest.raises(Killed):
        pipeline.compress(trained_only, SMOKE, LARGE, reporter=KillAfter(6))
    folder = trained_only / LARGE.compact.name
    assert not (folder / "train.json").exists()
    assert (folder / STEPS / "1" / "best.safetensors").exists()
    first = (folder / STEPS / "1" / "best.safetensors").stat().st_mtime_ns

    class Watch(KillAfter):
        def advance(self, steps: float = 1, note: str = "") -> None:  # noqa: ARG002
            assert (folder / STEPS / "1" / "best.safetensors").stat().st_mtime_ns == first

    pipeline.compress(trained_only, SMOKE, LARGE, reporter=Watch(0))
    expected = weights(finished_run)
    for name, value in weights(trained_only).items():
        np.testing.assert_array_equal(value.numpy(), expected[name].numpy())


def test_the_teacher_is_learnt_from(trained_only: Path, finished_run: Path) -> None:
    """The first step ends elsewhere without it."""
    assert SMOKE.compress.teacher_weight > 0
    with pytest.raises(Killed):
        pipeline.compress(trained_only, recipe(teacher_weight=0.0), LARGE, reporter=KillAfter(6))
    alone, taught = (
        read_history(path / "history.csv")[0]
        for path in (trained_only / LARGE.compact.name / STEPS / "1", finished_run / LARGE.compact.name)
    )
    assert alone.train_loss != taught.train_loss


@pytest.mark.parametrize(
    ("target_mb", "words"),
    [(50.0, "there is nothing to compress"), (0.01, "cannot be compressed to 0.01 MB.*it still has")],
)
def test_a_size_that_makes_no_sense_is_refused(trained_only: Path, target_mb: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pipeline.compress(trained_only, recipe(target_mb=target_mb), LARGE)


def test_what_cannot_be_compressed_names_the_remedy(trained_only: Path) -> None:
    with pytest.raises(ValueError, match=f"only a trained detector.*fakelens train {SMALL.name}"):
        pipeline.compress(trained_only, SMOKE, SMALL)
    with pytest.raises(ValueError, match="is compact already"):
        pipeline.compress(trained_only, SMOKE, LARGE.compact)
    with pytest.raises(ValueError, match=f"fakelens compress {LARGE.name}"):
        pipeline.train(trained_only, SMOKE, LARGE.compact)
    shutil.copytree(trained_only / LARGE.name, trained_only / SMALL.name)
    with pytest.raises(ValueError, match="--target-mb MB"):
        pipeline.compress(trained_only, recipe(target_mb=None), SMALL)


def test_compression_can_be_left_out() -> None:
    without = recipe(in_run=False)
    assert shown([LARGE], without) == shipped([LARGE], without) == [LARGE]
    assert shown([LARGE, SMALL], SMOKE) == [LARGE, LARGE.compact, SMALL]
    assert shipped([LARGE, SMALL], SMOKE) == [LARGE.compact, SMALL]


def test_the_command_compresses_and_the_next_ones_take_it_for_any_detector(trained_only: Path) -> None:
    options = ("--recipe", "smoke", "--set", "compress.steps=1", "--set", "evaluate.robustness_images=0")
    options += ("--workdir", str(trained_only))
    compressed = fakelens("compress", LARGE.name, "--target-mb", "0.13", *options)
    assert compressed.returncode == 0, compressed.stderr
    record = json.loads((trained_only / LARGE.compact.name / "train.json").read_text())
    assert record["compression"]["target_bytes"] == 130_000
    judged = fakelens("evaluate", LARGE.compact.name, *options)
    assert judged.returncode == 0, judged.stderr
