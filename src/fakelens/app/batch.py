"""Many verdicts in; the rows of a table, a CSV and a JSON file out. A refused file is a row with its reason."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from fakelens.app.view import Judged, Refused

# A spreadsheet takes a cell that begins so for a formula, and a file's name is anybody's choice.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """One file; the names are those of `fakelens predict --json`, and what the page alone knows."""

    path: str
    detector: str
    probability: float | None
    verdict: str | None
    error: str | None
    cautions: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    """What the file says of itself."""


def row(detector: str, shown: Judged | Refused) -> Row:
    """The row of one file under one detector."""
    if isinstance(shown, Refused):
        return Row(shown.name, detector, None, None, shown.message)
    said = tuple(f"{statement.origin}: {statement.says}" for statement in shown.statements)
    words = tuple(caution.words for caution in shown.cautions)
    return Row(shown.name, detector, round(shown.probability, 6), str(shown.verdict), None, words, said)


def as_json(rows: Sequence[Row]) -> bytes:
    """All rows as one JSON array."""
    return json.dumps([asdict(one) for one in rows], ensure_ascii=False, indent=1).encode()


def as_csv(rows: Sequence[Row]) -> bytes:
    """All rows as CSV that a spreadsheet reads as text and numbers, never as formulas."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(Row.__dataclass_fields__)
    for one in rows:
        cells = asdict(one) | {"cautions": " ".join(one.cautions), "statements": "; ".join(one.statements)}
        writer.writerow(harmless(cell) for cell in cells.values())
    return buffer.getvalue().encode("utf-8-sig")  # the mark is what makes spreadsheets read UTF-8


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
