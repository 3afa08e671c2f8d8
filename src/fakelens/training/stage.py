"""The train stage: prepared data and one detector in; best and last checkpoint, history, plots and a record out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fakelens.core.artifacts import Stage, StageRecord, load_record, sha256_file
from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import Inputs
from fakelens.core.run_folder import BEST, EVALUATION, MODEL_CARD, ONNX, DetectorFolder, RunFolder
from fakelens.core.stopping import is_follower
from fakelens.dataset.store import PreparedData
from fakelens.detectors.checkpoint import CheckpointInfo, build_network, load_checkpoint
from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import DetectorSpec, TrainingChoice
from fakelens.settings import DetectorSettings, TrainSettings
from fakelens.training.phases import Phase, plan_phases

if TYPE_CHECKING:
    from fakelens.training.callbacks import Progressed
    from fakelens.training.fit import Fitting

_VERSION = 4
# Settings that the detector's own (`DetectorSettings`) and the seed already hold.
_STATED_BY_DETECTOR = ("seed", "pretrained", "input_px")
OTHER_STAGES = (EVALUATION, ONNX, MODEL_CARD)
"""What later stages write into a detector's folder."""


def decisive(common: TrainSettings) -> dict[str, Any]:
    """The common settings that make another training, as plain values."""
    return {name: value for name, value in common.decisive().items() if name not in _STATED_BY_DETECTOR}


def train_stage(
    workdir: Path,
    data: PreparedData,
    spec: DetectorSpec,
    settings: DetectorSettings,
    common: TrainSettings,
    seed: int,
) -> Stage:
    """The stage's folder, key and record; how many workers, threads or devices there are does not make another run."""
    return Stage(
        "train",
        RunFolder(workdir).detector(spec.name).path,
        version=_VERSION,
        settings=TrainingChoice(spec.name, seed, settings).plain() | {"engine": decisive(common)},
        inputs=Inputs(data=data.record.digest, teacher=_teacher_digest(workdir, data, spec, settings)).plain(),
    )


def train(
    workdir: Path,
    spec: DetectorSpec,
    settings: DetectorSettings,
    common: TrainSettings,
    *,
    seed: int,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> StageRecord:
    """Train one detector on `workdir/data`; goes on from the last whole epoch of an interrupted run.

    Writes `best.safetensors` (lowest validation loss), `last.ckpt`, `history.csv`, `plots/` and `train.json`.

    Raises:
        FakelensError: for missing or changed data, weights that could not be downloaded, or a diverged loss.
    """
    data = PreparedData(RunFolder(workdir).data)
    stage = train_stage(workdir, data, spec, settings, common, seed)
    if not force and (record := stage.finished()):
        return record
    # The engine takes seconds to import, which a finished training has no need of.
    from fakelens.training.callbacks import Progressed, forget_previous, forget_progress, read_progress
    from fakelens.training.fit import Fitting, check_machine, quiet_lightning

    # What is refused must leave the folder as it was.
    check_machine(common, settings.precision)
    data.verify()
    if stage.folder.is_dir() and not is_follower():
        stage.keep_others(reporter, but=OTHER_STAGES, force=force)
        if not force and (record := stage.finished()):
            return record
    if not is_follower():
        stage.begin()
        if force:
            forget_progress(stage.folder)
    # Followers start at their own pace: with `force` they must not see what the first one is about to remove.
    fresh = force and is_follower()
    state = Progressed(stage.key) if fresh else read_progress(stage.folder, stage.key, reporter)
    if state.history:
        reporter.say(f"{spec.display_name}: going on after epoch {state.history[-1].epoch + 1}")
    if common.num_threads:
        torch.set_num_threads(common.num_threads)
    teacher = load_checkpoint(_teacher_path(workdir, settings.teacher))[0] if settings.teacher else None
    info = _info(spec, settings, common, data, seed)
    fitting = Fitting(stage.folder, spec, info, common, data, teacher, seed, reporter)
    phases = plan_phases(settings, common.max_epochs)
    with (
        quiet_lightning(),
        reporter.task(f"Training {spec.display_name}", sum(phase.num_epochs for phase in phases)) as task,
    ):
        task.advance(len(state.history))
        state = _run_phases(fitting, phases, state, task)
    assert state.best is not None
    if is_follower():
        raise SystemExit(0)  # only the first process goes on past training
    network, _ = load_checkpoint(stage.folder / BEST)
    record = fitting.finish(stage, network, state.history, state.best, spec.weights if settings.pretrained else None)
    forget_previous(stage.folder)
    return record


def _teacher_path(workdir: Path, teacher: str) -> Path:
    """A checkpoint's path as it is, a detector's name as its best checkpoint in the same working folder."""
    path = Path(teacher)
    return path if path.suffix else workdir / teacher / BEST


def _teacher_digest(workdir: Path, data: PreparedData, spec: DetectorSpec, settings: DetectorSettings) -> str:
    """Hash of the teacher's checkpoint; empty without one."""
    if settings.teacher is None:
        return ""
    path = _teacher_path(workdir, settings.teacher)
    if path.resolve() == RunFolder(workdir).detector(spec.name).best.resolve():
        raise FakelensError(
            f"{spec.name} cannot learn from the file that its training writes: copy {path} elsewhere and give its path "
            "as teacher, or name another detector"
        )
    if not path.is_file():
        raise FakelensError(
            f"the teacher {path} is missing: train it first (`fakelens train {settings.teacher}`, with the same "
            "--workdir), or learn without one: teacher=null"
        )
    trained = DetectorFolder(path.parent).train_record
    if trained.exists():
        record = load_record(trained)
        record.output(path.name)
        if not Path(settings.teacher).suffix:
            data.must_be_of(record.made_of.data, settings.teacher)
    return sha256_file(path)


def _run_phases(fitting: "Fitting", phases: list[Phase], state: "Progressed", task: Task) -> "Progressed":
    network: LogitDetector | None = None
    info = fitting.info
    for number, phase in enumerate(phases):
        if number < state.phase or (number == state.phase and state.phase_done):
            continue
        if state.history:
            network, _ = load_checkpoint(fitting.folder / BEST)  # what goes on within a phase is read over it
        elif network is None:
            torch.manual_seed(info.seed)
            network = build_network(fitting.spec, info.settings, tiny=info.tiny, pretrained=info.settings.pretrained)
        state = fitting.run(network, phase, replace(state, phase=number, phase_done=False), task)
    return state


def _info(
    spec: DetectorSpec, settings: DetectorSettings, common: TrainSettings, data: PreparedData, seed: int
) -> CheckpointInfo:
    results = data.results
    return CheckpointInfo(
        detector=spec.name, settings=settings, tiny=common.tiny, stored_px=data.settings.stored_px,
        demo=data.is_demo, data_description=results.description, data_licence=results.licence,
        data_digest=data.record.digest, seed=seed, epoch=-1, val_loss=float("inf"),
    )  # fmt: skip
