"""The systems that are judged: bundles, ONNX files, trained detectors, and other systems' scores as CSV."""

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import StageRecord, load_record
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32, ImageU8, to_model_input
from fakelens.core.run_folder import DetectorFolder
from fakelens.core.scoring import OperatingPoint, Threshold, points_of
from fakelens.evaluation.calibration import calibrated
from fakelens.judging.folder import LabelledFolder
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.detector import OnnxDetector

_SHAPE = "its first line must name the columns image and score (or logit, instead of score; system may be a third)"


@dataclass(frozen=True)
class ForeignScores:
    """What one system says of a folder's pictures."""

    name: str
    path: Path
    probabilities: npt.NDArray[np.float64]
    """(N,) in the folder's order; NaN for a picture that cannot be decoded and has no score."""


@dataclass(frozen=True)
class _Line:
    """One line of a scores file, checked by itself."""

    where: str
    system: str
    image: str
    probability: float


def read_foreign_scores(path: Path, folder: LabelledFolder) -> tuple[ForeignScores, ...]:
    """Read the systems of one file, in the order of their first lines.

    Raises:
        ValueError: naming the file, the line and the remedy.
    """
    positions = {key: index for index, key in enumerate(folder.keys)}
    found: dict[str, dict[int, _Line]] = {}
    for line in _lines(path):
        index = positions.get(_key(line.image, folder.root))
        if index is None:
            raise FakelensError(
                f"{line.where}: {folder.root} has no picture {line.image!r}: "
                f"give paths relative to it, such as {folder.keys[0]}"
            )
        own = found.setdefault(line.system, {})
        if index in own:
            raise FakelensError(
                f"{line.where}: {line.image} has a score in {own[index].where} already: keep one of them"
            )
        own[index] = line
    if not found:
        raise FakelensError(f"{path} holds no score: write one line for each picture of {folder.root}")
    return tuple(_complete(name, path, own, folder) for name, own in found.items())


def _complete(name: str, path: Path, lines: dict[int, _Line], folder: LabelledFolder) -> ForeignScores:
    missing = [index for index in range(len(folder)) if index not in lines]
    # A picture that cannot be decoded is left out for all systems, so nobody owes a score for it.
    owed = next((index for index in missing if folder.refusal(index) is None), None)
    if owed is not None:
        raise FakelensError(
            f"{path}: {name} has no score for {len(missing)} of {len(folder)} pictures of {folder.root}, such as "
            f"{folder.keys[owed]}: add their lines, all systems are judged on the same pictures"
        )
    values = [lines[index].probability if index in lines else math.nan for index in range(len(folder))]
    return ForeignScores(name, path, np.array(values, dtype=np.float64))


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            kind = _score_column(path, list(reader.fieldnames or []))
            for row in reader:
                yield _line(f"{path}, line {reader.line_num}", row, kind, path.stem)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FakelensError(f"{path} cannot be read as a CSV file in UTF-8 ({reason}): {_SHAPE}") from error


def _score_column(path: Path, columns: list[str]) -> str:
    kinds = [kind for kind in ("score", "logit") if kind in columns]
    if "image" not in columns or len(kinds) != 1 or len(set(columns)) < len(columns):
        raise FakelensError(f"{path}, line 1: the columns are {', '.join(columns) or 'missing'}: {_SHAPE}")
    return kinds[0]


def _line(where: str, row: dict[str | Any, str | Any], kind: str, stem: str) -> _Line:
    # DictReader puts what a line has too much under None, and None where it has too little.
    if None in row or None in row.values():
        raise FakelensError(f"{where}: not as many cells as columns: put cells that hold a comma in double quotes")
    system = " ".join(row.get("system", stem).split())
    if not system.isprintable() or not system:
        raise FakelensError(f"{where}: the system has no name that can be printed: name it")
    return _Line(where, system, row["image"], _probability(where, row[kind], kind))


