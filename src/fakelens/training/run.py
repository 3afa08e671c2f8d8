"""The train stage: prepared data and one detector in; best and last checkpoint, history, plots and a record out."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

# isort: split
import fakelens.training.engine  # noqa: F401  before lightning

# isort: split
import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from fakelens.core.artifacts import Stage, StageRecord, sha256_file
from fakelens.core.detector_spec import DetectorSpec, TrainingSettings
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.dataset.loader import EpochSampler, PlainImages, TrainingImages, drawing_weights, make_loader
from fakelens.dataset.prepared import PreparedData
from fakelens.detectors.checkpoint import CheckpointInfo, build_network, load_checkpoint
from fakelens.detectors.wrapping import LogitDetector
from fakelens.training.allocator import keep_freed_memory
from fakelens.training.callbacks import (
    BEST,
    HISTORY,
    LAST,
    EpochKeeper,
    ProgressCallback,
    Progressed,
    read_progress,
)
from fakelens.training.module import DetectorModule
from fakelens.training.phases import Phase, plan_phases
from fakelens.training.plots import plot_history
from fakelens.training.settings import EngineSettings

_VERSION = 2


def train_stage(
    workdir: Path, data: PreparedData, spec: DetectorSpec, settings: TrainingSettings, engine: EngineSettings
) -> Stage:
    """The stage's folder, key and record; how many workers, threads or devices there are does not make another run."""
    matters = engine.model_dump(mode="json", include={"max_epochs", "tiny", "augmentation"})
    return Stage(
        "train",
        workdir / spec.name,
        version=_VERSION,
        settings={"detector": spec.name, **settings.model_dump(mode="json"), "engine": matters},
        inputs={"data": data.record.digest} | _teacher_digest(workdir, settings),
    )


