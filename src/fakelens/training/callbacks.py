"""Callbacks of training: history, best and last checkpoint after each epoch, and progress."""

import math
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping

from fakelens.core.artifacts import flush, sha256_file, write_text
from fakelens.core.errors import DamagedFileError, FakelensError
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import EpochRow
from fakelens.core.run_folder import BEST, HISTORY, LAST, LAST_HASHES
from fakelens.core.stopping import is_follower, take_signals_back
from fakelens.detectors.checkpoint import CheckpointInfo, save_checkpoint
from fakelens.settings import DetectorSettings
from fakelens.training.history import write_history
from fakelens.training.module import METRICS, DetectorModule
from fakelens.training.phases import Phase

_NEXT_BEST, _PREVIOUS_BEST = "best.next.safetensors", "best.previous.safetensors"
# The checkpoint before `last.ckpt`; LAST_HASHES holds the SHA-256 of both, the newer one first.
_PREVIOUS = "last.previous.ckpt"


@dataclass(frozen=True)
class Progressed:
    """Progress of a training run, as `last.ckpt` records it."""

    key: str
    phase: int = 0
    phase_done: bool = False
    history: tuple[EpochRow, ...] = ()
    best_sha256: str = ""
    """Of `best.safetensors` as it was then: what the next phase starts from."""

    @property
    def best(self) -> EpochRow | None:
        """The epoch with the lowest validation loss."""
        return min(self.history, key=lambda row: row.val_loss, default=None)


class EpochKeeper(Checkpoint):
    """After every epoch: `last.ckpt`, `best.safetensors` if it is the best, and a row of history.

    Killed between any two of these, `read_progress` finds a state that the rest of the training follows from bit for
    bit: a new best one waits under another name until the checkpoint that speaks of it is whole.

    A Checkpoint by type, because Lightning runs those after the module's own end of epoch.
    """

    def __init__(
        self, folder: Path, info: CheckpointInfo, phase: Phase, state: Progressed, reporter: Reporter = SILENT
    ) -> None:
        self._folder, self._info, self._phase, self._reporter = folder, info, phase, reporter
        self.state = state
        self._started_s, self._learning_rate = time.monotonic(), 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        take_signals_back()  # Lightning's own answer to SIGTERM waits for the other processes

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        take_signals_back()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        self._started_s = time.monotonic()

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        # Before the step: afterwards the schedule has moved on to the next one.
        self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        # Other processes that Lightning started wait for this one in a collective call, and write nothing.
        launcher: Any = trainer.strategy.launcher
        if processes := getattr(launcher, "procs", None):
            launcher.kill(signal.SIGKILL)
            processes.clear()  # Lightning's own watch would kill this process for the others' death

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectorModule)
        row = self._row(trainer)
        if not math.isfinite(row.train_loss) or not math.isfinite(row.val_loss):
            name = "head_learning_rate" if self._phase.head_only else "learning_rate"
            raise FakelensError(
                f"training diverged in epoch {row.epoch + 1}: the loss is not a number; lower the learning rate with "
                f"--set detectors.{self._info.detector}.{name}={self._phase.learning_rate / 3:.1g}"
            )
        is_best = self.state.best is None or row.val_loss < self.state.best.val_loss
        last_epoch = trainer.current_epoch + 1 >= self._phase.num_epochs
        history = (*self.state.history, row)
        self.state = replace(self.state, history=history, phase_done=last_epoch or trainer.should_stop)
        if is_best and trainer.is_global_zero:
            info = replace(self._info, epoch=row.epoch, val_loss=row.val_loss)
            save_checkpoint(self._folder / _NEXT_BEST, pl_module.judged_network, info)
            self.state = replace(self.state, best_sha256=sha256_file(self._folder / _NEXT_BEST))
        self._save_last(trainer)
        if trainer.is_global_zero:
            if is_best:
                settle_best(self._folder, self.state)
            write_history(self._folder / HISTORY, history)
        trainer.strategy.barrier()  # the other processes read the best one when the next phase begins
        self._reporter.log(
            f"train {self._info.detector}: epoch {row.epoch + 1} of {self._phase.first_epoch + self._phase.num_epochs} "
            f"({self._phase.name}), loss {row.train_loss:.3f}, validation loss "
            f"{row.val_loss:.3f}, accuracy {row.val_accuracy:.3f}, AUC {row.val_auc:.3f} ({row.seconds:.0f} s)"
        )

    def on_save_checkpoint(
        self,
        trainer: L.Trainer,  # noqa: ARG002
        pl_module: L.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        checkpoint["fakelens"] = asdict(self.state)

    def _row(self, trainer: L.Trainer) -> EpochRow:
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        names = [f"{split}_{name}" for split in ("train", "val") for name in ("loss", *METRICS)]
        return EpochRow(
            epoch=self._phase.first_epoch + trainer.current_epoch,
            phase=self._phase.name,
            learning_rate=self._learning_rate,
            seconds=round(time.monotonic() - self._started_s, 2),
            **{name: measured[name] for name in names},
        )

    def _save_last(self, trainer: L.Trainer) -> None:
        # Lightning writes through $TMPDIR and does not flush: write beside the target, flush, then rename.
        temporary = self._folder / f".{LAST}.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            flush(temporary)
            last = self._folder / LAST
            hashes = [sha256_file(temporary), *([sha256_file(last)] if last.exists() else [])]
            write_text(self._folder / LAST_HASHES, "\n".join(hashes) + "\n")
            if last.exists():
                last.replace(self._folder / _PREVIOUS)
            temporary.replace(last)


class EarlyStop(EarlyStopping):
    """The end of a phase whose validation loss no longer falls, not before its least number of epochs."""

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__("val_loss", patience=settings.patience, check_finite=False)
        self._min_epochs = settings.min_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        # The trainer's own `min_epochs` would end the phase at that epoch, whatever the loss has done since.
        trainer.should_stop = trainer.should_stop and trainer.current_epoch + 1 >= self._min_epochs


class ProgressCallback(L.Callback):
    """Moves the progress display by batches."""

    def __init__(self, task: Task, phase: Phase) -> None:
        self._task, self._phase, self._note = task, phase, ""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._task.advance(1 / max(1, int(trainer.num_training_batches)), self._note)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        measured = trainer.callback_metrics
        if "val_auc" in measured:
            epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs} ({self._phase.name}) ended"
            self._note = f"{epoch}, val loss {measured['val_loss']:.3f}, AUC {measured['val_auc']:.3f}"


