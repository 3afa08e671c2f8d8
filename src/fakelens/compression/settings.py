"""How a detector is compressed: a part of the recipe."""

from pydantic import Field

from fakelens.core.config import Settings


class CompressSettings(Settings):
    """How `fakelens compress` makes a compact detector, and whether `fakelens run` does."""

    in_run: bool = True
    """Whether `fakelens run` compresses the detectors that are too large, and ships the compact ones in their place."""
    target_mb: float | None = Field(None, gt=0)
    """Largest size of the static INT8 file in MB (10^6 bytes); null takes each detector's own."""
    steps: int = Field(3, ge=1)
    """In how many steps channels are removed, each followed by training."""
    epochs: int = Field(3, ge=1)
    """Epochs of training after each step, at most train.max_epochs."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate after each step; null takes that with which the full detector was trained."""
    teacher_weight: float = Field(0.5, ge=0, le=1)
    """Share of the full detector's probability in what is learnt, the rest being the label."""
    round_to: int = Field(8, ge=1)
    """Every layer keeps a multiple of this many channels: what vector instructions work on at once."""
