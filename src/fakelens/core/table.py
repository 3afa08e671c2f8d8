"""A table of words, and its Markdown."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of words."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def transposed(self) -> "Table":
        """Rows as columns."""
        head, *rows = zip(self.head, *self.rows, strict=True)
        return Table(head, tuple(rows))

    def markdown(self) -> str:
        """GitHub's Markdown table; what would be markup in a name is escaped."""
        lines = [self.head, tuple("---" for _ in self.head), *self.rows]
        return "\n".join(
            "| " + " | ".join(re.sub(r"([|*<\\])", r"\\\1", cell) for cell in line) + " |" for line in lines
        )
