"""How scores become verdicts: a part of the recipe."""

from pydantic import Field

from fakelens.core.config import Settings
from fakelens.core.scoring import Threshold


class EvaluationSettings(Settings):
    """How scores become verdicts."""

    uncertain_band: float = Field(0.1, ge=0, lt=0.5)
    """Probabilities closer to 0.5 than this are called uncertain."""

    @property
    def threshold(self) -> Threshold:
        """The verdict thresholds that the band means."""
        return Threshold(round(0.5 - self.uncertain_band, 6), round(0.5 + self.uncertain_band, 6))
