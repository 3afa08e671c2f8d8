"""The terminal: progress on stderr while a command runs, tables on stdout. Belongs to `cli`."""

import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakelens.core.errors import FakelensError, in_one_line
from fakelens.core.progress import Task
from fakelens.core.stopping import is_follower

if TYPE_CHECKING:
    from fakelens.core.scoring import Threshold
    from fakelens.judging.judge import JudgeResults
    from fakelens.runtime.judgement import Answer, Judgement

LOG_EVERY_S = 60
_WEAKEST_SHOWN = 10


class TerminalReporter:
    """Draws progress on a terminal (on stderr); elsewhere prints what is said, and once a minute how far it is.

    A bar appears with the first step after `quiet_s` seconds, so that short work leaves the terminal alone.
    """

    def __init__(self, quiet_s: float = 0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        # Of several processes of a training one is enough to read.
        self._console, self._silent = Console(stderr=True, quiet=is_follower()), is_follower()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
            speed_estimate_period=300,  # an estimate of half a minute jumps with each validation
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
        if self._silent:
            return
        if self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def log(self, text: str) -> None:
        if not self._console.is_terminal:
            self.say(text)

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
        self._done, self._first_s, self._said_s = 0.0, time.monotonic(), time.monotonic()
        self._first_done: float | None = None

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._done += steps
        if self._first_done is None:  # what an earlier run had done already tells nothing of the speed
            self._first_done = self._done
        if (now := time.monotonic()) - self._said_s >= LOG_EVERY_S:
            self._said_s = now
            share = self._done / max(self._total, self._done)
            words = [f"{self._title}: {100 * share:.0f} %"]
            if (new := self._done - self._first_done) > 0:
                left_s = round((now - self._first_s) / new * max(0.0, self._total - self._done))
                words.append(f"{left_s // 60:02d}:{left_s % 60:02d} left")
            self._say(", ".join([*words, *([note] if note else [])]))


def escape_what_cannot_be_printed() -> None:
    """Print what a pipe's encoding lacks, in names above all, as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def status_of(error: Exception) -> int:
    """Print an error that a user can mend; returns the exit status.

    Raises:
        Exception: what is none of that, a bug.
    """
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("fakelens"):
        words: str | None = f"{error.name} is not installed: pip install 'fakelens[train,app]'"
    elif isinstance(error, FakelensError):
        words = str(error)
    elif isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # by pathlib, before Python 3.13
        words = f"{error}: the links lead in a circle, check the path"
    else:
        words = in_one_line(error) if isinstance(error, OSError | MemoryError) else None
    if words is not None:
        where = "".join(f"{note} " for note in getattr(error, "__notes__", ()))
        print(f"error: {where}{words}", file=sys.stderr)
        return 1
    # typer's own wrong-use errors know how to show themselves and carry exit status 2.
    if not hasattr(error, "exit_code") or not hasattr(error, "show"):
        raise error
    error.show()
    return int(error.exit_code)


def json_line(row: Mapping[str, Any]) -> str:
    """One JSON object in one line that stdout can print; JSON's own escapes where its encoding lacks a character."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    return json.dumps(row, ensure_ascii=not encoding.startswith("utf"))


def own_command() -> str:
    """The command that started this program, so that a printed command can be pasted."""
    started = Path(sys.argv[0])
    if started.name == "fakelens" and str(started.parent) not in os.environ.get("PATH", "").split(os.pathsep):
        return shlex.quote(min(os.path.relpath(started), str(started.absolute()), key=len))
    return "fakelens"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, as wide as the terminal or 160 columns."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*map(escape, head))
    for row in rows:
        table.add_row(*map(escape, row))  # a file may be called [red].jpg
    Console(width=None if sys.stdout.isatty() else 160).print(table, highlight=False)


def print_verdicts(detector: str, threshold: "Threshold", answers: Sequence["Answer"]) -> None:
    """Print what `predict` found, a row for each file."""
    from fakelens.core.scoring import percent, probability_words
    from fakelens.runtime.judgement import Judgement

    if not any(isinstance(each, Judgement) for each in answers):
        for each in answers:
            print(f"error: {each.name} was not judged: {each.remarks[0]}", file=sys.stderr)
        return
    rows = [
        (each.name, each.words, probability_words(each.probability), " ".join(_remarks(each)))
        if isinstance(each, Judgement)
        else (each.name, "not judged", "", each.error)
        for each in answers
    ]
    print_table(("Picture", "Verdict", "Probability of AI", "Remarks"), rows)
    real, fake = percent(threshold.real), percent(threshold.fake)
    print(f"Judged by {detector}: below {real} a photograph, from {fake} AI-generated, uncertain between them.")


def _remarks(judgement: "Judgement") -> list[str]:
    """Those of this picture: that it is a demonstration is said once, before the table."""
    from fakelens.runtime.cautions import DEMO

    return [words for words in judgement.remarks if words != DEMO.words]


def print_judgement(results: "JudgeResults", page: Path, *, as_json: bool) -> None:
    """Print the results on a labelled folder: tables, or their JSON."""
    from fakelens.core.artifacts import to_json
    from fakelens.judging import write as tables

    for warning in results.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    for words in (*results.notes, *(f"left out {picture.image}: {picture.reason}" for picture in results.excluded)):
        print(f"note: {words}", file=sys.stderr)
    if as_json:
        print(to_json(results.as_json()), end="")
        return
    groups = tables.groups_table(results, at_most=_WEAKEST_SHOWN)
    shown = {"": tables.main_table(results), "The weakest generators and origins": groups}
    shown |= {tables.pairs_note(results): tables.pairs_table(results)} if results.pairs else {}
    for title, table in shown.items():
        print(f"\n{title}" if title else title)
        print_table(table.head, table.rows)
    print(results.null_words)
    print(f"\nEverything: {page}")
