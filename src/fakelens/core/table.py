"""A table of words: its Markdown, and CSV that a spreadsheet reads as what it is."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A spreadsheet takes a cell that begins so for a formula, and a file's name is anybody's choice.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """A table of words."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells that stand out."""

    def markdown_of_one(self) -> str:
        """As `markdown`, of one thing that the first column would name in each row; says so where there is no row."""
        return Table(self.head[1:], tuple(row[1:] for row in self.rows)).markdown() if self.rows else "None."

    def markdown(self, *, is_marked_up: bool = False) -> str:
        """GitHub's Markdown table; what would be markup in a name is escaped, but where cells are Markdown of ours."""
        escaped = [[cell if is_marked_up else plain(cell) for cell in row] for row in (self.head, *self.rows)]
        for row, column in self.best:
            escaped[row + 1][column] = f"**{escaped[row + 1][column]}**"
        escaped.insert(1, ["---"] * len(self.head))
        return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is, in one line: a name is anybody's choice."""
    return re.sub(r"([|*<>\\\[\]`&])", r"\\\1", " ".join(text.splitlines()))


def csv_bytes(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file: UTF-8 with the mark that spreadsheets know it by, and no cell that one takes for a formula."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(head)
    for row in rows:
        writer.writerow([harmless(cell) for cell in row])
    return buffer.getvalue().encode("utf-8-sig", "backslashreplace")


def harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
