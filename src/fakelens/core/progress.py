"""Progress of long work: stages speak to a Reporter, and only the command line draws it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

POSITION = "FAKELENS_POSITION"
"""Environment variable by which a run tells a process of its own which of how many stages it does."""


class Task(Protocol):
    """One running piece of work with a known length."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short current figure, such as a loss."""
        ...


class Reporter(Protocol):
    """The receiver of a stage's progress."""

    def say(self, text: str) -> None:
        """One line worth keeping."""
        ...

    def log(self, text: str) -> None:
        """One line for a log alone; a terminal has the progress display instead."""
        ...

    def task(self, title: str, total: float) -> AbstractContextManager[Task]:
        """A progress display of `total` steps that ends with the `with` block."""
        ...


class Numbered:
    """A Reporter that says before each line which of how many stages it is of (`position`: `[3/12]`)."""

    def __init__(self, reporter: Reporter, position: str) -> None:
        self._reporter, self.position = reporter, position

    def say(self, text: str) -> None:
        """One line with its position."""
        self._reporter.say(f"{self.position} {text}")

    def log(self, text: str) -> None:
        """One line with its position."""
        self._reporter.log(f"{self.position} {text}")

    def task(self, title: str, total: float) -> AbstractContextManager[Task]:
        """A progress display with its position."""
        return self._reporter.task(f"{self.position} {title}", total)


class Steps:
    """Reporters of so many stages in turn. An error that leaves the `with` block notes in which of them it came."""

    def __init__(self, reporter: Reporter, total: int) -> None:
        self._reporter, self._number, self._total = reporter, 0, total

    def __next__(self) -> Numbered:
        self._number += 1
        return Numbered(self._reporter, f"[{self._number}/{self._total}]")

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            error.add_note(f"[{self._number}/{self._total}]")


def numbered_by_parent(reporter: Reporter) -> Reporter:
    """The reporter of a command that a run may have started for one of its stages."""
    position = os.environ.get(POSITION)
    return Numbered(reporter, position) if position else reporter


class _SilentTask:
    def advance(self, steps: float = 1, note: str = "") -> None:
        """Nothing to draw."""


class Silent:
    """A Reporter that says nothing: the default for library use."""

    def say(self, text: str) -> None:
        """Nothing to say it to."""

    def log(self, text: str) -> None:
        """Nothing to say it to."""

    @contextmanager
    def task(self, title: str, total: float) -> Iterator[Task]:  # noqa: ARG002  the protocol's names
        """A task that is not drawn."""
        yield _SilentTask()


SILENT = Silent()
