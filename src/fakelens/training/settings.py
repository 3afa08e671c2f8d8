"""How training runs: the part of a recipe that is not a detector's own."""

from typing import Literal

from pydantic import Field

from fakelens.core.config import Settings
from fakelens.dataset.augmentation import AugmentationSettings


class EngineSettings(Settings):
    """How training runs, whatever the detector; the first three stand over every detector's own settings."""

    seed: int | None = Field(None, ge=0)
    """Of initial weights, order, augmentation and dropout; null takes data.seed. Another one is another training."""
    max_epochs: int | None = Field(None, ge=1)
    """Most epochs of a detector over both phases."""
    pretrained: bool = True
    """False trains every detector from scratch."""
    input_px: int | None = Field(None, ge=32, le=1024)
    """Input side of every detector in pixels; null keeps each detector's own."""
    tiny: bool = False
    """Build the detectors' tiny versions: the same code path, for tests."""
    limit_batches: int | None = Field(None, ge=1)
    """Most batches of an epoch, for a try; null takes all."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients make one optimiser step: larger batches than memory holds."""
    compile: bool = False
    """Compile the networks with torch.compile: minutes at the start, faster steps afterwards, last digits differ."""
    logger: Literal["csv", "tensorboard", "wandb", "mlflow"] | None = None
    """Also follow training with this logger of Lightning's (tensorboard, wandb and mlflow are extra packages)."""
    num_workers: int | None = Field(None, ge=0)
    """Processes that load and augment images; null is 0 on a CPU (which trains meanwhile); beside GPUs, as
    many as there are CPUs for each."""
    num_threads: int | None = Field(None, ge=1)
    """CPU threads of torch; null leaves torch's choice. Another number changes results in the last digits."""
    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, gpu, mps."""
    devices: int | None = Field(None, ge=1)
    """Devices (processes) a machine; null is one on a CPU, all that there are otherwise."""
    num_nodes: int = Field(1, ge=1)
    """Machines; start one process each through torchrun."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """How training images are varied."""
