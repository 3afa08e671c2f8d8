"""What a score means: the Scorer protocol, and from a probability to a verdict."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fakelens.core.imaging import ImageF32

# The numeric label of each class; `probability` is always that of FAKE.
REAL, FAKE = 0, 1
LABELS = ("real", "fake")


class Verdict(StrEnum):
    """What is said about one picture."""

    FAKE = "fake"
    REAL = "real"
    UNCERTAIN = "uncertain"


VERDICT_WORDS = {
    Verdict.FAKE: "likely AI-generated",
    Verdict.REAL: "likely a photograph",
    Verdict.UNCERTAIN: "uncertain",
}


@dataclass(frozen=True)
class Threshold:
    """Where a probability becomes a verdict: at or above `fake` it is fake, below `real` real, between uncertain."""

    real: float = 0.4
    fake: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.real <= self.fake <= 1:
            raise ValueError(f"thresholds must satisfy 0 <= real <= fake <= 1, not {self.real}, {self.fake}")

    def verdict(self, probability: float) -> Verdict:
        """The verdict on a picture that is AI-generated with this probability."""
        if probability >= self.fake:
            return Verdict.FAKE
        return Verdict.REAL if probability < self.real else Verdict.UNCERTAIN


class Scorer(Protocol):
    """Anything that gives probabilities: a torch checkpoint and an ONNX file score alike."""

    name: str
    input_px: int

    def score(self, images_nchw: ImageF32) -> ImageF32:
        """(N, 3, input_px, input_px) float32 RGB in [0, 1] to (N,) probabilities that the image is fake."""
        ...
