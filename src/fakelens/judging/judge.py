"""The judgement of several systems on one labelled folder."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import STORED_PX, Container, ImageRefused
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE, LABELS, OperatingPoint
from fakelens.dataset.audit import Audit, audit_container
from fakelens.evaluation.metrics import SetMetrics, summarise
from fakelens.evaluation.significance import Comparison, compare
from fakelens.judging.folder import Examined, LabelledFolder, Refused, SeenInTraining, manifests_near
from fakelens.judging.systems import DEFAULT_POINTS, ForeignScores, OpenedModel, open_models, read_foreign_scores
from fakelens.settings import EvaluationSettings

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


COLUMNS = ("image", "label", "group")


"""What stands before the systems' columns in `scores.csv`."""


# The audit's tree has leaves of five files and is cross-validated: from fewer it learns nothing, which is no null.
MIN_PER_LABEL_FOR_NULL = 20


# DeLong's variance is that of a sample.
_MIN_PER_LABEL_TO_COMPARE = 2


@dataclass(frozen=True)
class System:
    """One system's figures."""

    name: str
    origin: str
    """The file that it was loaded from, or its scores were."""
    temperature: float | None
    """None where only scores are known."""
    metrics: SetMetrics


@dataclass(frozen=True)
class Pair:
    """Two systems on the same pictures."""

    first: str
    second: str
    comparison: Comparison


@dataclass(frozen=True)
class Against:
    """Everything that is said of a folder; all figures are of the same pictures."""

    folder: str
    num_images: int
    num_fake: int
    systems: tuple[System, ...]
    pairs: tuple[Pair, ...]
    null: Audit | None
    """What the files' metadata alone would score; None where there are too few pictures to say."""
    refused: tuple[Refused, ...]
    near_training: tuple[str, ...]
    """Pictures that training or validation may have seen."""
    warnings: tuple[str, ...]
    """Why the figures may mean less than they seem to."""
    notes: tuple[str, ...]
    """What else a reader must know."""

    @property
    def null_words(self) -> str:
        """The null in one sentence, to stand beside each table."""
        if self.null is None:
            return (
                f"What the files' metadata alone would score is not known: that takes {MIN_PER_LABEL_FOR_NULL} "
                f"pictures of each label, here are {self.num_images - self.num_fake} real and {self.num_fake} fake."
            )
        return (
            f"The files' metadata alone, without a look at any pixel, scores {self.null.random_split:.3f} balanced "
            "accuracy on these pictures."
        )

    def as_json(self) -> dict[str, Any]:
        """As `against.json`: each system's block is as those of `metrics.json`."""
        plain = asdict(self)
        blocks = [
            {"name": s.name, "origin": s.origin, "temperature": s.temperature, **asdict(s.metrics)}
            for s in self.systems
        ]
        pairs = [{"first": p.first, "second": p.second, **asdict(p.comparison)} for p in self.pairs]
        return plain | {"systems": blocks, "pairs": pairs, "null_words": self.null_words}


def judge_folder(
    root: Path,
    models: Sequence[Path],
    scores: Sequence[Path],
    *,
    workdir: Path,
    settings: EvaluationSettings,
    seed: int,
    reporter: Reporter = SILENT,
) -> tuple[Against, ScoredFolder]:
    """Judge the pictures of `root` by every model, and put others' scores beside them.

    Args:
        root: holds real/ and fake/.
        models: checkpoints, ONNX files, bundles.
        scores: CSV files of other systems.
        workdir: whose training pictures the folder is compared with, beside those of the models' own runs.
        settings: of the intervals.
        seed: of the resampling and the null's folds.
        reporter: is told how far it is.

    Raises:
        ValueError: naming the remedy, when a file is not what it should be or one label is missing.
    """
    folder = LabelledFolder.open(root)
    # All that can be wrong with the input is found before hours of scoring.
    foreign = [system for path in scores for system in read_foreign_scores(path, folder)]
    opened = open_models(models)
    _check_names(opened, foreign)
    seen = SeenInTraining.of(manifests_near(workdir, models))
    scored = score_folder(folder, opened, foreign, reporter)
    return _figures(scored, opened, seen, settings, seed), scored


def _figures(
    scored: ScoredFolder, models: Sequence[OpenedModel], seen: SeenInTraining, settings: EvaluationSettings,
    seed: int,
) -> Against:  # fmt: skip
    labels = scored.pictures.labels
    counts = np.bincount(labels, minlength=2)
    near = seen.near(scored.hashes)
    comparable = counts.min() >= _MIN_PER_LABEL_TO_COMPARE
    return Against(
        folder=str(scored.pictures.root),
        num_images=len(labels),
        num_fake=int(counts[FAKE]),
        systems=tuple(_system(system, scored, settings, seed) for system in scored.systems),
        pairs=_pairs(scored) if comparable else (),
        null=audit_container(scored.columns, seed) if counts.min() >= MIN_PER_LABEL_FOR_NULL else None,
        refused=scored.refused,
        near_training=tuple(scored.pictures.keys[index] for index in near),
        warnings=_warnings(len(near), len(labels), seen, models),
        notes=_notes(scored, models, seen, comparable=bool(comparable)),
    )


def _system(system: ScoredSystem, scored: ScoredFolder, settings: EvaluationSettings, seed: int) -> System:
    summary = summarise(
        scored.pictures.labels, system.probabilities, scored.pictures.groups, system.points,
        seed=seed, num_resamples=settings.num_resamples,
    )  # fmt: skip
    return System(system.name, system.origin, system.temperature, summary)


def _pairs(scored: ScoredFolder) -> tuple[Pair, ...]:
    return tuple(
        Pair(one.name, other.name, compare(scored.pictures.labels, one.probabilities, other.probabilities))
        for one, other in itertools.combinations(scored.systems, 2)
    )


def _warnings(num_near: int, num_images: int, seen: SeenInTraining, models: Sequence[OpenedModel]) -> tuple[str, ...]:
    found = []
    if num_near:
        places = ", ".join(str(path.parent) for path in seen.manifests)
        found.append(
            f"near-duplicates of pictures used for training or validation ({places}): {num_near} of the {num_images} "
            "pictures. Figures on pictures that a detector was trained on mean nothing; against.json names them in "
            "near_training."
        )
    if demo := [model.name for model in models if model.demo]:
        found.append(
            f"trained on synthetic pictures made by fakelens, so that their verdicts mean nothing: {', '.join(demo)}"
        )
    return tuple(found)


def _notes(
    scored: ScoredFolder, models: Sequence[OpenedModel], seen: SeenInTraining, *, comparable: bool
) -> tuple[str, ...]:
    notes = [*scored.pictures.notes, *(model.note for model in models if model.note)]
    if not seen.manifests and models:
        notes.append(
            "the pictures were not compared with those used in training, no data/manifest.parquet was found: "
            "name the run's folder with --workdir"
        )
    if scored.refused:
        notes.append(f"left out for all systems, because they cannot be judged: {len(scored.refused)} pictures")
    if not comparable and len(scored.systems) > 1:
        notes.append("the systems are not tested against each other: that takes two pictures of each label")
    return tuple(notes)


def _check_names(models: Sequence[OpenedModel], foreign: Sequence[ForeignScores]) -> None:
    taken = set(COLUMNS) | {model.name for model in models}
    for system in foreign:
        if system.name in taken:
            raise FakelensError(
                f"{system.path}: a system or column is called {system.name!r} already: rename the file, or give the "
                "system another name in a column `system`"
            )
        taken.add(system.name)
