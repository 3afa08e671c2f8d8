"""The train stage on the real engine: resume, refusal of changed data, divergence, two processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from fakelens import pipeline
from fakelens.core.artifacts import StageRecord
from fakelens.core.detector_spec import DetectorSpec
from fakelens.core.progress import Silent, Task
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.detectors.discovery import discover
from fakelens.recipes import RECIPES, Recipe, training_settings
from fakelens.training.history import read_history
from fakelens.training.run import train

SPEC = next(iter(discover().values()))


def recipe(**engine: object) -> Recipe:
    smoke = RECIPES["smoke"]
    return smoke.model_copy(update={"train": smoke.train.model_copy(update={"max_epochs": 3, **engine})})


class Killed(Exception):  # noqa: N818
    pass


class KillAfter(Silent):
    """Stands for a process that dies after so many training steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Task]:  # noqa: ARG002
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:  # noqa: ARG002
        self._left -= 1
        if self._left < 0:
            raise Killed


def train_spec(
    workdir: Path, spec: DetectorSpec = SPEC, *, reporter: Silent | None = None, **engine: object
) -> StageRecord:
    chosen = recipe(**engine)
    settings = training_settings(spec, chosen)
    return train(workdir, spec, settings, chosen.train, seed=0, reporter=reporter or Silent())


def without_times(workdir: Path) -> list[dict[str, object]]:
    return [asdict(replace(row, seconds=0.0)) for row in read_history(workdir / SPEC.name / "history.csv")]


@pytest.fixture
def data_only(finished_run: Path, tmp_path: Path) -> Path:
    """A working folder that has data and nothing else."""
    (tmp_path / "data").mkdir()
    for path in (finished_run / "data").iterdir():
        (tmp_path / "data" / path.name).hardlink_to(path)
    return tmp_path


def test_a_killed_run_goes_on_and_ends_the_same(data_only: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    (undisturbed / "data").symlink_to(data_only / "data")
    train_spec(undisturbed)
    with pytest.raises(Killed):
        train_spec(data_only, reporter=KillAfter(3))
    assert len(read_history(data_only / SPEC.name / "history.csv")) in (1, 2)
    assert not (data_only / SPEC.name / "train.json").exists()
    train_spec(data_only)
    assert without_times(data_only) == without_times(undisturbed)
    ours, theirs = (
        load_checkpoint(w / SPEC.name / "best.safetensors")[0].state_dict() for w in (data_only, undisturbed)
    )
    for name, value in ours.items():
        np.testing.assert_array_equal(value.numpy(), theirs[name].numpy())


def test_other_settings_start_anew(data_only: Path) -> None:
    with pytest.raises(Killed):
        train_spec(data_only, reporter=KillAfter(3))
    record = train_spec(data_only, max_epochs=1)
    assert record.results["num_epochs"] == 1


def test_changed_data_is_refused(own_run: Path) -> None:
    path = own_run / "data" / "train.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.npy"):
        train_spec(own_run)


def test_a_diverged_loss_is_one_clear_error(data_only: Path) -> None:
    chosen = recipe()
    settings = training_settings(SPEC, chosen).model_copy(update={"learning_rate": 1e30, "warmup_fraction": 0.0})
    with pytest.raises(ValueError, match="lower the learning rate"):
        train(data_only, SPEC, settings, chosen.train, seed=0)


def test_the_record_says_what_was_done(finished_run: Path) -> None:
    results = pipeline.load_record(finished_run / SPEC.name / "train.json").results
    history = read_history(finished_run / SPEC.name / "history.csv")
    assert results["num_epochs"] == len(history) == 2
    assert results["best"]["val_loss"] == min(row.val_loss for row in history)
    network, info = load_checkpoint(finished_run / SPEC.name / "best.safetensors")
    assert results["num_parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert info.epoch == results["best"]["epoch"]


@pytest.mark.slow
def test_two_processes_train_together(data_only: Path) -> None:
    """The real engine with two processes on loopback; every process sees its half of the pictures."""
    command = [sys.executable, "-m", "fakelens", "train", SPEC.name, "--recipe", "smoke", "--workdir", str(data_only)]
    options = ["--set", "train.devices=2", "--set", "train.accelerator=cpu", "--set", "train.max_epochs=1"]
    result = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    assert len(read_history(data_only / SPEC.name / "history.csv")) == 1
