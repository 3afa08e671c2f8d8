"""The compress stage: a trained detector in; a compact one, pruned and taught by it until its INT8 file fits, out."""

import copy
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fakelens.compression.pruning import int8_bytes, prune_until
from fakelens.config import read_as
from fakelens.core.artifacts import Stage, StageRecord, atomic_path, load_record, sha256_json
from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import CompressionResults, CompressionStep, EpochRow, Inputs, TrainResults
from fakelens.core.run_folder import BEST, RunFolder
from fakelens.dataset.store import PreparedData
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import DetectorSpec, TrainingChoice
from fakelens.export.onnx import export_onnx
from fakelens.export.quantize import Candidate, quantize_static
from fakelens.settings import CompressSettings, DetectorSettings, TrainSettings
from fakelens.training.phases import Phase
from fakelens.training.stage import OTHER_STAGES, decisive

if TYPE_CHECKING:
    from fakelens.training.callbacks import Progressed
    from fakelens.training.fit import Fitting

_VERSION = 2
STEPS = "steps"
# Name, thresholds and the like, which `export` writes into the file.
_METADATA_BYTES = 2_000
# Predictions of the file's size were off by up to 914 bytes of 11.5 MB: nearer to the target, the file is measured.
_UNSURE_BYTES = 5_000


def compress_stage(
    workdir: Path, spec: DetectorSpec, settings: CompressSettings, own: Mapping[str, Any], common: TrainSettings
) -> Stage:
    """The stage's folder, key and record, which is the compact detector's record of training.

    Raises:
        FakelensError: when the full detector is not trained.
    """
    trained = RunFolder(workdir).detector(spec.name).train_record
    if not trained.exists():
        raise FakelensError(
            f"{trained} is missing: only a trained detector can be compressed (`fakelens train {spec.name}`, with the "
            "same --workdir)"
        )
    full = load_record(trained)
    choice = TrainingChoice.of(full.settings)
    taught = _training_settings(choice.settings, spec, settings, own, common)
    return Stage(
        "train",
        RunFolder(workdir).detector(spec.compact.name).path,
        version=_VERSION,
        settings=TrainingChoice(spec.compact.name, choice.seed, taught).plain()
        | {
            "engine": {name: value for name, value in decisive(common).items() if name != "tiny"},
            "compress": settings.model_dump(mode="json", exclude={"in_run", "report_full"}),
        },
        inputs=Inputs(data=load_record(RunFolder(workdir).prepare_record).digest, full=full.digest).plain(),
    )


