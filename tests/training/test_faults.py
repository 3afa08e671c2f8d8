"""What a fault costs: killed, stopped or damaged at any moment, training ends the same or says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fakelens import pipeline
from fakelens.core.errors import DamagedFileError, FakelensError
from fakelens.core.progress import Silent
from fakelens.core.stopping import Stopped
from fakelens.detectors.spec import discover
from fakelens.recipes import RECIPES, training_settings
from fakelens.training.callbacks import read_progress
from fakelens.training.phases import learning_rate_factor, plan_phases
from fakelens.training.stage import train
from reading import read_history

pytestmark = pytest.mark.usefixtures("undrawn")
SPEC = next(iter(discover().values()))
HARNESS = Path(__file__).with_name("killed_training.py")
ALL_MOMENTS = bool(os.environ.get("FAKELENS_ALL_MOMENTS"))


@pytest.fixture
def data_only(finished_run: Path, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data").symlink_to(finished_run / "data")
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_killed_at_any_fsync_or_rename_of_two_phases_it_ends_the_same(finished_run: Path, tmp_path: Path) -> None:
    """`FAKELENS_ALL_MOMENTS=1` tries every moment of twice as many epochs instead of a few of them."""
    epochs = 2 if ALL_MOMENTS else 1
    tries = ["0:1", "2:1"] if ALL_MOMENTS else ["0:11", "2:23"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", HARNESS, finished_run / "data", tmp_path, str(epochs), *tries],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) == 2
    for with_workers in told:
        expected, outcomes = with_workers["expected"], with_workers["outcomes"]
        assert [row["phase"] for row in expected["history"]] == ["head"] * epochs + ["all"] * epochs
        assert expected["moments"] > 15 * epochs
        assert len(outcomes) > (expected["moments"] - 1 if ALL_MOMENTS else 1)
        for moment, outcome in outcomes.items():
            for name in ("weights", "history", "best", "files"):
                assert outcome[name] == expected[name], (moment, name)


class Stop(Exception):  # noqa: N818
    pass


class StopAfter(Silent):
    """Stops training when so many epochs have been logged; keeps what is said."""

    def __init__(self, epochs: int) -> None:
        self.left, self.said = epochs, list[str]()

    def say(self, text: str) -> None:
        self.said.append(text)

    def log(self, text: str) -> None:
        self.said.append(text)
        self.left -= 1
        if self.left == 0:
            raise Stop


def trained(workdir: Path, reporter: Silent, **engine: object) -> None:
    recipe = RECIPES["smoke"]
    settings = recipe.train.model_copy(update={"max_epochs": 3, **engine})
    train(workdir, SPEC, training_settings(SPEC, recipe), settings, seed=0, reporter=reporter)


def stopped(workdir: Path, epochs: int = 2, **engine: object) -> Path:
    with pytest.raises(Stop):
        trained(workdir, StopAfter(epochs), **engine)
    return workdir / SPEC.name


def outcome(workdir: Path) -> tuple[bytes, list[dict[str, object]]]:
    folder = workdir / SPEC.name
    rows = [{**row.__dict__, "seconds": 0} for row in read_history(folder / "history.csv")]
    return (folder / "best.safetensors").read_bytes(), rows


@pytest.fixture(scope="module")
def undisturbed(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[dict[str, object]]]:
    workdir = tmp_path_factory.mktemp("undisturbed")
    (workdir / "data").symlink_to(finished_run / "data")
    trained(workdir, Silent())
    return outcome(workdir)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_training_equals_an_undisturbed_one_with_workers_too(
    data_only: Path, undisturbed: tuple[bytes, list[dict[str, object]]], workers: int, epochs: int
) -> None:
    stopped(data_only, epochs, num_workers=workers)
    trained(data_only, Silent(), num_workers=workers)
    assert outcome(data_only) == undisturbed


def test_ten_flips_of_the_checkpoint_are_refused_by_name(data_only: Path) -> None:
    folder = stopped(data_only, 1)  # there is no checkpoint before it to fall back to
    key = json.loads((folder / ".train.begun.json").read_text())["key"]
    path, rng = folder / "last.ckpt", np.random.default_rng(0)
    whole = path.read_bytes()
    for position in [0, len(whole) - 1, *rng.integers(0, len(whole), 8).tolist()]:
        content = bytearray(whole)
        content[position] ^= 1 << (position % 8)
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"last\.ckpt is not the checkpoint that training wrote.*--force"):
            read_progress(folder, key)
    path.write_bytes(whole)
    assert len(read_progress(folder, key).history) == 1


def test_damaged_hashes_are_no_trace(data_only: Path) -> None:
    folder = stopped(data_only, 1)
    content = bytearray((folder / "last.sha256").read_bytes())
    content[5] ^= 0x80
    (folder / "last.sha256").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"last\.ckpt"):
        trained(data_only, Silent())


@pytest.mark.parametrize("damage", [b"", b"<html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x04]."])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_what_it_costs(
    data_only: Path, undisturbed: tuple[bytes, list[dict[str, object]]], damage: bytes
) -> None:
    folder = stopped(data_only)
    (folder / "last.ckpt").write_bytes(damage)
    listening = StopAfter(-1)
    trained(data_only, listening)
    assert any("last.ckpt is damaged" in line and "costs one epoch" in line for line in listening.said)
    assert outcome(data_only) == undisturbed


def test_the_best_weights_are_compared_before_going_on(data_only: Path) -> None:
    folder = stopped(data_only, 1)
    content = bytearray((folder / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "best.safetensors").write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"best\.safetensors is not the file that training wrote"):
        trained(data_only, Silent())


def test_an_interrupted_training_of_other_settings_is_kept(data_only: Path) -> None:
    folder = stopped(data_only)
    before = (folder / "last.ckpt").read_bytes()
    listening = StopAfter(-1)
    trained(data_only, listening, max_epochs=1)
    assert any("max_epochs 3 → 1" in line and "kept in" in line for line in listening.said)
    (kept,) = folder.glob("earlier/*/last.ckpt")
    assert kept.read_bytes() == before
    assert len(read_history(folder / "history.csv")) == 1


def test_nothing_of_a_finished_training_is_left_but_what_it_promises(data_only: Path) -> None:
    trained(data_only, Silent(), max_epochs=1)
    names = {path.name for path in (data_only / SPEC.name).iterdir()}
    assert names == {"best.safetensors", "last.ckpt", "last.sha256", "history.csv", "plots", "train.json"}
    umask = os.umask(0)
    os.umask(umask)
    for name in ("best.safetensors", "last.ckpt", "history.csv", "train.json"):
        assert (data_only / SPEC.name / name).stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("accelerator", ["gpu", "quantum"])
def test_an_accelerator_that_is_not_there_is_a_sentence(
    data_only: Path, accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(FakelensError, match=f"cannot train with train.accelerator={accelerator}"):
        trained(data_only, Silent(), accelerator=accelerator)


def test_a_schedulers_checkpoint_in_the_current_folder_is_not_loaded(
    data_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[bytes, list[dict[str, object]]]
) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"of another training")
    monkeypatch.chdir(tmp_path)
    trained(data_only, Silent())
    assert outcome(data_only) == undisturbed


def started(workdir: Path, *words: str, settings: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A command that trains, when the first epoch has been said."""
    sets = [word for setting in ("train.max_epochs=500", *settings) for word in ("--set", setting)]
    command = [sys.executable, "-m", "fakelens", *words, "--recipe", "smoke", "--workdir", str(workdir), *sets]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    deadline, checkpoint = time.monotonic() + 150, workdir / SPEC.name / "last.ckpt"
    written = set[int]()
    while len(written) < 2:  # at the second one the first epoch has been said
        written |= {checkpoint.stat().st_mtime_ns} if checkpoint.exists() else set()
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def ended(process: subprocess.Popen[str], status: int) -> str:
    """What a command that was told to end said, once, and soon."""
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert time.monotonic() - begun < 10
    assert said.count("run the same command again to go on") == 1, said
    assert "Traceback" not in said
    return said


