"""The meaning of a score: thresholds, operating points, verdicts, and their words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from fakelens.core.errors import FakelensError

# The numeric label of each class; `probability` is always that of FAKE.
REAL, FAKE = 0, 1
LABELS = ("real", "fake")

# What public data sets call the two classes; each word has one meaning. Numbers and truth values are not among them: of
# two widely used data sets one calls the fakes 0, the other 1.
_REAL_WORDS = {"real", "reals", "photo", "photos", "photograph", "photographs"}
_REAL_WORDS |= {"authentic", "genuine", "natural", "nature", "human"}
_FAKE_WORDS = {"fake", "fakes", "ai", "aigc", "generated", "synthetic", "deepfake", "deepfakes"}
_NEUTRAL_WORDS = {"image", "images", "img", "imgs", "picture", "pictures", "face", "faces"}
_NEUTRAL_WORDS |= {"train", "training", "val", "test", "class"}


def label_of(value: object, label_values: Mapping[str, str] = MappingProxyType({})) -> int | None:
    """The label that a folder's name or a label column's value states: `1_fake`, `REAL`, `ai-generated images`.

    Args:
        value: its text counts.
        label_values: a text -> real or fake (`data.label_values`); has the last word.

    Returns:
        None where the meaning is not certain.
    """
    text = str(value)
    if text in label_values:
        return LABELS.index(label_values[text])
    words = [word for word in re.split(r"[\W_]+|(?<=\d)(?=\D)", text.casefold()) if word and not word.isdecimal()]
    labels = {
        REAL if word in _REAL_WORDS else FAKE if word in _FAKE_WORDS else None
        for word in words
        if word not in _NEUTRAL_WORDS
    }
    return labels.pop() if len(labels) == 1 else None


class Verdict(StrEnum):
    """The three verdicts on a picture."""

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
        """The reason why the rate may not hold: there were too few photographs to show it."""
        rate, num = self.false_positive_rate, self.num_photographs
        if rate is None or num is None or rate * num >= 1:
            return None
        return (
            f"{100 * rate:g} % false alarms cannot be verified with {num} validation photographs, one of which is "
            f"already {100 / num:.2g} %: the true rate may be higher"
        )


def points_of(plain: Iterable[Mapping[str, Any]]) -> tuple[OperatingPoint, ...]:
    """Operating points out of their JSON form.

    Raises:
        FakelensError: when it does not fit.
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
        FakelensError: naming the rates that there are.
    """
    for point in points:
        if point.false_positive_rate == rate:
            return point
    known = ", ".join(f"{p.false_positive_rate:g}" for p in points if p.false_positive_rate is not None) or "none"
    raise FakelensError(f"no threshold was kept for a false-positive rate of {rate}: choose one of {known}")


def capital(words: str) -> str:
    """The words with their first letter in upper case."""
    return words[:1].upper() + words[1:]


def percent(share: float, decimals: int | None = None) -> str:
    """A share of one: `40 %`, `97.5 %`; to three digits unless the number of decimals is given."""
    return f"{100 * share:.3g} %" if decimals is None else f"{100 * share:.{decimals}f} %"


def probability_words(probability: float) -> str:
    """A probability to a tenth of a percent that never claims to be certain."""
    if probability >= 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"
