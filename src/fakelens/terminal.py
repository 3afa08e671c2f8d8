"""The terminal: progress on stderr while a command runs, tables on stdout. Belongs to `cli`."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fakelens.core.progress import Task

LOG_EVERY_S = 60


class TerminalReporter:
    """Draws progress on a terminal (on stderr); elsewhere prints what is said, and once a minute how far it is.

    A bar appears with the first step after `quiet_s` seconds, so that short work leaves the terminal alone.
    """

    def __init__(self, quiet_s: float = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

        self._quiet_s = quiet_s

    def __enter__(self) -> "TerminalReporter":
        self._drawn_from_s = time.monotonic() + self._quiet_s
        if not self._quiet_s:
            self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Task]:
        number = self._progress.add_task(title, total=total, note="")
        try:
            if self._console.is_terminal:
                yield _TerminalTask(self._progress, number, self._drawn_from_s)
            else:
                yield _LogTask(title, total, self.say)
        finally:
            self._progress.remove_task(number)


class _TerminalTask:
    def __init__(self, progress: Any, number: Any, drawn_from_s: float) -> None:
        self._progress, self._number, self._drawn_from_s = progress, number, drawn_from_s

    def advance(self, steps: float = 1, note: str = "") -> None:
        if time.monotonic() >= self._drawn_from_s and not self._progress.live.is_started:
            self._progress.start()
        self._progress.update(self._number, advance=steps, note=note)


class _LogTask:
    def __init__(self, title: str, total: float, say: Callable[[str], None]) -> None:
        self._title, self._total, self._say = title, total, say
        self._done, self._said_s = 0.0, time.monotonic()

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._done += steps
        if time.monotonic() - self._said_s >= LOG_EVERY_S:
            self._said_s = time.monotonic()
            self._say(f"{self._title}: {100 * self._done / max(self._total, self._done):.0f} %{note and f', {note}'}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, as wide as the terminal or 160 columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*map(escape, head))
    for row in rows:
        table.add_row(*map(escape, row))  # a file may be called [red].jpg
    Console(width=None if sys.stdout.isatty() else 160).print(table, highlight=False)
