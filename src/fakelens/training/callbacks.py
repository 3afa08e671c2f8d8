"""What happens beside training: history, best and last checkpoint after each epoch, and progress."""

import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

# isort: split
import fakelens.training.engine  # noqa: F401  before lightning
from fakelens.core.errors import FakelensError

# isort: split
import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from fakelens.core.progress import Task
from fakelens.detectors.checkpoint import CheckpointInfo, save_checkpoint
from fakelens.training.history import EpochRow, write_history
from fakelens.training.module import METRICS, DetectorModule
from fakelens.training.phases import Phase

BEST, LAST, HISTORY = "best.safetensors", "last.ckpt", "history.csv"


@dataclass(frozen=True)
class Progressed:
    """How far a training run has come: what `last.ckpt` says of itself."""

    key: str
    phase: int = 0
    phase_done: bool = False
    history: tuple[EpochRow, ...] = ()

    @property
    def best(self) -> EpochRow | None:
        """The epoch with the lowest validation loss."""
        return min(self.history, key=lambda row: row.val_loss, default=None)


class EpochKeeper(Checkpoint):
    """After every epoch: a row of history, `best.safetensors` if it is the best, then `last.ckpt`.

    A Checkpoint by type, because Lightning runs those after the module's own end of epoch.
    """

    def __init__(self, folder: Path, info: CheckpointInfo, phase: Phase, state: Progressed) -> None:
        self._folder, self._info, self._phase = folder, info, phase
        self.state = state
        self._started_s = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._started_s = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectorModule)
        row = self._row(trainer)
        if not math.isfinite(row.train_loss) or not math.isfinite(row.val_loss):
            raise FakelensError(
                f"training diverged in epoch {row.epoch}: the loss is not a number; lower the learning rate with "
                f"--set detectors.{self._info.detector}.learning_rate={self._phase.learning_rate / 3:.1g}"
            )
        is_best = self.state.best is None or row.val_loss < self.state.best.val_loss
        last_epoch = trainer.current_epoch + 1 >= self._phase.num_epochs
        history = (*self.state.history, row)
        self.state = replace(self.state, history=history, phase_done=last_epoch or trainer.should_stop)
        if is_best and trainer.is_global_zero:
            info = replace(self._info, epoch=row.epoch, val_loss=row.val_loss)
            save_checkpoint(self._folder / BEST, pl_module.judged_network, info)
        self._save_last(trainer)
        if trainer.is_global_zero:
            write_history(self._folder / HISTORY, history)

    def on_save_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        plain = asdict(self.state)
        checkpoint["fakelens"] = {**plain, "history": [asdict(row) for row in self.state.history]}

    def _row(self, trainer: L.Trainer) -> EpochRow:
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = [f"{split}_{name}" for split in ("train", "val") for name in ("loss", *METRICS)]
        return EpochRow(
            epoch=self._phase.first_epoch + trainer.current_epoch,
            phase=self._phase.name,
            learning_rate=float(trainer.optimizers[0].param_groups[0]["lr"]),
            seconds=round(time.monotonic() - self._started_s, 2),
            **{name: measured[name] for name in names},
        )

    def _save_last(self, trainer: L.Trainer) -> None:
        # Lightning writes through $TMPDIR and does not flush: write beside the target, flush, then rename.
        temporary = self._folder / f".{LAST}.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(self._folder / LAST)


class ProgressCallback(L.Callback):
    """Moves the progress display by batches."""

    def __init__(self, task: Task, phase: Phase) -> None:
        self._task, self._phase, self._note = task, phase, ""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._task.advance(1 / max(1, int(trainer.num_training_batches)), self._note)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        measured = trainer.callback_metrics
        if "val_auc" in measured:
            self._note = f"{self._phase.name}, val loss {measured['val_loss']:.3f}, AUC {measured['val_auc']:.3f}"


def read_progress(folder: Path, key: str) -> Progressed:
    """How far the run with this key has come; a fresh start if `last.ckpt` belongs to another or does not exist."""
    import torch

    path = folder / LAST
    if not path.exists():
        return Progressed(key)
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)["fakelens"]
        state = Progressed(**{**plain, "history": tuple(EpochRow(**row) for row in plain["history"])})
    except (KeyError, TypeError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise FakelensError(f"{path} cannot be read ({error}): start again with --force") from error
    return state if state.key == key else Progressed(key)
