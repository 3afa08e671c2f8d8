"""The judgement of several systems on one labelled folder: folder, models and scores in, figures out."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE
from fakelens.dataset.audit import Audit, audit_container
from fakelens.evaluation.metrics import SetMetrics, summarise
from fakelens.evaluation.significance import Comparison, compare
from fakelens.judging.folder import ExcludedPicture, LabelledFolder, TrainingPictures, manifests_near
from fakelens.judging.foreign import ForeignScores, read_foreign_scores
from fakelens.judging.scores import FolderScores, SystemScores, score_folder
from fakelens.judging.systems import Model, implausibilities, open_models
from fakelens.settings import EvaluationSettings

COLUMNS = ("image", "label", "group")
"""What stands before the systems' columns in `scores.csv`."""

# The audit's tree has leaves of five files and is cross-validated: from fewer it learns nothing, which is no null.
MIN_PER_LABEL_FOR_NULL = 20
# DeLong's variance is that of a sample.
_MIN_PER_LABEL_TO_COMPARE = 2


@dataclass(frozen=True)
class SystemResults:
    """One system's figures."""

    name: str
    origin: str
    """The file that it was loaded from, or its scores were."""
    temperature: float | None
    """None where only scores are known."""
    metrics: SetMetrics


@dataclass(frozen=True)
class SystemPair:
    """Two systems on the same pictures."""

    first: str
    second: str
    comparison: Comparison


@dataclass(frozen=True)
class JudgeResults:
    """Every system's figures on a folder; all are of the same pictures."""

    folder: str
    num_images: int
    num_fake: int
    systems: tuple[SystemResults, ...]
    pairs: tuple[SystemPair, ...]
    null: Audit | None
    """What the files' metadata alone would score; None where there are too few pictures to say."""
    excluded: tuple[ExcludedPicture, ...]
    """Pictures that the figures leave out, for all systems."""
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
    label_values: Mapping[str, str] = MappingProxyType({}),
    reporter: Reporter = SILENT,
) -> tuple[JudgeResults, FolderScores]:
    """Judge the pictures of `root` by every model, and put others' scores beside them.

    Args:
        root: holds real/ and fake/.
        models: checkpoints, ONNX files, bundles.
        scores: CSV files of other systems.
        workdir: whose training pictures the folder is compared with, beside those of the models' own runs.
        settings: of the intervals.
        seed: of the resampling and the null's folds.
        label_values: a folder's name -> real or fake, where its name does not say so.
        reporter: is told how far it is.

    Raises:
        FakelensError: naming the remedy, when a file is not what it should be or one label is missing.
    """
    folder = LabelledFolder.open(root, label_values)
    # All that can be wrong with the input is found before hours of scoring.
    foreign = [system for path in scores for system in read_foreign_scores(path, folder)]
    local = open_models(models)
    _check_names(local, foreign)
    training = TrainingPictures.of(manifests_near(workdir, models))
    scored = score_folder(folder, local, foreign, reporter)
    return _results(scored, local, foreign, training, settings, seed), scored


def _results(
    scored: FolderScores, models: Sequence[Model], foreign: Sequence[ForeignScores], training: TrainingPictures,
    settings: EvaluationSettings, seed: int,
) -> JudgeResults:  # fmt: skip
    labels = scored.pictures.labels
    counts = np.bincount(labels, minlength=2)
    near = training.near(scored.hashes)
    systems = tuple(_system(system, scored, settings, seed) for system in scored.systems)
    comparable = counts.min() >= _MIN_PER_LABEL_TO_COMPARE
    return JudgeResults(
        folder=str(scored.pictures.root),
        num_images=len(labels),
        num_fake=int(counts[FAKE]),
        systems=systems,
        pairs=_pairs(scored) if comparable else (),
        null=audit_container(scored.columns, seed) if counts.min() >= MIN_PER_LABEL_FOR_NULL else None,
        excluded=scored.excluded,
        near_training=tuple(scored.pictures.keys[index] for index in near),
        warnings=(
            *_training_warnings(len(near), len(labels), training, models),
            *_label_warnings(scored),
            *(f"{system.name}: {warning}" for system in foreign for warning in system.warnings),
            *_score_warnings(scored, systems),
        ),
        notes=_notes(scored, models, training, comparable=bool(comparable)),
    )


def _system(system: SystemScores, scored: FolderScores, settings: EvaluationSettings, seed: int) -> SystemResults:
    summary = summarise(
        scored.pictures.labels, system.probabilities, scored.pictures.groups, system.points,
        seed=seed, num_resamples=settings.num_resamples,
    )  # fmt: skip
    return SystemResults(system.name, system.origin, system.temperature, summary)


def _pairs(scored: FolderScores) -> tuple[SystemPair, ...]:
    return tuple(
        SystemPair(one.name, other.name, compare(scored.pictures.labels, one.probabilities, other.probabilities))
        for one, other in itertools.combinations(scored.systems, 2)
    )


def _training_warnings(
    num_near: int, num_images: int, training: TrainingPictures, models: Sequence[Model]
) -> list[str]:
    warnings = []
    if num_near:
        places = ", ".join(str(path.parent) for path in training.manifests)
        warnings.append(
            f"near-duplicates of pictures used for training or validation ({places}): {num_near} of the {num_images} "
            "pictures. Figures on pictures that a detector was trained on mean nothing; against.json names them in "
            "near_training."
        )
    if demo := [model.name for model in models if model.demo]:
        warnings.append(
            "trained on synthetic pictures made by fakelens, so that their verdicts on real pictures mean nothing: "
            + ", ".join(demo)
        )
    return warnings


def _label_warnings(scored: FolderScores) -> list[str]:
    num = len(scored.under_both_labels)
    if not num:
        return []
    return [
        f"{num} pictures lie under both labels, as copies or saved again: which label is right is not known, so both "
        "are left out of all figures. Likely cause: a slip when sorting, or data sets put together"
    ]


def _score_warnings(scored: FolderScores, systems: Sequence[SystemResults]) -> list[str]:
    return [
        f"{system.name}: {warning}"
        for scores, system in zip(scored.systems, systems, strict=True)
        for warning in implausibilities(
            scores.probabilities, system.metrics, is_model=system.temperature is not None
        )
    ]  # fmt: skip


def _notes(
    scored: FolderScores, models: Sequence[Model], training: TrainingPictures, *, comparable: bool
) -> tuple[str, ...]:
    notes = [*scored.pictures.notes, *(model.note for model in models if model.note)]
    if not training.manifests and models:
        notes.append(
            "the pictures were not compared with those used in training, no data/manifest.parquet was found: "
            "name the run's folder with --workdir"
        )
    if scored.undecodable:
        notes.append(f"left out for all systems, because they cannot be decoded: {len(scored.undecodable)} pictures")
    if not comparable and len(scored.systems) > 1:
        notes.append("the systems are not tested against each other: that takes two pictures of each label")
    return tuple(notes)


def _check_names(models: Sequence[Model], foreign: Sequence[ForeignScores]) -> None:
    names = set(COLUMNS) | {model.name for model in models}
    for system in foreign:
        if system.name in names:
            raise FakelensError(
                f"{system.path}: a system or column is called {system.name!r} already: rename the file, or give the "
                "system another name in a column `system`"
            )
        names.add(system.name)