def compress(
    workdir: Path,
    spec: DetectorSpec,
    settings: CompressSettings,
    own: Mapping[str, Any],
    common: TrainSettings,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> StageRecord:
    """Make `NAME_compact` of the trained detector NAME; goes on from the last whole epoch of an interrupted run.

    Writes what training writes, so that everything that follows takes the compact detector for any other.

    Args:
        workdir: holds `data/` and `NAME/`.
        spec: NAME.
        settings: with a `target_mb`.
        own: training settings of the compact detector over those that the full one was trained with.
        common: how training runs, whatever the detector.
        force: begin anew, even if nothing has changed.
        reporter: is told.

    Raises:
        FakelensError: when NAME is not trained, its INT8 file fits already, or cannot be made to fit.
    """
    data = PreparedData(RunFolder(workdir).data)
    stage = compress_stage(workdir, spec, settings, own, common)
    if not force and (record := stage.finished()):
        return record
    # The engine takes seconds to import, which a finished compression has no need of.
    from fakelens.training.fit import Fitting, check_machine, quiet_lightning

    taught = TrainingChoice.of(stage.settings).settings
    check_machine(common, taught.precision)
    trained = load_record(RunFolder(workdir).detector(spec.name).train_record)
    full, info = load_checkpoint(trained.output(BEST))
    data.must_be_of(info.data_digest, spec.name)
    goal = _Goal.of(full, taught.input_px, spec, settings)
    data.verify()
    if stage.folder.is_dir():
        stage.keep_others(reporter, but=OTHER_STAGES, force=force)
        if not force and (record := stage.finished()):
            return record
    stage.begin()
    if common.num_threads:
        torch.set_num_threads(common.num_threads)
    info = replace(info, detector=spec.compact.name, settings=taught, epoch=-1, val_loss=float("inf"))
    teacher = full if taught.teacher else None
    # Pruning has no need of several devices, and one process of its own is what goes on past it.
    alone = common.model_copy(update={"devices": 1, "num_nodes": 1})
    fitting = Fitting(stage.folder, spec.compact, info, alone, data, teacher, info.seed, reporter)
    with (
        quiet_lightning(),
        reporter.task(f"Training {spec.compact.display_name}", settings.steps * taught.epochs) as task,
    ):
        steps = _run_steps(stage, fitting, goal, settings, full, task, force=force)
    record = _finish(stage, fitting, goal, steps, trained)
    shutil.rmtree(stage.folder / STEPS)
    return record


def _training_settings(
    full: DetectorSettings,
    spec: DetectorSpec,
    settings: CompressSettings,
    own: Mapping[str, Any],
    common: TrainSettings,
) -> DetectorSettings:
    """The full detector's settings, changed where training after pruning asks for it."""
    epochs = min(settings.epochs, common.max_epochs or settings.epochs)
    changed = {
        "pretrained": False,
        "head_epochs": 0,
        "epochs": epochs,
        "patience": epochs,
        # Over a few epochs a running average would keep much of what the removal of channels has just broken.
        "ema_decay": 0.0,
        "learning_rate": settings.learning_rate or full.learning_rate,
        "teacher": spec.name if settings.teacher_weight else None,
        "teacher_weight": settings.teacher_weight,
    }
    return DetectorSettings.checked({**full.model_dump(), **changed, **own})


@dataclass(frozen=True)
class _Goal:
    """The size to be reached, and how to tell the size of the INT8 file from a network."""

    num_bytes: int
    graph_bytes: int
    """What the file holds beside the weights, as measured."""
    full_bytes: int
    input_px: int

    @classmethod
    def of(cls, full: LogitDetector, input_px: int, spec: DetectorSpec, settings: CompressSettings) -> "_Goal":
        """Measure the file of the thinnest network that is possible.

        Raises:
            FakelensError: when there is no target, the full detector's file fits it, or no file can.
        """
        if settings.target_mb is None:
            raise FakelensError(f"say how large the INT8 file of {spec.name} may be: --target-mb MB")
        target = round(settings.target_mb * 1e6)
        thin = copy.deepcopy(full)
        prune_until(thin, int8_bytes, 0, input_px, settings.round_to)
        least = _measured_bytes(thin, input_px)
        graph_bytes = least - int8_bytes(thin)
        largest = graph_bytes + int8_bytes(full)
        if target >= largest:
            raise FakelensError(
                f"{spec.name} has {largest / 1e6:.2f} MB as static INT8, which is no more than the "
                f"{settings.target_mb:g} MB asked for: there is nothing to compress"
            )
        if target < least:
            raise FakelensError(
                f"{spec.name} cannot be compressed to {settings.target_mb:g} MB: with the fewest channels it still has "
                f"{least / 1e6:.2f} MB; ask for more with --target-mb"
            )
        return cls(target, graph_bytes, largest, input_px)

    def size_of(self, network: torch.nn.Module) -> float:
        """Bytes of the network's static INT8 file, predicted."""
        return self.graph_bytes + int8_bytes(network)

    def measured(self, network: LogitDetector) -> int:
        """Bytes of the network's static INT8 file."""
        return _measured_bytes(network, self.input_px)

    def after(self, step: int, num_steps: int) -> float:
        """Bytes after step 1, 2, …: each takes the same share of what the one before left."""
        return float(self.full_bytes * (self.num_bytes / self.full_bytes) ** (step / num_steps))


def _measured_bytes(network: LogitDetector, input_px: int) -> int:
    """Make the static INT8 file; its size does not depend on the pictures that it is calibrated with."""
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        fp32, int8 = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        export_onnx(fp32, network, input_px, temperature=1.0)
        picture = np.zeros((1, 3, input_px, input_px), dtype=np.float32)
        quantize_static(fp32, int8, picture, Candidate(rounding="nearest"))
        return int8.stat().st_size + _METADATA_BYTES


@dataclass(frozen=True)
class _Step:
    """The outcome of one step."""

    network: LogitDetector
    state: "Progressed"

    @property
    def best(self) -> EpochRow:
        assert self.state.best is not None
        return self.state.best


def _run_steps(
    stage: Stage, fitting: "Fitting", goal: _Goal, settings: CompressSettings, full: LogitDetector, task: Task, *,
    force: bool,
) -> list[_Step]:  # fmt: skip
    """Prune and train, as often as there are steps; those that an earlier run left are read."""
    from fakelens.training.callbacks import forget_progress, read_progress

    steps: list[_Step] = []
    epochs = fitting.info.settings.epochs
    for number in range(settings.steps):
        own = replace(
            fitting,
            folder=stage.folder / STEPS / str(number + 1),
            # Other pictures in another order than in the step before.
            seed=fitting.seed + 101 * (number + 1),
        )
        key = sha256_json([stage.key, number])
        if force:
            forget_progress(own.folder)
        state = read_progress(own.folder, key, fitting.reporter)
        task.advance(len(state.history))
        if state.history:
            network, _ = load_checkpoint(own.folder / BEST)
        else:
            task.advance(0, f"step {number + 1}: removing channels")
            network = copy.deepcopy(steps[-1].network if steps else full).requires_grad_(True)
            _prune(network, goal, settings, number)
        if not state.phase_done:
            peak = fitting.info.settings.learning_rate
            warmup = fitting.info.settings.warmup_fraction
            phase = Phase(f"step {number + 1}", False, number * epochs, epochs, peak, warmup)
            own.folder.mkdir(parents=True, exist_ok=True)
            state = own.run(network, phase, state, task)
            network, _ = load_checkpoint(own.folder / BEST)
        steps.append(_Step(network, state))
    return steps


def _prune(network: LogitDetector, goal: _Goal, settings: CompressSettings, number: int) -> None:
    """Remove the channels of one step; after the last one the file itself is measured, unless it surely fits."""
    size = goal.after(number + 1, settings.steps)
    prune_until(network, goal.size_of, size, goal.input_px, settings.round_to)
    if number + 1 < settings.steps or goal.size_of(network) <= goal.num_bytes - _UNSURE_BYTES:
        return
    while (excess := goal.measured(network) - goal.num_bytes) > 0:
        prune_until(network, goal.size_of, goal.size_of(network) - excess, goal.input_px, settings.round_to)


def _finish(stage: Stage, fitting: "Fitting", goal: _Goal, steps: list[_Step], full: StageRecord) -> StageRecord:
    last = steps[-1]
    with atomic_path(stage.folder / BEST) as temporary:
        shutil.copyfile(stage.folder / STEPS / str(len(steps)) / BEST, temporary)
    history = [row for step in steps for row in step.state.history]
    taught = read_as(TrainResults, full.results, full.folder)
    compression = CompressionResults(
        full=TrainingChoice.of(full.settings).detector,
        full_parameters=taught.num_parameters,
        full_int8_bytes=goal.full_bytes,
        full_best=taught.best,
        target_bytes=goal.num_bytes,
        int8_bytes=round(goal.size_of(last.network)),
        steps=tuple(
            CompressionStep(
                num_parameters=sum(parameter.numel() for parameter in step.network.parameters()),
                int8_bytes=round(goal.size_of(step.network)),
                best=step.best,
            )
            for step in steps
        ),
    )
    return fitting.finish(stage, last.network, history, last.best, taught.pretrained, compression)
