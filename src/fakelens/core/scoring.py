"""The meaning of a score: thresholds, operating points, verdicts, and their words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fakelens.core.errors import FakelensError

# The numeric label of each class; `probability` is always that of FAKE.
REAL, FAKE = 0, 1
LABELS = ("real", "fake")
# Words whose meaning is certain, in lower case; a leading class number, as in `0_real`, is dropped before.
_MEANINGS = {
    **dict.fromkeys(("real", "photo", "photograph", "nature", "natural", "human", "authentic"), REAL),
    **dict.fromkeys(("fake", "ai", "generated", "ai-generated", "ai_generated", "synthetic", "deepfake"), FAKE),
}


def label_of(word: str, meaning: Mapping[str, str]) -> int | None:
    """The label that a word stands for: as a setting says, or where that is certain; None where it is not."""
    if word in meaning:
        return LABELS.index(meaning[word])
    return _MEANINGS.get(re.sub(r"^[01][_-]", "", word.strip().lower()))


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
            raise FakelensError(f"thresholds must satisfy 0 <= real <= fake <= 1, not {self.real}, {self.fake}")

    def verdict(self, probability: float) -> Verdict:
        """The verdict on a picture that is AI-generated with this probability."""
        if probability >= self.fake:
            return Verdict.FAKE
        return Verdict.REAL if probability < self.real else Verdict.UNCERTAIN


@dataclass(frozen=True)
class OperatingPoint:
    """A pair of thresholds and why they stand where they stand."""

    false_positive_rate: float | None
    """Share of validation photographs at or above the upper threshold; None for the thresholds around 0.5."""
    threshold: Threshold
    num_photographs: int | None = None
    """Validation photographs that a rate was measured on; None for the thresholds around 0.5."""

    @property
    def words(self) -> str:
        """For a person: `at 0.5`, `1 % false alarms`."""
        rate = self.false_positive_rate
        return "at 0.5" if rate is None else f"{100 * rate:g} % false alarms"

    @property
    def caution(self) -> str | None:
        """Why the rate may not hold: there were too few photographs to show it."""
        rate, num = self.false_positive_rate, self.num_photographs
        if rate is None or num is None or rate * num >= 1:
            return None
        return (
            f"{100 * rate:g} % false alarms cannot be shown on {num} validation photographs, one of which is already "
            f"{100 / num:.2g} %: expect more"
        )


def points_of(plain: Iterable[Mapping[str, Any]]) -> tuple[OperatingPoint, ...]:
    """Operating points out of their JSON form.

    Raises:
        ValueError: when it is none.
    """
    try:
        return tuple(
            OperatingPoint(p["false_positive_rate"], Threshold(**p["threshold"]), p.get("num_photographs"))
            for p in plain
        )
    except (KeyError, TypeError) as error:
        raise FakelensError(f"operating points are not as `fakelens evaluate` writes them ({error})") from error


def point_at(points: Sequence[OperatingPoint], rate: float | None) -> OperatingPoint:
    """The point for this false-positive rate, None being the thresholds around 0.5.

    Raises:
        ValueError: naming the rates that there are.
    """
    for point in points:
        if point.false_positive_rate == rate:
            return point
    known = ", ".join(f"{p.false_positive_rate:g}" for p in points if p.false_positive_rate is not None) or "none"
    raise FakelensError(f"no threshold was kept for a false-positive rate of {rate}: there are {known}")


def percent(share: float) -> str:
    """A share of one to at most three digits: `40 %`, `97.5 %`."""
    return f"{100 * share:.3g} %"


def probability_words(probability: float) -> str:
    """A probability to a tenth of a percent that never claims to be certain."""
    if probability >= 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"
