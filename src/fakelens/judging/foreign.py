"""Scores of other systems: a CSV file and the folder it is about in, each system's probabilities out."""

import csv
import math
import os
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.evaluation.calibration import calibrated
from fakelens.judging.folder import LabelledFolder

_KINDS = ("score", "logit", "percent")
_SHAPE = (
    "its first line must name the columns image and score, separated by commas (logit or percent in the place of "
    "score; system may be a third)"
)
_MAX_SHOWN = 160
_NO_NUMBER = ("", "none", "null", "na", "n/a", "error")
# Sums of float32 may exceed 1 by their last digit.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class ForeignScores:
    """One system's scores of a folder's pictures."""

    name: str
    path: Path
    probabilities: npt.NDArray[np.float64]
    """(N,) in the folder's order; NaN for a picture that cannot be decoded and has no score."""
    warnings: tuple[str, ...] = ()
    """Why the scores may not be what the file calls them."""


@dataclass(frozen=True)
class _Line:
    """One line of a scores file, checked by itself."""

    where: str
    system: str
    image: str
    value: float
    """In the unit of its column."""


def read_foreign_scores(path: Path, folder: LabelledFolder) -> tuple[ForeignScores, ...]:
    """Read the systems of one file, in the order of their first lines.

    Raises:
        FakelensError: naming the file, the line and the remedy.
    """
    names = _Names(folder)
    kind, lines = _read(path)
    systems: dict[str, dict[int, _Line]] = {}
    unread: dict[str, list[str]] = {}
    for line in lines:
        own = systems.setdefault(line.system, {})
        index = names.position(line)
        if index is None:
            unread.setdefault(line.system, []).append(line.image)
            continue
        if index in own:
            raise FakelensError(
                f"{line.where}: {line.image} has a score in {own[index].where} already: keep one of them"
            )
        own[index] = line
    if not any(systems.values()):
        raise FakelensError(f"{path} holds no score: write one line for each picture of {folder.root}")
    return tuple(_complete(name, path, kind, own, unread.get(name, []), folder) for name, own in systems.items())


def _complete(
    name: str, path: Path, kind: str, lines: dict[int, _Line], unread: Sequence[str], folder: LabelledFolder
) -> ForeignScores:
    _check_range(kind, list(lines.values()))
    missing = [index for index in range(len(folder)) if index not in lines]
    # A picture that cannot be decoded is left out for all systems, so nobody owes a score for it.
    owed = next((index for index in missing if folder.refusal(index) is None), None)
    if owed is not None:
        raise FakelensError(
            f"{path}: {name} has no score for {len(missing)} of {len(folder)} pictures of {folder.root}, such as "
            f"{folder.keys[owed]}: add their lines, all systems are judged on the same pictures"
        )
    given = np.array([lines[index].value if index in lines else math.nan for index in range(len(folder))])
    warnings = _unit_warnings(kind, given[np.isfinite(given)])
    if unread:
        warnings.append(f"{len(unread)} scores are of files that are not listed as pictures, such as {unread[0]}")
    return ForeignScores(name, path, _probabilities(kind, given), tuple(warnings))


