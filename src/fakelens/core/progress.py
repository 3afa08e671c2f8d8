"""Progress of long work: stages speak to a Reporter, and only the command line draws it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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
    """A Reporter that says before each line which of how many stages it is of."""

    def __init__(self, reporter: Reporter, number: int, total: int) -> None:
        self._reporter, self._position = reporter, f"[{number}/{total}]"

    def say(self, text: str) -> None:
        """One line with its position."""
        self._reporter.say(f"{self._position} {text}")

    def log(self, text: str) -> None:
        """One line with its position."""
        self._reporter.log(f"{self._position} {text}")

    def task(self, title: str, total: float) -> AbstractContextManager[Task]:
        """A progress display with its position."""
        return self._reporter.task(f"{self._position} {title}", total)


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