def test_a_signal_ends_training_soon_with_its_status_and_a_checkpoint(data_only: Path) -> None:
    process = started(data_only, "train", SPEC.name)
    process.terminate()
    said = ended(process, 143)
    assert f"epoch 1 of {SPEC.demo.epochs} (all)" in said  # a line an epoch where there is no terminal
    folder = data_only / SPEC.name
    assert read_progress(folder, json.loads((folder / ".train.begun.json").read_text())["key"]).history


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to", "status"), [(signal.SIGINT, "all", 130), (signal.SIGTERM, "the second", 143)])
def test_a_signal_to_the_processes_of_a_run_ends_all(
    data_only: Path, number: signal.Signals, to: str, status: int
) -> None:
    """A run on two devices has its training in a process of its own, whose second one the engine starts."""
    psutil = pytest.importorskip("psutil")
    run = started(data_only, "run", "--detectors", SPEC.name, settings=("train.devices=2", "train.accelerator=cpu"))
    children = psutil.Process(run.pid).children(recursive=True)
    first, second = (child for child in children if "fakelens" in " ".join(child.cmdline()))
    if to == "all":
        os.killpg(run.pid, number)  # as a terminal does, which the run hands on once more
    else:
        os.kill(second.pid, number)
    said = ended(run, status)
    assert "[2/6] train" in said
    for process in (first, second):
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_training_that_is_killed_for_its_memory_ends_the_run_with_a_word(
    data_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr("fakelens.pipeline.sys", SimpleNamespace(executable=str(dying)))
    recipe = RECIPES["smoke"]
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"devices": 2, "accelerator": "cpu"})})
    with pytest.raises(Stopped, match="SIGKILL"):
        pipeline.run(data_only, recipe, [SPEC])


