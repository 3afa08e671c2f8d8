"""The LightningModule: a detector, one phase and its settings in; losses, metrics and optimiser steps out."""

from typing import Any

# isort: split
import fakelens.training.engine  # noqa: F401  before lightning

# isort: split
import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
)

from fakelens.core.detector_spec import TrainingSettings
from fakelens.detectors.wrapping import LogitDetector
from fakelens.training.phases import Phase, freeze, learning_rate_factor, set_modes, trainable

Batch = tuple[torch.Tensor, torch.Tensor]
METRICS = ("accuracy", "precision", "recall", "f1", "auc")


def _metrics(prefix: str) -> MetricCollection:
    parts = (BinaryAccuracy(), BinaryPrecision(), BinaryRecall(), BinaryF1Score(), BinaryAUROC())
    # No shared states: compute groups would tie AUROC's list states to the others.
    return MetricCollection(dict(zip(METRICS, parts, strict=True)), prefix=prefix, compute_groups=False)


class DetectorModule(L.LightningModule):
    """Binary cross-entropy on logits, smoothed in training only; metrics over whole epochs, all processes together."""

    def __init__(
        self, network: LogitDetector, settings: TrainingSettings, phase: Phase, head_prefix: str, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._settings, self._phase, self._head_prefix, self._seed = settings, phase, head_prefix, seed
        self._train_metrics, self._val_metrics = _metrics("train_"), _metrics("val_")
        freeze(network, head_prefix, phase)

    def on_train_epoch_start(self) -> None:
        # Dropout draws from the global stream: keyed by epoch and process, a resumed run draws the same numbers.
        epoch = self._phase.first_epoch + self.current_epoch
        torch.manual_seed(self._seed * 1_000_003 + epoch * 1_009 + self.global_rank)
        set_modes(self.network, self._head_prefix, self._phase)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:  # noqa: ARG002  Lightning's signature
        images, labels = batch
        logits = self.network(_channels_last(images))
        smooth = self._settings.label_smoothing
        loss = F.binary_cross_entropy_with_logits(logits, labels * (1 - smooth) + smooth / 2)
        self._train_metrics.update(logits.detach().float().sigmoid(), labels.long())
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        images, labels = batch
        logits = self.network(_channels_last(images)).float()
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self._val_metrics.update(logits.sigmoid(), labels.long())
        self.log("val_loss", loss, on_epoch=True, batch_size=len(labels), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self._log_and_reset(self._val_metrics)

    def on_train_epoch_end(self) -> None:
        self._log_and_reset(self._train_metrics)

    def _log_and_reset(self, metrics: MetricCollection) -> None:
        self.log_dict(dict(metrics.compute()))
        metrics.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings, phase = self._settings, self._phase
        cls = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        optimizer = cls(trainable(self.network), lr=phase.learning_rate, weight_decay=settings.weight_decay)
        num_steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return learning_rate_factor(step, num_steps, phase, settings.scheduler)

        schedule: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)
