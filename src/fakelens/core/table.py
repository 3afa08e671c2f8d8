"""A table of words, and its Markdown."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of words."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells that stand out."""

    def without_first_column(self) -> "Table":
        """For a table of one thing that its first column would name in each row."""
        return Table(self.head[1:], tuple(row[1:] for row in self.rows))

    def markdown(self) -> str:
        """GitHub's Markdown table; what would be markup in a name is escaped."""
        escaped = [[re.sub(r"([|*<\\])", r"\\\1", cell) for cell in row] for row in (self.head, *self.rows)]
        for row, column in self.best:
            escaped[row + 1][column] = f"**{escaped[row + 1][column]}**"
        escaped.insert(1, ["---"] * len(self.head))
        return "\n".join("| " + " | ".join(row) + " |" for row in escaped)
