"""How scores become verdicts and how thoroughly they are judged: a part of the recipe."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from fakelens.core.config import Settings


class EvaluationSettings(Settings):
    """How scores become verdicts and how thoroughly they are judged."""

    uncertain_band: float = Field(0.1, ge=0, lt=0.5)
    """Probabilities closer to 0.5 than this are called uncertain; the risk-coverage plot shows what a width costs."""
    false_positive_rates: tuple[float, ...] = (0.01, 0.05)
    """Shares of validation photographs called fake for which a threshold is kept beside the one at 0.5."""
    verdicts_at: float | None = None
    """Which of those rates decides the verdicts of `predict` and the app; null is the threshold at 0.5."""
    num_resamples: int = Field(1000, ge=100, le=100_000)
    """Bootstrap resamples behind every 95 % interval."""
    robustness_images: int = Field(300, ge=0)
    """Test pictures, half of them fake, that the robustness sweep degrades; 0 leaves the sweep out."""

    @field_validator("false_positive_rates")
    @classmethod
    def _rates_make_sense(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < rate < 1 for rate in rates) or len(set(rates)) < len(rates):
            raise ValueError(
                f"rates must be different numbers between 0 and 1, such as [0.01, 0.05], not {list(rates)}"
            )
        return tuple(sorted(rates))

    @model_validator(mode="after")
    def _verdicts_have_a_threshold(self) -> Self:
        rates = self.false_positive_rates
        if self.verdicts_at is not None and self.verdicts_at not in rates:
            raise ValueError(f"verdicts_at {self.verdicts_at:g} must be one of false_positive_rates {list(rates)}")
        return self
