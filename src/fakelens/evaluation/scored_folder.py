"""A labelled folder, models, others' scores in; the pictures that can be judged and every system's verdicts out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import STORED_PX, Container, ImageRefused
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import LABELS, OperatingPoint
from fakelens.evaluation.foreign_scores import ForeignScores
from fakelens.evaluation.labelled_folder import Examined, LabelledFolder, Refused
from fakelens.evaluation.opened import DEFAULT_POINTS, OpenedModel

_BATCH = 32


@dataclass(frozen=True)
class ScoredSystem:
    """One system's probabilities."""

    name: str
    origin: str
    """The file that it was loaded from, or its scores were."""
    temperature: float | None
    """None where only scores are known."""
    points: tuple[OperatingPoint, ...]
    probabilities: npt.NDArray[np.float64]
    """(N,) of being fake."""


@dataclass(frozen=True)
class ScoredFolder:
    """The pictures that all systems are judged on."""

    pictures: LabelledFolder
    containers: tuple[Container, ...]
    hashes: npt.NDArray[np.uint64]
    """(N, K) perceptual hashes of the squares of K stored sizes, which differ a little."""
    systems: tuple[ScoredSystem, ...]
    refused: tuple[Refused, ...]
    """Those left out."""

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """What `audit_container` looks at."""
        plain = [asdict(container) for container in self.containers]
        own = {name: [row[name] for row in plain] for name in plain[0]}
        return {**own, "label": self.pictures.labels.tolist(), "generator": self.pictures.groups.tolist()}


def score_folder(
    folder: LabelledFolder,
    models: Sequence[OpenedModel],
    foreign: Sequence[ForeignScores],
    reporter: Reporter = SILENT,
) -> ScoredFolder:
    """Decode every picture once and let all models score it; a batch of squares is all that memory holds.

    Raises:
        ValueError: when no picture of one label can be judged.
    """
    sides_px = sorted({model.stored_px for model in models}) or [STORED_PX]
    seen: dict[int, tuple[Container, tuple[int, ...]]] = {}
    refused: list[Refused] = []
    scores: list[list[npt.NDArray[np.float64]]] = [[] for _ in models]
    for batch in _batches(folder, sides_px, refused, reporter):
        seen |= {index: (examined.container, examined.phashes) for index, examined in batch.items()}
        for model, own in zip(models, scores, strict=True):
            side = sides_px.index(model.stored_px)
            own.append(model.probabilities(np.stack([examined.squares[side] for examined in batch.values()])))
    kept = np.array(list(seen), dtype=np.int64)
    pictures = folder.only(kept)
    _check_labels(pictures, refused)
    systems = [_of_model(model, np.concatenate(own)) for model, own in zip(models, scores, strict=True)]
    systems += [ScoredSystem(f.name, str(f.path), None, DEFAULT_POINTS, f.probabilities[kept]) for f in foreign]
    containers, hashes = zip(*seen.values(), strict=True)
    return ScoredFolder(pictures, containers, np.array(hashes, dtype=np.uint64), tuple(systems), tuple(refused))


def _batches(
    folder: LabelledFolder, sides_px: Sequence[int], refused: list[Refused], reporter: Reporter
) -> Iterator[dict[int, Examined]]:
    """The pictures that can be judged, by their number, a few at a time; the others join `refused`."""
    batch: dict[int, Examined] = {}
    with reporter.task("Judging pictures", len(folder)) as task:
        for index in range(len(folder)):
            try:
                batch[index] = folder.examine(index, sides_px)
            except ImageRefused as refusal:
                refused.append(Refused(folder.keys[index], str(refusal)))
            if len(batch) == _BATCH:
                yield batch
                batch = {}
            task.advance()
        if batch:
            yield batch


def _check_labels(pictures: LabelledFolder, refused: Sequence[Refused]) -> None:
    for label, name in enumerate(LABELS):
        if label not in pictures.labels:
            first = next(r for r in refused if r.image.startswith(f"{name}/"))
            raise FakelensError(
                f"no picture of {pictures.root / name} can be judged ({first.image}: {first.reason}): "
                "both labels are needed, add pictures that can be decoded"
            )


def _of_model(model: OpenedModel, probabilities: npt.NDArray[np.float64]) -> ScoredSystem:
    return ScoredSystem(model.name, str(model.path), model.temperature, model.points, probabilities)
