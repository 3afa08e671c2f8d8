"""Search for the static quantisation that keeps a detector's verdicts: decided on validation, the cheapest first."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.imaging import ImageF32
from fakelens.core.progress import Task
from fakelens.core.records import GateResult
from fakelens.export.quantize import Candidate, StaticQuantizer, logits

# What onnxruntime does unasked comes first: it costs nothing and is enough for some networks. 8-bit weights come last.
CANDIDATES = (
    Candidate(rounding="nearest"),
    Candidate("MovingAverage"),
    Candidate("MinMax"),
    Candidate("Entropy"),
    Candidate("Percentile"),
    Candidate("MovingAverage", symmetric=True),
)
_SENSITIVITY_IMAGES = 64
_MOST_GROUPS = 16

Judge = Callable[[Path], GateResult]
"""The gate's figures of a file on the validation split."""


@dataclass(frozen=True)
class Tried:
    """One way of quantising and its figures on the validation split."""

    candidate: Candidate
    agreement: float
    accuracy_drop: float
    auc_drop: float
    passed: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For the record."""
        return {"words": self.candidate.words, **asdict(self)}


class Search:
    """Tries ways of quantising one detector, and keeps every outcome."""

    def __init__(self, quantizer: StaticQuantizer, judge: Judge, scratch: Path, limit_s: float, task: Task) -> None:
        """Nothing new is begun after `limit_s` seconds, but each search tries at least one way."""
        self._quantizer, self._judge, self._scratch, self._task = quantizer, judge, scratch, task
        self._until_s = time.monotonic() + limit_s
        self._files: dict[Candidate, Path] = {}
        self.tried: list[Tried] = []

    def file_of(self, tried: Tried) -> Path:
        """The file that was judged, in the scratch folder."""
        return self._files[tried.candidate]

    @property
    def has_time(self) -> bool:
        """Whether the limit is not yet reached."""
        return time.monotonic() < self._until_s

    def static(self, enough: float) -> Tried:
        """The best way without a node in float; ends at one that passes with agreement of `enough`."""
        return self._best(CANDIDATES, enough)

    def mixed(self, start: Candidate, fp32: Path, images_nchw: ImageF32, enough: float) -> Tried:
        """`start` with those groups of nodes in float that cost it most: one, then two, four, …"""
        costly = self.costly_groups(start, fp32, images_nchw)
        ways = []
        num = 1
        while num <= max(1, len(costly) // 2):  # with more in float there is little left to gain
            names = tuple(name for group in costly[:num] for name in group)
            ways.append(replace(start, float_nodes=names))
            num *= 2
        return self._best(ways, enough)

    def costly_groups(self, start: Candidate, fp32: Path, images_nchw: ImageF32) -> list[tuple[str, ...]]:
        """Groups of consecutive nodes, the one whose return to float brings the logits nearest to fp32's first."""
        images = images_nchw[:_SENSITIVITY_IMAGES]
        expected = logits(fp32.read_bytes(), images)
        errors = []
        for group in _joined(self._quantizer.groups):
            path = self._scratch / "sensitivity.onnx"
            self._quantizer.write(path, replace(start, float_nodes=group))
            errors.append((float(np.mean((logits(path.read_bytes(), images) - expected) ** 2)), group))
            self._task.advance(0, f"{len(errors)} groups of nodes tried in float")
            if not self.has_time:
                break
        return [group for _, group in sorted(errors)]

    def _best(self, ways: Sequence[Candidate], enough: float) -> Tried:
        here: list[Tried] = []
        for candidate in ways:
            if here and not self.has_time:
                break
            here.append(self._try(candidate))
            if here[-1].passed and here[-1].agreement >= enough:
                break
        self.tried += here
        return max(here, key=lambda one: (one.passed, one.agreement, -one.auc_drop))

    def _try(self, candidate: Candidate) -> Tried:
        self._task.advance(0, candidate.words)
        started_s = time.monotonic()
        path = self._files[candidate] = self._scratch / f"candidate-{len(self._files)}.onnx"
        self._quantizer.write(path, candidate)
        result = self._judge(path)
        seconds = round(time.monotonic() - started_s, 1)
        return Tried(candidate, result.agreement, result.accuracy_drop, result.auc_drop, not result.reasons, seconds)


def _joined(groups: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """At most `_MOST_GROUPS` runs of consecutive groups."""
    for part in np.array_split(np.arange(len(groups)), min(_MOST_GROUPS, len(groups))):
        yield tuple(name for index in part for name in groups[index])
