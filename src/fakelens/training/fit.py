"""One phase of training: a network, its data and settings in; its epochs, as they are on disk, out."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from fakelens.core.artifacts import Stage, StageRecord
from fakelens.core.errors import FakelensError
from fakelens.core.machine import available_cpus, keep_freed_memory
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import CompressionResults, EpochRow, TrainResults
from fakelens.core.run_folder import BEST, HISTORY, LAST, LOGS, PLOTS
from fakelens.dataset.loader import EpochSampler, PlainImages, TrainingImages, make_loader
from fakelens.dataset.splits import TRAIN, VAL
from fakelens.dataset.store import PreparedData
from fakelens.detectors.checkpoint import CheckpointInfo
from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import DetectorSpec
from fakelens.settings import TrainSettings
from fakelens.training.callbacks import EarlyStop, EpochKeeper, ProgressCallback, Progressed
from fakelens.training.history import plot_history, write_history
from fakelens.training.module import DetectorModule
from fakelens.training.phases import Phase


@dataclass(frozen=True)
class Fitting:
    """Everything that the phases of a run share."""

    folder: Path
    """Where `best.safetensors`, `last.ckpt` and `history.csv` go."""
    spec: DetectorSpec
    info: CheckpointInfo
    common: TrainSettings
    data: PreparedData
    teacher: LogitDetector | None
    seed: int
    """Of shuffling, augmentation and dropout."""
    reporter: Reporter = SILENT

    def run(self, network: LogitDetector, phase: Phase, state: Progressed, task: Task) -> Progressed:
        """Train `network` for one phase, going on from `last.ckpt` if `state` has epochs of this phase.

        Raises:
            FakelensError: when the loss is no longer a number.
            KeyboardInterrupt: when the user ends it.
        """
        settings = self.info.settings
        if not _on_gpu(self.common):
            keep_freed_memory()
        network.train()  # Lightning warns of modules in evaluation mode; each epoch sets the modes itself
        keeper = EpochKeeper(self.folder, self.info, phase, state, self.reporter)
        module = DetectorModule(
            network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]  # torch documents it
            settings,
            phase,
            self.spec.head_prefix,
            self.seed,
            self.teacher,
        )
        if self.common.compile:
            network.compile()  # in place, so that the names of the weights stay
        num_done = sum(row.epoch >= phase.first_epoch for row in state.history)
        trainer = self._trainer(phase, [keeper, ProgressCallback(task, phase)], phase.first_epoch + num_done)
        resume = self.folder / LAST if num_done else None
        loaders = self._loaders(trainer, first_epoch=phase.first_epoch, num_done=num_done)
        trainer.fit(module, *loaders, ckpt_path=resume, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        return keeper.state

    def _trainer(self, phase: Phase, callbacks: list[L.Callback], first_epoch: int) -> L.Trainer:
        settings, common, on_gpu = self.info.settings, self.common, _on_gpu(self.common)
        precision = ("16-mixed" if on_gpu else "32-true") if settings.precision == "auto" else settings.precision
        if not phase.head_only:
            callbacks = [EarlyStop(settings), *callbacks]
        # One folder for each start of each phase: Lightning's loggers begin by removing what lies in theirs.
        logger = _logger(common.logger, self.folder, self.spec.name, f"from_epoch_{first_epoch + 1}")
        return L.Trainer(
            **_machine(common),
            # Lightning looks there for checkpoints of a scheduler's, and takes them for this training's.
            default_root_dir=self.folder,
            precision=precision,
            max_epochs=phase.num_epochs,
            callbacks=callbacks,
            logger=logger,
            limit_train_batches=common.limit_batches,
            accumulate_grad_batches=common.accumulate,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the samplers know rank and epoch themselves
            gradient_clip_val=settings.gradient_clip,
        )

    def _loaders(self, trainer: L.Trainer, **epochs: int) -> tuple[Any, Any]:
        settings, px = self.info.settings, self.info.settings.input_px
        train, val = self.data.split(TRAIN), self.data.split(VAL)
        share: Any = {"rank": trainer.global_rank, "num_processes": trainer.world_size}
        workers = self.common.num_workers
        if workers is None:
            workers = available_cpus() // trainer.num_devices if _on_gpu(self.common) else 0
        batch = min(settings.batch_size, len(train) // trainer.world_size)
        training = TrainingImages(train, px, self.common.augmentation, self.seed)
        return (
            # BatchNorm cannot take a last batch of one image: an incomplete batch is left to the next epoch's order.
            make_loader(
                training,
                batch,
                EpochSampler(len(train), self.seed, shuffle=True, **share, **epochs),
                workers,
                drop_last=True,
            ),
            make_loader(
                PlainImages(val, px),
                2 * batch,
                EpochSampler(len(val), self.seed, shuffle=False, **share),
                workers,
            ),
        )

    def finish(
        self,
        stage: Stage,
        network: LogitDetector,
        history: Sequence[EpochRow],
        best: EpochRow,
        pretrained: str | None,
        compression: CompressionResults | None = None,
    ) -> StageRecord:
        """Write what a finished training leaves beside `best.safetensors`: history, plots and, last, the record.

        `network` is what that file holds, and `best` the epoch it is of.
        """
        write_history(self.folder / HISTORY, history)
        plots = plot_history(self.folder / PLOTS, history, best, self.data.subject(self.spec.display_name))
        results = TrainResults(
            num_parameters=sum(parameter.numel() for parameter in network.parameters()),
            num_epochs=len(history),
            best=best,
            training_seconds=round(sum(row.seconds for row in history), 1),
            num_threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name() if _on_gpu(self.common) else "cpu",
            pretrained=pretrained,
            compression=compression,
        )
        return stage.finish([self.folder / BEST], asdict(results), aside=[self.folder / HISTORY, *plots])


def check_machine(common: TrainSettings, precision: str) -> None:
    """Refuse what this machine cannot train with, before anything is touched.

    Raises:
        FakelensError: for an accelerator, a number of devices or a logger that is not there, and for half precision
            on a CPU, which the engine would replace by another.
    """
    if precision == "16-mixed" and not _on_gpu(common):
        raise FakelensError("precision=16-mixed needs a GPU: choose bf16-mixed or 32-true, or leave it at auto")
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder, quiet_lightning():
        logger = _logger(common.logger, Path(folder), "check", "check")
        try:
            L.Trainer(**_machine(common), default_root_dir=folder, logger=logger, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        except (MisconfigurationException, ValueError) as error:
            raise FakelensError(
                f"this machine cannot train with train.accelerator={common.accelerator}, train.devices={common.devices}"
                f" ({str(error).splitlines()[0]}): choose what it has, or leave both out"
            ) from error


def _machine(common: TrainSettings) -> dict[str, Any]:
    return {
        "plugins": [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [],
        "accelerator": common.accelerator,
        "devices": common.devices or ("auto" if _on_gpu(common) else 1),
        "num_nodes": common.num_nodes,
    }


def _logger(name: str | None, folder: Path, detector: str, version: str) -> Any:
    """Lightning's logger of this name, which writes below the detector's folder unless it is a service.

    Raises:
        FakelensError: when its package is not installed.
    """
    from lightning.pytorch import loggers

    if name is None:
        return False
    try:
        if name == "csv":
            return loggers.CSVLogger(folder / LOGS, name="", version=version)
        if name == "tensorboard":
            return loggers.TensorBoardLogger(folder / LOGS, name="", version=version)
        if name == "wandb":
            return loggers.WandbLogger(name=f"{detector} {version}", save_dir=folder, project="fakelens")
        return loggers.MLFlowLogger(experiment_name="fakelens", run_name=f"{detector} {version}")
    except ModuleNotFoundError as error:
        raise FakelensError(
            f"train.logger={name} needs a package that is not installed: pip install 'fakelens[{name}]'"
        ) from error


def _on_gpu(common: TrainSettings) -> bool:
    return common.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
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
            # torchmetrics has put the processes' metrics together already.
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
            yield
    finally:
        logger.setLevel(levels[0])
        rank_logger.setLevel(levels[1])
