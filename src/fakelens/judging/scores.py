"""Every system's scores of a labelled folder's pictures: systems and folder in, the scores of the same pictures out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import STORED_PX, Container, ImageRefused
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import LABELS, OperatingPoint
from fakelens.dataset.duplicates import doubles
from fakelens.evaluation.scores import BATCH
from fakelens.judging.folder import DecodedPicture, ExcludedPicture, LabelledFolder
from fakelens.judging.foreign import ForeignScores
from fakelens.judging.systems import DEFAULT_POINTS, Model


@dataclass(frozen=True)
class SystemScores:
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
class FolderScores:
    """The pictures that all systems are judged on, and their scores."""

    pictures: LabelledFolder
    containers: tuple[Container, ...]
    hashes: npt.NDArray[np.uint64]
    """(N, K) perceptual hashes of the squares of K stored sizes, which differ a little."""
    systems: tuple[SystemScores, ...]
    undecodable: tuple[ExcludedPicture, ...]
    """Those left out because they cannot be decoded."""
    under_both_labels: tuple[ExcludedPicture, ...]
    """Those left out because a copy lies under the other label, so that nobody knows which is right."""

    @property
    def excluded(self) -> tuple[ExcludedPicture, ...]:
        """All that are left out."""
        return self.undecodable + self.under_both_labels

    @property
    def columns(self) -> Mapping[str, Sequence[Any]]:
        """The columns that `audit_container` looks at."""
        plain = [asdict(container) for container in self.containers]
        own = {name: [row[name] for row in plain] for name in plain[0]}
        return {**own, "label": self.pictures.labels.tolist(), "generator": self.pictures.groups.tolist()}


def score_folder(
    folder: LabelledFolder,
    models: Sequence[Model],
    foreign: Sequence[ForeignScores],
    reporter: Reporter = SILENT,
) -> FolderScores:
    """Decode every picture once and let all models score it; a batch of squares is all that memory holds.

    Raises:
        FakelensError: when no picture of one label can be judged.
    """
    sides_px = sorted({model.stored_px for model in models}) or [STORED_PX]
    decoded: dict[int, DecodedPicture] = {}
    undecodable: list[ExcludedPicture] = []
    scores: list[list[npt.NDArray[np.float64]]] = [[] for _ in models]
    for batch in _batches(folder, sides_px, undecodable, reporter):
        for model, own in zip(models, scores, strict=True):
            side = sides_px.index(model.stored_px)
            own.append(model.probabilities(np.stack([picture.squares[side] for picture in batch.values()])))
        decoded |= {index: replace(picture, squares=()) for index, picture in batch.items()}
    positions = np.array(list(decoded), dtype=np.int64)
    pictures = folder.only(positions)
    _check_labels(pictures, undecodable)
    systems = [
        SystemScores(model.name, str(model.path), model.temperature, model.points, np.concatenate(own))
        for model, own in zip(models, scores, strict=True)
    ]
    systems += [SystemScores(f.name, str(f.path), None, DEFAULT_POINTS, f.probabilities[positions]) for f in foreign]
    containers = tuple(picture.container for picture in decoded.values())
    hashes = np.array([picture.phashes for picture in decoded.values()], dtype=np.uint64)
    thumbnails = np.stack([picture.thumbnail for picture in decoded.values()])
    scored = FolderScores(pictures, containers, hashes, tuple(systems), tuple(undecodable), ())
    return _without_doubles(scored, thumbnails)


def _without_doubles(scored: FolderScores, thumbnails: npt.NDArray[np.uint8]) -> FolderScores:
    """The scores without pictures that lie under both labels.

    Raises:
        FakelensError: when nothing of one label is left.
    """
    keys = scored.pictures.keys
    double_of = doubles(scored.hashes[:, 0], scored.pictures.labels, thumbnails.__getitem__)
    excluded = tuple(
        ExcludedPicture(
            keys[index],
            f"the same picture has the other label as {keys[double_of[index]]}",
            int(scored.pictures.labels[index]),
        )
        for index in sorted(double_of)
    )
    kept = np.array([index for index in range(len(keys)) if index not in double_of], dtype=np.int64)
    pictures = scored.pictures.only(kept)
    _check_labels(pictures, excluded)
    return FolderScores(
        pictures,
        tuple(scored.containers[index] for index in kept),
        scored.hashes[kept],
        tuple(replace(system, probabilities=system.probabilities[kept]) for system in scored.systems),
        scored.undecodable,
        excluded,
    )


def _batches(
    folder: LabelledFolder, sides_px: Sequence[int], undecodable: list[ExcludedPicture], reporter: Reporter
) -> Iterator[dict[int, DecodedPicture]]:
    """The pictures that can be decoded, by their number, a few at a time; the others join `undecodable`."""
    batch: dict[int, DecodedPicture] = {}
    with reporter.task("Judging pictures", len(folder)) as task:
        for index in range(len(folder)):
            try:
                batch[index] = folder.picture(index, sides_px)
            except ImageRefused as refusal:
                undecodable.append(ExcludedPicture(folder.keys[index], str(refusal), int(folder.labels[index])))
            if len(batch) == BATCH:
                yield batch
                batch = {}
            task.advance()
        if batch:
            yield batch


def _check_labels(pictures: LabelledFolder, excluded: Sequence[ExcludedPicture]) -> None:
    for label, name in enumerate(LABELS):
        if label not in pictures.labels:
            first = next(picture for picture in excluded if picture.label == label)
            raise FakelensError(
                f"no {name} picture of {pictures.root} can be judged ({first.image}: {first.reason}): "
                "both labels are needed, add pictures that can be decoded and lie under one label"
            )
