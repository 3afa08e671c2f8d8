"""Another system's scores as a CSV file in; one checked probability for each picture of a folder out."""

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.labelled_folder import LabelledFolder

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