def _probabilities(kind: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if kind == "logit":
        return calibrated(values, 1.0)
    return np.clip(values / (100 if kind == "percent" else 1), 0, 1)


class _Names:
    """The folder's pictures by any name that a file of scores may give them."""

    def __init__(self, folder: LabelledFolder) -> None:
        self._folder = folder
        self._positions = {key: index for index, key in enumerate(folder.keys)}
        # macOS hands out decomposed names (NFD), most other systems composed ones (NFC).
        self._same: dict[str, list[int]] = {}
        for index, key in enumerate(folder.keys):
            self._same.setdefault(_composed(key), []).append(index)

    def position(self, line: _Line) -> int | None:
        """The picture that a line is about; None for a file of the folder that is not listed as a picture.

        Raises:
            FakelensError: when the folder has no such file, or two.
        """
        spellings = list(_spellings(line.image, self._folder.root))
        for spelling in spellings:
            if spelling in self._positions:
                return self._positions[spelling]
        for same in filter(None, (self._same.get(_composed(spelling)) for spelling in spellings)):
            if len(same) > 1:
                both = " and ".join(ascii(self._folder.keys[index]) for index in same)
                raise FakelensError(
                    f"{line.where}: {line.image!r} may be any of {both}, whose names differ in their Unicode form "
                    "alone: rename one of the files"
                )
            return same[0]
        if any(spelling and (self._folder.root / spelling).is_file() for spelling in spellings):
            return None
        raise FakelensError(
            f"{line.where}: {self._folder.root} has no picture {line.image!r}: "
            f"give paths relative to it, such as {self._folder.keys[0]}"
        )


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _spellings(image: str, root: Path) -> Iterator[str]:
    """Spellings of a path in the folder: relative to it, absolute, below the folder's own name; with either slash."""
    bases = [Path(os.path.abspath(root)), Path(os.path.realpath(root))]  # noqa: PTH100  links are kept in the first
    own_names = {_composed(base.name) for base in bases}
    for text in dict.fromkeys((image, image.replace("\\", "/"))):
        path = PurePosixPath(os.path.normpath(text) if text else "")
        if not path.is_absolute() and ".." not in path.parts:
            yield path.as_posix()
        for base in bases:
            if path.is_relative_to(base.as_posix()):
                yield path.relative_to(base.as_posix()).as_posix()
        for depth, part in enumerate(path.parts, start=1):
            if _composed(part) in own_names:
                yield PurePosixPath(*path.parts[depth:]).as_posix()


def _read(path: Path) -> tuple[str, list[_Line]]:
    """The column that scores stand in, and all lines.

    Raises:
        FakelensError: naming the file, the line and the remedy.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            kind = _score_column(path, list(reader.fieldnames or []))
            return kind, [_line(f"{path}, line {reader.line_num}", row, kind, path.stem) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FakelensError(f"{path} cannot be read as a CSV file in UTF-8 ({reason}): {_SHAPE}") from error


def _score_column(path: Path, columns: list[str]) -> str:
    kinds = [kind for kind in _KINDS if kind in columns]
    if "image" not in columns or len(kinds) != 1 or len(set(columns)) < len(columns):
        names = textwrap.shorten(", ".join(columns) or "missing", _MAX_SHOWN, placeholder="…")
        raise FakelensError(f"{path}, line 1: the columns are {names}: {_SHAPE}")
    return kinds[0]


def _line(where: str, row: dict[str | Any, str | Any], kind: str, stem: str) -> _Line:
    # DictReader puts what a line has too much under None, and None where it has too little.
    if None in row or None in row.values():
        raise FakelensError(f"{where}: not as many cells as columns: put cells that hold a comma in double quotes")
    system = " ".join(row.get("system", stem).split())
    if not system.isprintable() or not system:
        raise FakelensError(f"{where}: the system has no name that can be printed: name it")
    return _Line(where, system, row["image"], _number(where, row[kind], kind))


def _number(where: str, text: str, kind: str) -> float:
    failed = "likely cause: the system failed on this picture (have it score it again, or take it out of the folder)"
    try:
        value = float(text)
    except ValueError as error:
        remedy = failed if text.strip().lower() in _NO_NUMBER else "write it as 0.93"
        raise FakelensError(f"{where}: the {kind} {text!r} is not a number: {remedy}") from error
    if not math.isfinite(value):
        raise FakelensError(f"{where}: the {kind} {text} is not a finite number: {failed}")
    return value


def _check_range(kind: str, lines: Sequence[_Line]) -> None:
    """Refuse a system whose numbers cannot be what their column's name says.

    Raises:
        FakelensError: naming the first such line and what the numbers look like.
    """
    upper = {"score": 1.0, "percent": 100.0, "logit": math.inf}[kind]
    slack = 0.0 if kind == "logit" else upper * _ROUNDING
    lower = -math.inf if kind == "logit" else -slack
    first = next((line for line in lines if not lower <= line.value <= upper + slack), None)
    if first is not None:
        low, high = min(line.value for line in lines), max(line.value for line in lines)
        raise FakelensError(
            f"{first.where}: the {kind} {first.value:g} should be between 0 and {upper:g}, higher meaning more likely "
            f"AI-generated. Those of {first.system} go from {low:g} to {high:g}: {_likely_unit(low, high)}"
        )


def _likely_unit(low: float, high: float) -> str:
    logits = "likely cause: they are logits (call the column logit)"
    if low < 0 and high <= 0:
        return "likely cause: they are logarithms of probabilities (write their exponentials)"
    if low >= -1 and high <= 1:
        return f"{logits} or go from -1 to 1 (write half of 1 + score)"
    if low >= 0:
        percent = "likely cause: they are percent (call the column percent)"
        return f"{percent} or logits (call the column logit)" if high <= 100 else "likely cause: another scale"
    return logits


def _unit_warnings(kind: str, values: npt.NDArray[np.float64]) -> list[str]:
    """Doubts about numbers that their column allows, but seldom holds."""
    low, high = float(values.min()), float(values.max())
    if kind == "score" or not 0 <= low <= high:
        return []
    numbers = f"the column {kind} holds numbers from {low:g} to {high:g}: likely cause: they are"
    if high <= 1:
        return [f"{numbers} probabilities (call the column score)"]
    if kind == "logit" and 20 < high <= 100:
        return [f"{numbers} percent (call the column percent)"]
    return []