def _probability(where: str, text: str, kind: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FakelensError(f"{where}: the {kind} {text!r} is not a number: write it as 0.93") from error
    if kind == "logit" and math.isfinite(value):
        return float(calibrated(np.array([value]), 1.0)[0])
    if kind == "score" and 0 <= value <= 1:
        return value
    wanted = "finite" if kind == "logit" else "between 0 and 1 (call the column logit if these are logits)"
    raise FakelensError(f"{where}: the {kind} {text} should be {wanted}, higher meaning more likely AI-generated")


def _key(image: str, root: Path) -> str:
    """How the folder calls a path that is relative to it, or absolute and inside it."""
    path = os.path.normpath(image)
    for base in (os.path.abspath(root), os.path.realpath(root)):  # noqa: PTH100  links are kept in the first
        if path.startswith(base + os.sep):
            path = os.path.relpath(path, base)
    return Path(path).as_posix()


DEFAULT_POINTS = (OperatingPoint(None, Threshold()),)


"""For what brings no thresholds of its own."""


@dataclass(frozen=True)
class OpenedModel:
    """One model, whatever it was loaded from."""

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


def open_models(paths: Iterable[Path]) -> tuple[OpenedModel, ...]:
    """Every model that the paths name; a bundle is all of its models.

    Raises:
        ValueError: naming the path and the remedy, when one is not a model, damaged, or given twice.
    """
    return _told_apart([model for path in paths for model in _open(path)])


def _open(path: Path) -> list[OpenedModel]:
    if path.is_dir():
        bundle = Bundle.open(path)
        return [_of_onnx(bundle.detector(model.name), path / model.file) for model in bundle.models]
    if path.suffix == ".onnx":
        return [_of_onnx(OnnxDetector(_checked(path, path.with_name("export.json"))), path)]
    if path.suffix == ".safetensors":
        return [_of_checkpoint(path)]
    raise FakelensError(f"{path} is not a model: give a .safetensors checkpoint, an .onnx file or a bundle's folder")


def _of_onnx(detector: OnnxDetector, path: Path) -> OpenedModel:
    return OpenedModel(
        detector.name, path, detector.variant, detector.input_px, detector.stored_px, detector.score,
        detector.temperature, detector.operating_points, detector.demo,
    )  # fmt: skip


def _of_checkpoint(path: Path) -> OpenedModel:
    from fakelens.detectors.checkpoint import TorchScorer, load_checkpoint

    network, info = load_checkpoint(_checked(path, DetectorFolder(path.parent).train_record))
    scorer = TorchScorer(network, info)
    record, note = _evaluation_of(path)
    temperature = 1.0 if record is None else float(record.results["temperature"])
    points = DEFAULT_POINTS if record is None else points_of(record.results["operating_points"])

    def score(images_nchw: ImageF32) -> npt.NDArray[np.float64]:
        return calibrated(scorer.logits(images_nchw), temperature)

    return OpenedModel(
        info.detector, path, "checkpoint", scorer.input_px, info.stored_px, score,
        temperature, points, info.demo, note,
    )  # fmt: skip


def _checked(path: Path, record: Path) -> Path:
    """The path, compared with its hash where the record of the stage that wrote it lies beside it."""
    if record.is_file() and path.name in (outputs := load_record(record)).outputs:
        return outputs.output(path.name)
    return path


def _evaluation_of(checkpoint: Path) -> tuple[StageRecord | None, str | None]:
    """The record of `fakelens evaluate` beside a checkpoint, or why there is none to go by."""
    path = DetectorFolder(checkpoint.parent).evaluate_record
    if not path.exists():
        fault = "was never judged on validation pictures"
    else:
        record, trained = load_record(path), DetectorFolder(checkpoint.parent).train_record
        # A checkpoint that was copied elsewhere with its evaluation alone is taken at its word.
        if not trained.exists() or load_record(trained).digest == record.inputs.get("train"):
            return record, None
        fault = "was trained again since it was judged on validation pictures"
    return None, f"{checkpoint} {fault}, so its temperature is 1: `fakelens evaluate DETECTOR` calibrates it"


def _told_apart(models: Sequence[OpenedModel]) -> tuple[OpenedModel, ...]:
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
