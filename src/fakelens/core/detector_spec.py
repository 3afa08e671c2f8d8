"""What a detector says about itself: how to build it, how to train it, what its head is called."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fakelens.core.config import Settings
from fakelens.core.imaging import INPUT_PX

if TYPE_CHECKING:
    from torch import nn


COMPACT_SUFFIX = "_compact"


class TrainingSettings(Settings):
    """How one detector is trained; each detector file states its own defaults."""

    pretrained: bool = True
    """Start from the published weights; false trains from scratch. Ignored by a detector that has none."""
    input_px: int = Field(INPUT_PX, ge=32, le=1024)
    """Side of the square input in pixels."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel mean that the first layer subtracts, in [0, 1] units."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Per-channel standard deviation that the first layer divides by, in [0, 1] units."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or Adam with decoupled weight decay."""
    learning_rate: float = Field(5e-4, gt=0)
    """Peak learning rate when the whole network trains."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of phase 1, when only the head trains."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW) or L2 (Adam)."""
    scheduler: Literal["cosine", "constant"] = "cosine"
    """Cosine decay to 1 % of the peak over each phase, or no decay."""
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    """Fraction of the all-layers phase in which the learning rate rises linearly."""
    batch_size: int = Field(64, ge=1)
    """Images per optimiser step and process."""
    head_epochs: int = Field(5, ge=0)
    """Epochs of phase 1 (head only, backbone frozen); 0 skips it."""
    epochs: int = Field(12, ge=1)
    """Epochs of phase 2 (all layers), at most: early stopping may end it."""
    patience: int = Field(5, ge=1)
    """Early stopping: epochs of phase 2 without a lower validation loss."""
    label_smoothing: float = Field(0.1, ge=0, lt=0.5)
    """Targets become ls/2 and 1 − ls/2 in the training loss; the validation loss is never smoothed."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Dropout before the last layer."""
    gradient_clip: float = Field(1.0, gt=0)
    """Largest norm of a step's gradient."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Share of the running average of the weights that a step keeps; what is validated and saved is the average.
    0 takes the weights of the last step."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor of the learning rate from one twelfth of the network's depth to the one below it; 1 is none."""
    mixup: float = Field(0.0, ge=0)
    """Mixup of pairs of pictures (Zhang et al. 2018), the parameter of its Beta distribution; 0 is none."""
    cutmix: float = Field(0.0, ge=0)
    """CutMix of pairs of pictures (Yun et al. 2019), likewise; with both, each batch gets either."""
    focal_gamma: float = Field(0.0, ge=0)
    """Weight of hard pictures in the training loss, (1 - p)^gamma (Lin et al. 2017); 0 weighs all alike."""
    generator_balance: float = Field(0.0, ge=0, le=1)
    """0 shows every picture once an epoch; 1 draws every generator (and source of photographs) equally often."""
    teacher: str | None = None
    """Detector of the same working folder, trained before, or path of a checkpoint, whose probabilities are learnt."""
    teacher_weight: float = Field(0.5, ge=0, le=1)
    """Share of the teacher's probability in the target, the rest being the label."""
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    """`auto` is fp16 mixed precision on CUDA and fp32 elsewhere."""


@dataclass(frozen=True)
class BuildOptions:
    """What the `build` of a detector is given."""

    pretrained: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dropout: float
    tiny: bool = False
    """The same code path with under 100,000 parameters, for tests."""


@dataclass(frozen=True)
class DetectorSpec:
    """One detector; `detectors/NAME.py` exports it as DETECTOR and no other file names it."""

    name: str
    display_name: str
    summary: str
    build: "Callable[[BuildOptions], nn.Module]"
    """Returns a module from float RGB (N, 3, H, W) in [0, 1] to logits (N,), normalisation inside."""
    head_prefix: str
    """Parameters whose name starts with this are the head: what phase 1 trains."""
    defaults: TrainingSettings
    demo: TrainingSettings
    """Settings for the demonstration: from scratch on small synthetic pictures, minutes on two CPU cores."""
    runs_by_default: bool = True
    """Whether `fakelens run` trains it without being asked."""
    weights: str | None = None
    """Repository of the published weights on the Hugging Face hub, None if there are none."""
    licence: str | None = None
    """Licence of the published weights."""
    float_ops: tuple[str, ...] = ()
    """ONNX operator types that static quantisation leaves in float."""
    compact_mb: float | None = None
    """Size of the static INT8 file in MB to which `fakelens run` compresses it, to ship that in its place; None ships
    it as it is."""
    full: "DetectorSpec | None" = None
    """What a compact detector was pruned from; None for all others."""

    @property
    def compact(self) -> "DetectorSpec":
        """The detector that `fakelens compress` makes of this one: the same network with fewer channels."""
        return replace(
            self,
            name=f"{self.name}{COMPACT_SUFFIX}",
            display_name=f"{self.display_name} (compact)",
            summary=f"{self.summary}, compressed by removing channels",
            runs_by_default=False,
            compact_mb=None,
            full=self,
        )
