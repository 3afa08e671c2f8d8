"""The train stage on the real engine: resume, refusal of changed data, divergence, two processes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fakelens import pipeline
from fakelens.core.artifacts import StageRecord
from fakelens.core.errors import FakelensError
from fakelens.core.progress import Silent, Task
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.detectors.spec import DetectorSpec, discover
from fakelens.recipes import RECIPES, Recipe, training_settings
from fakelens.training.phases import Phase
from fakelens.training.stage import train
from in_process import fakelens
from reading import read_history

pytestmark = pytest.mark.usefixtures("undrawn")
SPEC, OTHER = list(discover().values())[:2]


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
    workdir: Path,
    spec: DetectorSpec = SPEC,
    *,
    reporter: Silent | None = None,
    own: Mapping[str, object] | None = None,
    **engine: object,
) -> StageRecord:
    chosen = recipe(**engine)
    settings = training_settings(spec, chosen).model_copy(update=dict(own or {}))
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


# Everything that draws random numbers or keeps a state of its own beside the weights.
KNOBS = {"ema_decay": 0.8, "dropout": 0.5}


@pytest.mark.parametrize("own", [{}, KNOBS], ids=["plain", "averaged weights"])
def test_a_killed_run_goes_on_and_ends_the_same(
    data_only: Path, tmp_path_factory: pytest.TempPathFactory, own: dict[str, object]
) -> None:
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    (undisturbed / "data").symlink_to(data_only / "data")
    train_spec(undisturbed, own=own)
    with pytest.raises(Killed):
        train_spec(data_only, reporter=KillAfter(3), own=own)
    assert len(read_history(data_only / SPEC.name / "history.csv")) in (1, 2)
    assert not (data_only / SPEC.name / "train.json").exists()
    train_spec(data_only, own=own)
    assert without_times(data_only) == without_times(undisturbed)
    ours, theirs = (
        load_checkpoint(w / SPEC.name / "best.safetensors")[0].state_dict() for w in (data_only, undisturbed)
    )
    for name, value in ours.items():
        np.testing.assert_array_equal(value.numpy(), theirs[name].numpy())


def test_the_average_of_the_weights_is_what_is_saved(data_only: Path) -> None:
    """With a decay near 1 the average stays with the first step's weights, however far training goes."""
    last, slow = (_parameters_after(data_only, decay) for decay in (0.0, 0.9999))
    first_step = _parameters_after(data_only, 0.9999, epochs=2)
    assert 0 < _distance(slow, first_step) < 0.02 * _distance(slow, last)


def test_mixed_precision_trains_on_a_cpu_too(data_only: Path) -> None:
    """Lightning refuses to clip the gradients of a fused optimiser there."""
    record = train_spec(data_only, own={"precision": "bf16-mixed", "gradient_clip": 1.0})
    assert np.isfinite(record.results["best"]["val_loss"])


def test_half_precision_on_a_cpu_is_refused_with_the_remedy(data_only: Path) -> None:
    """The engine would train in bfloat16, and the record would say something else."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(FakelensError, match="16-mixed needs a GPU: choose bf16-mixed"):
        train_spec(data_only, own={"precision": "16-mixed"})
    assert not (data_only / SPEC.name).exists()


def _distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    return sum(float((a - b).abs().sum()) for a, b in zip(first, second, strict=True))


def _parameters_after(workdir: Path, decay: float, epochs: int = 1) -> list[torch.Tensor]:
    train_spec(workdir, own={"ema_decay": decay, "batch_size": 8}, max_epochs=epochs)
    network, _ = load_checkpoint(workdir / SPEC.name / "best.safetensors")
    return [parameter.detach() for parameter in network.parameters()]


def test_a_teacher_is_learnt_from_and_a_missing_one_is_named(data_only: Path) -> None:
    """With no weight on the teacher the labels alone are learnt, to the last digit."""
    with pytest.raises(ValueError, match=rf"{OTHER.name}.*train it first"):
        train_spec(data_only, own={"teacher": OTHER.name})
    train_spec(data_only, OTHER, max_epochs=1)
    record = train_spec(data_only, own={"teacher": OTHER.name, "teacher_weight": 1.0}, max_epochs=1)
    taught = record.results["best"]["train_loss"]
    assert set(record.inputs) == {"data", "teacher"}
    alone = train_spec(data_only, own={"teacher": OTHER.name, "teacher_weight": 0.0}, max_epochs=1)
    # The first epoch's loss differs only by what was to be learnt.
    assert taught != alone.results["best"]["train_loss"]
    again = train_spec(data_only, max_epochs=1)
    assert again.results["best"]["train_loss"] == pytest.approx(alone.results["best"]["train_loss"], abs=1e-6)


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


def test_a_diverged_head_phase_advises_the_heads_learning_rate(
    data_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakelens.training.stage.plan_phases", lambda *_: [Phase("head", True, 0, 2, 1e30, 0.0)])
    with pytest.raises(ValueError, match=rf"detectors\.{SPEC.name}\.head_learning_rate="):
        train_spec(data_only)


@pytest.mark.slow
def test_a_run_on_two_processes_leaves_the_files_of_one_and_says_each_line_once(
    finished_run: Path, own_run: Path
) -> None:
    def files(workdir: Path) -> set[str]:
        return {path.relative_to(workdir).as_posix() for path in workdir.rglob("*") if path.is_file()}

    shutil.rmtree(own_run / SPEC.name)  # the others are found finished
    command = [sys.executable, "-m", "fakelens", "run", "--recipe", "smoke", "--workdir", str(own_run)]
    result = subprocess.run(
        [*command, "--set", "train.devices=2", "--set", "train.accelerator=cpu"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=own_run.parent,
    )
    assert result.returncode == 0, result.stderr
    assert files(own_run) == files(finished_run)
    assert len(read_history(own_run / SPEC.name / "history.csv")) == 2
    lines = [line for line in result.stderr.splitlines() if "WARNING" not in line]
    assert {line[:6] for line in lines if f"train {SPEC.name}" in line} == {"[2/15]"}, result.stderr
    lines = [re.sub(r"^\[\d+/\d+\] ", "", line) for line in lines]
    said = [line.split(":")[0] for line in lines if ": epoch " not in line]
    of_detector = [f"{name} {SPEC.name}" for name in ("train", "evaluate", "export")]
    assert result.stderr.count("Initializing distributed") == 2  # not for those that are trained already
    for stage in ("prepare", *of_detector, "bundle", "report"):
        assert said.count(stage) == 1, (stage, result.stderr)


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_a_run_in_several_processes_of_a_launcher_is_refused_with_the_way_to_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "2")
    result = fakelens("run", "--recipe", "smoke", "--workdir", tmp_path)
    assert result.returncode == 1
    assert "fakelens train DETECTOR" in result.stderr
    assert not list(tmp_path.iterdir())