def train(
    workdir: Path,
    spec: DetectorSpec,
    settings: TrainingSettings,
    engine: EngineSettings,
    *,
    seed: int,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> StageRecord:
    """Train one detector on `workdir/data`; goes on from the last whole epoch of an interrupted run.

    Writes `best.safetensors` (lowest validation loss), `last.ckpt`, `history.csv`, `plots/` and `train.json`.

    Raises:
        ValueError: for missing or changed data, weights that cannot be had, or a diverged loss.
    """
    data = PreparedData(workdir / "data")
    stage = train_stage(workdir, data, spec, settings, engine)
    if not force and (record := stage.finished()):
        return record
    data.verify()
    stage.begin()
    state = Progressed(stage.key) if force else read_progress(stage.folder, stage.key)
    if state.history:
        reporter.say(f"{spec.display_name}: going on after epoch {state.history[-1].epoch + 1}")
    if engine.num_threads:
        torch.set_num_threads(engine.num_threads)
    if not _on_gpu(engine):
        keep_freed_memory()
    info = _info(spec, settings, engine, data, seed)
    phases = plan_phases(settings, engine.max_epochs)
    with (
        _quiet_lightning(),
        reporter.task(spec.display_name, sum(phase.num_epochs for phase in phases)) as task,
    ):
        task.advance(len(state.history))
        state = _run_phases(stage, spec, info, engine, phases, data, state, task)
    plots = plot_history(stage.folder / "plots", state.history, data.title(spec.display_name))
    network, _ = load_checkpoint(stage.folder / BEST)
    outputs = [stage.folder / BEST, stage.folder / HISTORY, *plots]
    return stage.finish(outputs, _results(spec, network, state, info, engine))


def _teacher_path(workdir: Path, teacher: str) -> Path:
    """A checkpoint's path as it is, a detector's name as its best checkpoint in the same working folder."""
    path = Path(teacher)
    return path if path.suffix else workdir / teacher / BEST


def _teacher_digest(workdir: Path, settings: TrainingSettings) -> dict[str, str]:
    if settings.teacher is None:
        return {}
    path = _teacher_path(workdir, settings.teacher)
    if not path.is_file():
        raise ValueError(
            f"the teacher {path} is missing: train it first (`fakelens train {settings.teacher}`, with the same "
            "--workdir), or learn without one: teacher=null"
        )
    return {"teacher": sha256_file(path)}


def _run_phases(
    stage: Stage,
    spec: DetectorSpec,
    info: CheckpointInfo,
    engine: EngineSettings,
    phases: list[Phase],
    data: PreparedData,
    state: Progressed,
    task: Task,
) -> Progressed:
    network: LogitDetector | None = None
    teaching = info.settings.teacher
    teacher = load_checkpoint(_teacher_path(stage.folder.parent, teaching))[0] if teaching else None
    for number, phase in enumerate(phases):
        if number < state.phase or (number == state.phase and state.phase_done):
            continue
        resume = stage.folder / LAST if number == state.phase and state.history else None
        if number > 0 or resume:
            network, _ = load_checkpoint(stage.folder / BEST)  # overwritten by `resume`, if there is one
        elif network is None:
            torch.manual_seed(info.seed)
            network = build_network(spec, info.settings, tiny=info.tiny, pretrained=info.settings.pretrained)
        network.train()  # Lightning warns of modules in evaluation mode; each epoch sets the modes itself
        keeper = EpochKeeper(stage.folder, info, phase, replace(state, phase=number, phase_done=False))
        module = DetectorModule(
            network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # torch documents it
            info.settings,
            phase,
            spec.head_prefix,
            info.seed,
            teacher,
        )
        trainer = _trainer(info.settings, engine, phase, [keeper, ProgressCallback(task, phase)])
        _fit(trainer, module, _loaders(data, info, engine, trainer), resume)
        state = keeper.state
    return state


def _fit(trainer: L.Trainer, module: DetectorModule, loaders: tuple[Any, Any], resume: Path | None) -> None:
    trainer.fit(module, *loaders, ckpt_path=resume, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt


def _on_gpu(engine: EngineSettings) -> bool:
    return engine.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _trainer(
    settings: TrainingSettings, engine: EngineSettings, phase: Phase, callbacks: list[L.Callback]
) -> L.Trainer:
    on_gpu = _on_gpu(engine)
    precision = ("16-mixed" if on_gpu else "32-true") if settings.precision == "auto" else settings.precision
    if not phase.head_only:
        callbacks = [EarlyStopping("val_loss", patience=settings.patience, check_finite=False), *callbacks]
    return L.Trainer(
        accelerator=engine.accelerator,
        devices=engine.devices or ("auto" if on_gpu else 1),
        num_nodes=engine.num_nodes,
        precision=precision,
        max_epochs=phase.num_epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the samplers know rank and epoch themselves
        gradient_clip_val=settings.gradient_clip,
    )


def _loaders(data: PreparedData, info: CheckpointInfo, engine: EngineSettings, trainer: L.Trainer) -> tuple[Any, Any]:
    settings, px = info.settings, info.settings.input_px
    train, val = data.split("train"), data.split("val")
    share: Any = {"rank": trainer.global_rank, "num_processes": trainer.world_size}
    workers = engine.num_workers
    if workers is None:
        workers = min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0
    batch = min(settings.batch_size, len(train) // trainer.world_size)
    weights = drawing_weights(train.rows, settings.generator_balance) if settings.generator_balance else None
    training = TrainingImages(train, px, engine.augmentation, info.seed)
    return (
        # BatchNorm cannot take a last batch of one image: an incomplete batch is left to the next epoch's order.
        make_loader(
            training,
            batch,
            EpochSampler(len(train), info.seed, shuffle=True, weights=weights, **share),
            workers,
            drop_last=True,
        ),
        make_loader(
            PlainImages(val, px),
            2 * batch,
            EpochSampler(len(val), info.seed, shuffle=False, **share),
            workers,
        ),
    )


def _info(
    spec: DetectorSpec, settings: TrainingSettings, engine: EngineSettings, data: PreparedData, seed: int
) -> CheckpointInfo:
    results = data.record.results
    return CheckpointInfo(
        detector=spec.name, settings=settings, tiny=engine.tiny, stored_px=data.record.settings["stored_px"],
        demo=data.is_demo, data_description=results["description"], data_licence=results["licence"],
        data_digest=data.record.digest, seed=seed, epoch=-1, val_loss=float("inf"),
    )  # fmt: skip


def _results(
    spec: DetectorSpec, network: LogitDetector, state: Progressed, info: CheckpointInfo, engine: EngineSettings
) -> dict[str, Any]:
    assert state.best is not None
    return {
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "num_epochs": len(state.history),
        "best": asdict(state.best),
        "training_seconds": round(sum(row.seconds for row in state.history), 1),
        "pretrained": spec.weights if info.settings.pretrained else None,
        "num_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if _on_gpu(engine) else "cpu",
    }


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advertisements and its advice about workers out of our output; its errors still come through."""
    logger = logging.getLogger("lightning.pytorch")
    rank_logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    levels = logger.level, rank_logger.level
    logger.setLevel(logging.ERROR)
    rank_logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")  # lightning 2.6 on torch 2.13
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*number of training batches.*")
            yield
    finally:
        logger.setLevel(levels[0])
        rank_logger.setLevel(levels[1])
