"""Robustness: a detector and a split in; its logits on degraded pictures, and what each degradation costs, out.

Only `sweep` scores anything. All figures follow from its table, like those of `evaluation.scores`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32, ImageU8
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.store import SplitData
from fakelens.evaluation.degradations import STEPS, Step, degrade
from fakelens.evaluation.scores import BATCH, ScoreTable, score_batches

_STREAM = 9
_AS_STORED = Step("none", "as stored", 0, ())


@dataclass(frozen=True)
class RobustnessScores(ScoreTable):
    """One row per step and picture; step 0 is the undegraded pictures, and each step has the same ones in order."""

    step: npt.NDArray[np.int64]
    family: npt.NDArray[np.str_]
    step_label: npt.NDArray[np.str_]
    severity: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]
    """The picture's place in its split."""

    def of(self, step: int) -> Self:
        """The rows of one step."""
        return self.where(self.step == step)


@dataclass(frozen=True)
class StepFigures:
    """Figures of one degradation; all but the first four are shares or areas, 0 to 1."""

    family: str
    label: str
    severity: int
    num_images: int
    auc: float
    balanced_accuracy: float
    recall: float
    """Share of the degraded fakes that are called fake."""
    flips: float
    """Share of the verdicts that are not those on the undegraded pictures."""
    false_positive_rate: float
    """Share of the degraded photographs that are called fake."""
    false_positive_rate_as_stored: float
    """The same of the undegraded photographs."""
    one_class_auc: float
    """AUC of degraded photographs against undegraded fakes: it falls when degradation itself is taken for fake."""


def sweep(
    score_logits: Callable[[ImageF32], ImageF32],
    data: SplitData,
    input_px: int,
    num_images: int,
    seed: int,
    reporter: Reporter = SILENT,
) -> RobustnessScores:
    """Score a class-balanced choice of at most `num_images` pictures, as stored and after every step.

    `score_logits` takes (N, 3, input_px, input_px) float32 to (N,), at most 32 pictures at a time; no more than these
    are held at once.

    Raises:
        FakelensError: when the choice would lack photographs or fakes.
    """
    labels = data.labels
    chosen = _choice(labels, num_images, seed)
    parts = []
    with reporter.task("Scoring degraded pictures", (1 + len(STEPS)) * len(chosen)) as task:
        for number, step in enumerate((_AS_STORED, *STEPS)):
            batches = _batches(data, chosen, step, seed)
            logits = score_batches(score_logits, batches, input_px, task, f"{step.family}, {step.label}")
            parts.append(_table(number, step, chosen, labels[chosen], logits))
    return RobustnessScores.joined(parts)


def summarise(scores: RobustnessScores) -> tuple[StepFigures, ...]:
    """The figures of every step in order, the undegraded pictures' first; verdicts are at 0.5."""
    stored = scores.of(0)
    return tuple(_figures(scores.of(step), stored) for step in np.unique(scores.step).tolist())


def _choice(labels: npt.NDArray[np.int64], num_images: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of as many photographs as fakes, ascending; a larger choice contains a smaller one."""
    of_each = [np.flatnonzero(labels == label) for label in (REAL, FAKE)]
    num_each = min(num_images // 2, *(len(indices) for indices in of_each))
    if num_each < 1:
        raise FakelensError(
            "robustness needs photographs and fakes: give it at least 2 pictures, and some of each kind"
        )
    rng = np.random.default_rng((seed, _STREAM))
    return np.sort(np.concatenate([rng.permutation(indices)[:num_each] for indices in of_each]))


def _batches(data: SplitData, chosen: npt.NDArray[np.int64], step: Step, seed: int) -> Iterator[ImageU8]:
    for start in range(0, len(chosen), BATCH):
        indices = chosen[start : start + BATCH]
        squares = data.squares[indices]
        if step is _AS_STORED:
            yield squares
            continue
        # The stream belongs to the picture, so that its noise is the same in any choice and only grows with the steps.
        streams = [np.random.default_rng((seed, _STREAM, index)) for index in indices.tolist()]
        yield np.stack([degrade(square, step, rng) for square, rng in zip(squares, streams, strict=True)])


def _table(
    number: int,
    step: Step,
    indices: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
) -> RobustnessScores:
    return RobustnessScores(
        step=np.full(len(indices), number),
        family=np.full(len(indices), step.family),
        step_label=np.full(len(indices), step.label),
        severity=np.full(len(indices), step.severity),
        index=indices,
        label=labels,
        logit=logits,
    )


def _figures(degraded: RobustnessScores, stored: RobustnessScores) -> StepFigures:
    from sklearn.metrics import roc_auc_score

    assert np.array_equal(degraded.index, stored.index), "a step must have the undegraded pictures, in their order"
    fake = stored.label == FAKE
    # A logit of 0 is a probability of 0.5 at any temperature.
    said, said_before = (scores.logit >= 0 for scores in (degraded, stored))
    recall, alarms = float(said[fake].mean()), float(said[~fake].mean())
    return StepFigures(
        family=str(degraded.family[0]),
        label=str(degraded.step_label[0]),
        severity=int(degraded.severity[0]),
        num_images=len(degraded),
        auc=float(roc_auc_score(fake, degraded.logit)),
        balanced_accuracy=(recall + 1 - alarms) / 2,
        recall=recall,
        flips=float(np.mean(said != said_before)),
        false_positive_rate=alarms,
        false_positive_rate_as_stored=float(said_before[~fake].mean()),
        one_class_auc=float(roc_auc_score(fake, np.where(fake, stored.logit, degraded.logit))),
    )