EARLY = """
import os, signal, sys
class Signal:
    def find_spec(name, *_):
        if name == "fakelens.cli":
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Signal)
from fakelens.__main__ import main
main()
"""


def test_a_signal_while_the_command_is_imported_is_one_line_and_so_are_two() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "interrupted (SIGINT): run the same command again to go on\n")


LATE = """
import os, signal
from fakelens.core import stopping
with stopping.stopped_by_signals():
    pass
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_signal_after_all_was_done_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_ends_prepare_with_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fakelens", "prepare", "--recipe", "smoke", "--set", "data.num_images=4000"]
    process = subprocess.Popen([*command, "--workdir", str(tmp_path)], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("data/.parts/*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "run the same command again to go on" in said


def test_what_hangs_after_a_signal_is_ended_with_a_word() -> None:
    code = """
import os, signal, time
from fakelens.core import stopping
stopping._GRACE_S = 0.2
with stopping.stopped_by_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (143, "interrupted (SIGTERM): run the same command again to go on\n")


def test_a_signal_that_comes_in_a_finaliser_ends_the_command_all_the_same() -> None:
    """Python drops what is raised there: training went on to its end, and to exit status 0."""
    code = """
import os, signal, sys, time
from fakelens.core import stopping
class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
with stopping.stopped_by_signals():
    try:
        Finalised()
        time.sleep(60)
    except stopping.Stopped as stop:
        time.sleep(0.2)  # nothing comes after it
        sys.exit(stop.status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (143, "")


def test_a_logger_follows_training_and_changes_nothing(
    data_only: Path, undisturbed: tuple[bytes, list[dict[str, object]]]
) -> None:
    trained(data_only, Silent(), logger="csv")
    assert outcome(data_only) == undisturbed
    text = (data_only / SPEC.name / "logs" / "from_epoch_1" / "metrics.csv").read_text()
    assert "val_auc" in text.splitlines()[0]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_says_how_to_install_it(
    data_only: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch import loggers

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name)

    for cls in ("TensorBoardLogger", "WandbLogger", "MLFlowLogger"):
        monkeypatch.setattr(loggers, cls, missing)
    with pytest.raises(
        FakelensError, match=rf"^train\.logger={name} needs a package.*pip install 'fakelens\[{name}\]'"
    ):
        trained(data_only, Silent(), logger=name)


def test_fewer_batches_and_accumulated_gradients_are_other_trainings(data_only: Path) -> None:
    outcomes, recipe = [], RECIPES["smoke"]
    settings = training_settings(SPEC, recipe).model_copy(update={"batch_size": 8})
    for change in ({}, {"limit_batches": 2}, {"accumulate": 3}):
        engine = recipe.train.model_copy(update=change)
        train(data_only, SPEC, settings, engine, seed=0)
        outcomes.append(outcome(data_only))
    assert len({weights for weights, _ in outcomes}) == 3


def test_history_has_the_learning_rate_of_the_epochs_last_step(data_only: Path) -> None:
    trained(data_only, Silent(), max_epochs=2)
    last = read_history(data_only / SPEC.name / "history.csv")[-1]
    settings = training_settings(SPEC, RECIPES["smoke"])
    (phase,) = plan_phases(settings, 2)
    num_steps = 2 * (56 // min(settings.batch_size, 56))
    rate = phase.learning_rate * learning_rate_factor(num_steps - 1, num_steps, phase, settings.scheduler)
    assert last.learning_rate == pytest.approx(rate)
