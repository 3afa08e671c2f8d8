"""A table of words, as Markdown or HTML."""

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table on its way to HTML or Markdown."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def transposed(self) -> "Table":
        """Rows as columns."""
        head, *rows = zip(self.head, *self.rows, strict=True)
        return Table(head, tuple(rows))

    def markdown(self) -> str:
        """GitHub's Markdown table."""
        lines = [self.head, tuple("---" for _ in self.head), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

    def html(self) -> str:
        """An HTML table; every cell escaped."""
        head = "".join(f"<th scope=col>{html.escape(cell)}</th>" for cell in self.head)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in self.rows)
        return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
