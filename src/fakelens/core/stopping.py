"""SIGINT and SIGTERM as an exception that libraries do not catch: the command ends in order, and its status says so."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_GRACE_S = 8.0
_AGAIN_S = 0.05
_SAME_S = 0.5  # Ctrl+C reaches every process of a run, and again by what its parent hands on
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
_LAUNCHERS = {"TORCHELASTIC_RUN_ID", "SLURM_PROCID"}


class Stopped(BaseException):
    """The end that a signal asked for. Not a KeyboardInterrupt, which Lightning would turn into a plain failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.status = number, 128 + number

    _said = False

    def say(self) -> None:
        """Say on stderr how to go on; once in a process."""
        if not Stopped._said:
            Stopped._said = True
            with contextlib.suppress(OSError):
                os.write(2, f"interrupted ({self}): run the same command again to go on\n".encode())

    def exit_at_once(self) -> None:
        """End the process, whatever hangs in it; not without a word, nor with the cursor that a bar has hidden."""
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")
        self.say()
        os._exit(self.status)


class _Handler:
    def __init__(self) -> None:
        self._pid = os.getpid()
        self.first: tuple[Stopped, float] | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked loader worker, whose parent ends the work in order
            os._exit(128 + number)
        if is_follower():
            # Lightning's own further processes are children of the first one; torchrun and Slurm watch theirs.
            if os.environ.get("LOCAL_RANK", "0") != "0" and not _LAUNCHERS & os.environ.keys():
                os.kill(os.getppid(), number)
            os._exit(128 + number)
        if self.first:
            stop, since_s = self.first
            if time.monotonic() - since_s > _SAME_S:  # a second one ends it at once
                stop.exit_at_once()
            return
        stop = Stopped(number)
        self.first = stop, time.monotonic()
        # What hangs in a library must not outlive the scheduler's patience.
        timer = threading.Timer(_GRACE_S, stop.exit_at_once)
        timer.daemon = True
        timer.start()
        raise stop


_active: list[_Handler] = []


def _raise_again(stop: Stopped) -> None:
    """Send the signal once more, in a moment: in a finaliser, where it came first, Python drops what is raised."""
    _active[-1].first = None
    timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), stop.number))
    timer.daemon = True
    timer.start()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise `Stopped` in the main thread; after it they are ignored.

    What follows is the interpreter's end, which one more signal would break off with a trace.
    """
    dropped = sys.unraisablehook
    _active.append(_Handler())
    take_signals_back()
    sys.unraisablehook = lambda event: (
        _raise_again(event.exc_value) if isinstance(event.exc_value, Stopped) else dropped(event)
    )
    try:
        yield
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.unraisablehook = dropped
        _active.pop()


def take_signals_back() -> None:
    """Undo what a library did to the handlers; does nothing outside of `stopped_by_signals`."""
    if _active and threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, _active[-1])


def is_follower() -> bool:
    """True in the second, third, … process of one training: only the first one writes, reports and goes on after it."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in _RANKS)
