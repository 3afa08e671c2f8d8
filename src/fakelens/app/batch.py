"""Many answers in; a CSV and a JSON file out. A refused file is a row with its reason."""

import csv
import io
import json
from collections.abc import Sequence

from fakelens.runtime.judgement import COLUMNS, Answer

# A spreadsheet takes a cell that begins so for a formula, and a file's name is anybody's choice.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_json(answers: Sequence[Answer]) -> bytes:
    """All rows as one JSON array."""
    return json.dumps([answer.as_dict() for answer in answers], ensure_ascii=False, indent=1).encode()


def as_csv(answers: Sequence[Answer]) -> bytes:
    """All rows as CSV that a spreadsheet reads as text and numbers, never as formulas."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for answer in answers:
        row = answer.as_dict()
        cells = row | {"cautions": " ".join(row["cautions"]), "marks": "; ".join(row["marks"])}
        writer.writerow(harmless(cell) for cell in cells.values())
    return buffer.getvalue().encode("utf-8-sig")  # the mark is what makes spreadsheets read UTF-8


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