def read_progress(folder: Path, key: str, reporter: Reporter = SILENT) -> Progressed:
    """Progress of the run with this key; a fresh start if there is nothing of it.

    A damaged `last.ckpt` falls back to the one before it, whose place it takes, and `reporter` is told what that costs.

    Raises:
        DamagedFileError: naming `last.ckpt` when neither can be used, or `best.safetensors`.
    """
    last, previous = folder / LAST, folder / _PREVIOUS
    if not last.exists() and not previous.exists():
        return Progressed(key)
    hashes = folder / LAST_HASHES
    known = hashes.read_text(encoding="utf-8", errors="replace").split() if hashes.exists() else []
    whole = [path for path in (last, previous) if path.exists() and sha256_file(path) in known]
    if not whole:
        raise DamagedFileError(
            last if last.exists() else previous,
            "is not the checkpoint that training wrote",
            "restore it from a copy, or train from the start with --force",
        )
    state = _read_state(whole[0])
    if state.key != key:
        return Progressed(key)
    if whole[0] == previous and not is_follower():
        damaged = "is damaged" if last.exists() else "was being replaced"
        reporter.say(f"{last} {damaged}: going on from the checkpoint before it, which costs one epoch")
        previous.replace(last)
    if not is_follower():
        settle_best(folder, state)
        write_history(folder / HISTORY, state.history)
    return state


def settle_best(folder: Path, state: Progressed) -> None:
    """Give `best.safetensors` the bytes that the checkpoint speaks of, whatever moment an earlier process died at.

    Raises:
        DamagedFileError: when no file has them.
    """
    best = folder / BEST
    for path in (folder / _NEXT_BEST, best, folder / _PREVIOUS_BEST):
        if path.exists() and sha256_file(path) == state.best_sha256:
            if path != best:
                if best.exists():
                    best.replace(folder / _PREVIOUS_BEST) if path.name == _NEXT_BEST else best.unlink()
                path.replace(best)
            return
    raise DamagedFileError(
        best, "is not the file that training wrote", "restore it from a copy, or train from the start with --force"
    )


def forget_previous(folder: Path) -> None:
    """Remove the files that only an interrupted training needs."""
    for name in (_NEXT_BEST, _PREVIOUS_BEST, _PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def forget_progress(folder: Path) -> None:
    """Remove checkpoints of an earlier training, so that the next one starts anew."""
    forget_previous(folder)
    for name in (LAST, LAST_HASHES):
        (folder / name).unlink(missing_ok=True)


def _read_state(path: Path) -> Progressed:
    import torch

    plain = torch.load(path, map_location="cpu", weights_only=True)["fakelens"]
    return Progressed(**{**plain, "history": tuple(EpochRow(**row) for row in plain["history"])})
