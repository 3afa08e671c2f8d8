"""The training step: loss, running average and metrics of one phase."""

from typing import Any, cast

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
)

from fakelens.detectors.network import LogitDetector
from fakelens.settings import DetectorSettings
from fakelens.training.phases import Phase, freeze, learning_rate_factor, set_modes

Batch = tuple[torch.Tensor, torch.Tensor]
METRICS = ("accuracy", "precision", "recall", "f1", "auc")


def _metrics(prefix: str) -> MetricCollection:
    parts = (BinaryAccuracy(), BinaryPrecision(), BinaryRecall(), BinaryF1Score(), BinaryAUROC())
    # No shared states: compute groups would tie AUROC's list states to the others.
    return MetricCollection(dict(zip(METRICS, parts, strict=True)), prefix=prefix, compute_groups=False)


class DetectorModule(L.LightningModule):
    """Binary cross-entropy on logits; metrics over whole epochs, all processes together.

    Smoothing and a teacher act on the training loss only; validation sees plain labels and, if
    there is one, the running average of the weights.
    """

    def __init__(
        self,
        network: LogitDetector,
        settings: DetectorSettings,
        phase: Phase,
        head_prefix: str,
        seed: int,
        teacher: LogitDetector | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._settings, self._phase, self._head_prefix, self._seed = settings, phase, head_prefix, seed
        self._train_metrics, self._val_metrics = _metrics("train_"), _metrics("val_")
        freeze(network, head_prefix, phase)
        # In a list, so that it is no part of this module: it is not trained and not saved with it.
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher else []
        self._average: AveragedModel | None = None
        self._averaged_step = 0
        if settings.ema_decay:
            average = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(network, multi_avg_fn=average, use_buffers=True).requires_grad_(False)

    @property
    def judged_network(self) -> LogitDetector:
        """The network that is validated and saved: the running average, or the network itself."""
        return self.network if self._average is None else cast("LogitDetector", self._average.module)

    def on_train_start(self) -> None:
        self._averaged_step = self.trainer.global_step

    def on_train_epoch_start(self) -> None:
        # Dropout draws from the global stream: keyed by epoch and process, a resumed run draws the same numbers.
        torch.manual_seed(self._seed * 1_000_003 + self._epoch * 1_009 + self.global_rank)
        set_modes(self.network, self._head_prefix, self._phase)
        if self._average is not None:
            self._average.eval()
        for teacher in self._teacher:
            teacher.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:  # noqa: ARG002  Lightning's signature
        settings = self._settings
        images, labels = _network_input(batch[0]), batch[1]
        targets = labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
        for teacher in self._teacher:
            with torch.no_grad():
                taught = teacher(images).float().sigmoid()
            targets = torch.lerp(targets, taught, settings.teacher_weight)
        logits = self.network(images)
        loss = F.binary_cross_entropy_with_logits(logits, targets)
        self._train_metrics.update(logits.detach().float().sigmoid(), labels.long())
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=True)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        # Not after a batch whose gradients only add to those of the next one.
        if self._average is not None and self.trainer.global_step != self._averaged_step:
            self._average.update_parameters(self.network)
            self._averaged_step = self.trainer.global_step

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        images, labels = batch
        logits = self.judged_network(_network_input(images)).float()
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        self._val_metrics.update(logits.sigmoid(), labels.long())
        self.log("val_loss", loss, on_epoch=True, batch_size=len(labels), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self._log_and_reset(self._val_metrics)

    def on_train_epoch_end(self) -> None:
        self._log_and_reset(self._train_metrics)

    @property
    def _epoch(self) -> int:
        return self._phase.first_epoch + self.current_epoch

    def _log_and_reset(self, metrics: MetricCollection) -> None:
        self.log_dict(dict(metrics.compute()))
        metrics.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        settings, phase = self._settings, self._phase
        cls = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        # Lightning refuses to clip gradients of a fused optimiser in mixed precision.
        fused = self.device.type == "cpu" and self.trainer.precision == "32-true"
        optimizer = cls(trained, lr=phase.learning_rate, weight_decay=settings.weight_decay, fused=fused)
        num_steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return learning_rate_factor(step, num_steps, phase, settings.scheduler)

        schedule: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _network_input(images_nchw: torch.Tensor) -> torch.Tensor:
    """uint8 pictures as the networks take them, float32 in [0, 1]: the same numbers as `to_model_input` gives."""
    return images_nchw.float().div_(255).contiguous(memory_format=torch.channels_last)
