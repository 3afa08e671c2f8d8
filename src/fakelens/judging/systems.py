"""Systems on a labelled folder, and warnings about implausible scores."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.config import read_as
from fakelens.core.artifacts import load_record
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32, ImageU8, to_model_input
from fakelens.core.run_folder import EXPORT_RECORD, DetectorFolder
from fakelens.core.scoring import LABELS, OperatingPoint, Threshold
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.metrics import EvaluateResults, SetMetrics
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.detector import OnnxDetector

DEFAULT_POINTS = (OperatingPoint(None, Threshold()),)
"""For what brings no thresholds of its own."""


@dataclass(frozen=True)
class Model:
    """A system that scores pictures here, whatever it was loaded from."""

    name: str
    """Different for each of the models that were opened together."""
    path: Path
    variant: str
    """`checkpoint`, or what `fakelens export` calls the ONNX file."""
    input_px: int
    stored_px: int
    score: Callable[[ImageF32], npt.NDArray[np.floating]]
    """(N, 3, input_px, input_px) float32 RGB in [0, 1] to (N,) calibrated probabilities of being fake."""
    temperature: float
    points: tuple[OperatingPoint, ...]
    demo: bool
    note: str | None = None
    """What a reader of its figures must know."""

    def probabilities(self, squares_nhwc: ImageU8) -> npt.NDArray[np.float64]:
        """(N, stored_px, stored_px, 3) uint8 to (N,) calibrated probabilities of being fake."""
        return self.score(to_model_input(squares_nhwc, self.input_px)).astype(np.float64)


def open_models(paths: Iterable[Path]) -> tuple[Model, ...]:
    """Every model that the paths name; a bundle is all of its models.

    Raises:
        FakelensError: naming the path and the remedy, when one is not a model, damaged, or given twice.
    """
    return _with_distinct_names([model for path in paths for model in _models_of(path)])


def _models_of(path: Path) -> list[Model]:
    if path.is_dir():
        bundle = Bundle.open(path)
        return [_of_onnx(bundle.detector(model.name), path / model.file) for model in bundle.models]
    if path.suffix == ".onnx":
        return [_of_onnx(OnnxDetector(_checked(path, path.with_name(EXPORT_RECORD))), path)]
    if path.suffix == ".safetensors":
        return [_of_checkpoint(path)]
    raise FakelensError(f"{path} is not a model: give a .safetensors checkpoint, an .onnx file or a bundle's folder")


def _of_onnx(detector: OnnxDetector, path: Path) -> Model:
    return Model(
        detector.name, path, detector.variant, detector.input_px, detector.stored_px, detector.score,
        detector.temperature, detector.operating_points, detector.demo,
    )  # fmt: skip


def _of_checkpoint(path: Path) -> Model:
    from fakelens.detectors.checkpoint import TorchScorer, load_checkpoint

    network, info = load_checkpoint(_checked(path, DetectorFolder(path.parent).train_record))
    scorer = TorchScorer(network, info)
    judged, note = _evaluation_of(path)
    temperature = judged.temperature if judged else 1.0
    points = judged.operating_points if judged else DEFAULT_POINTS

    def score(images_nchw: ImageF32) -> npt.NDArray[np.float64]:
        return calibrated(scorer.logits(images_nchw), temperature)

    return Model(
        info.detector, path, "checkpoint", scorer.input_px, info.stored_px, score,
        temperature, points, info.demo, note,
    )  # fmt: skip


def _checked(path: Path, record: Path) -> Path:
    """The path, compared with its hash where the record of the stage that wrote it lies beside it."""
    if record.is_file() and path.name in (outputs := load_record(record)).outputs:
        return outputs.output(path.name)
    return path


def _evaluation_of(checkpoint: Path) -> tuple[EvaluateResults | None, str | None]:
    """Record of `fakelens evaluate` beside a checkpoint, or the reason why there is none to go by."""
    path = DetectorFolder(checkpoint.parent).evaluate_record
    if not path.exists():
        fault = "was never judged on validation pictures"
    else:
        record, trained = load_record(path), DetectorFolder(checkpoint.parent).train_record
        # A checkpoint that was copied elsewhere with its evaluation alone is taken at its word.
        if not trained.exists() or load_record(trained).digest == record.made_of.train:
            return read_as(EvaluateResults, record.results, path), None
        fault = "was trained again since it was judged on validation pictures"
    return None, f"{checkpoint} {fault}, so its temperature is 1: `fakelens evaluate DETECTOR` calibrates it"


def _with_distinct_names(models: Sequence[Model]) -> tuple[Model, ...]:
    """The shortest names that tell the models apart: the detector, with its variant, or with its path."""
    named = (
        [model.name for model in models],
        [f"{model.name} ({model.variant})" for model in models],
        [f"{model.name} ({model.path})" for model in models],
    )
    for names in named:
        if len(set(names)) == len(models):
            return tuple(replace(model, name=name) for model, name in zip(models, names, strict=True))
    twice = next(name for name in named[-1] if named[-1].count(name) > 1)
    raise FakelensError(f"{twice} was given twice: name each model once")


# Worse than chance by this much is no accident, unless the pictures are so few that chance reaches it.
_REVERSED_AUC = 0.4
_STANDARD_ERRORS = 2


def implausibilities(probabilities: npt.NDArray[np.float64], metrics: SetMetrics, *, is_model: bool) -> list[str]:
    """Warnings about (N,) probabilities of being fake, each with its likely cause; empty for sound ones.

    Args:
        probabilities: of one system.
        metrics: that follow from them.
        is_model: whether the system ran here, rather than handing in its scores.
    """
    values = np.unique(probabilities)
    if len(values) == 1:
        cause = "its training failed" if is_model else "a wrong column, or a default in the place of failed calls"
        return [f"every picture has the same score, {values[0]:.3g}: likely cause: {cause}"]
    texts = []
    if metrics.auc < min(_REVERSED_AUC, 0.5 - _STANDARD_ERRORS * _auc_error_by_chance(metrics)):
        exchanged = "the pictures of real/ and fake/ are exchanged"
        turned = (
            "it scores being a photograph (then give 1 - score, 100 - percent or the logit with the other sign), or "
        )
        other = "" if is_model else turned
        texts.append(f"scores are reversed, AUC {metrics.auc:.3f}: likely cause: {other}{exchanged}")
    if set(values) == {0.0, 1.0}:
        texts.append(
            "all scores are 0 or 1: likely cause: verdicts instead of probabilities, whose AUC and calibration error "
            "say less"
        )
    elif values[0] >= 0.5 or values[-1] < 0.5:
        label = LABELS[int(values[0] >= 0.5)]
        cause = (
            "pictures unlike those that it was trained on" if is_model else
            "its threshold is not 0.5, or the score is not the probability of being AI-generated but, say, the "
            "confidence in a verdict"
        )  # fmt: skip
        texts.append(
            f"every picture counts as {label} at 0.5, with scores from {values[0]:.4g} to {values[-1]:.4g}: likely "
            f"cause: {cause}"
        )
    return texts


def _auc_error_by_chance(metrics: SetMetrics) -> float:
    """Standard error of the AUC of scores that know nothing (Mann and Whitney 1947)."""
    num_real, num_fake = map(sum, metrics.confusion_matrix)
    return float(np.sqrt((num_real + num_fake + 1) / (12 * num_real * num_fake)))
