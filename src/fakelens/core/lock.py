"""One process at a time in a folder: a lock that names the process that holds it, and falls with it."""

import contextlib
import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fakelens.core.errors import FolderInUseError
from fakelens.core.run_folder import LOCK
from fakelens.core.stopping import Stopped, is_follower

PARENT = "FAKELENS_PARENT_PID"
"""Environment variable by which a process lets its children work in the folder that it holds."""
# A second opening and closing in one process would drop the system's lock: nested holders only count.
_held: set[Path] = set()


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold `folder`, which must exist, for this process, its children and the other processes of its training.

    The system drops the lock when the process ends, however it ends, so that a stale one is simply taken over.

    Raises:
        FolderInUseError: naming the process that holds it.
        Stopped: when the parent, which should hold it, is gone.
    """
    place = folder.resolve()
    if place in _held or is_follower():
        yield
        return
    with (place / LOCK).open("a+", encoding="utf-8") as file:
        if not _locked(file):
            holder = _holder(place)
            if str(holder.get("pid")) == os.environ.get(PARENT):
                with _beside_its_holder(place, file):
                    yield
                return
            raise FolderInUseError(
                f"{folder} is in use by {_words(holder)}: wait until that ends, or choose another folder with --workdir"
            )
        if PARENT in os.environ:  # it was killed before this process could wait for its lock
            raise Stopped(signal.SIGTERM)
        file.truncate(0)
        json.dump(
            {
                "pid": os.getpid(),
                "host": platform.node(),
                "command": shlex.join(["fakelens", *sys.argv[1:]]),
                "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            },
            file,
        )
        file.flush()
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)
            # Emptied, not removed: a process that has just opened it would lock a file that nobody else sees.
            file.truncate(0)


@contextlib.contextmanager
def _beside_its_holder(place: Path, file: Any) -> Iterator[None]:
    """Work in a folder that the parent holds. Should that be killed, take its lock over at once, and end in order."""
    over = threading.Event()

    def wait() -> None:
        with contextlib.suppress(ModuleNotFoundError, OSError, ValueError):
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX)  # woken at once: no new command is that quick
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
    _held.add(place)
    try:
        yield
    finally:
        over.set()
        _held.discard(place)


def _locked(file: Any) -> bool:
    """Take the system's lock of an open file; False if another process has it."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        import msvcrt

        lock: Any = msvcrt
        with contextlib.suppress(OSError):
            file.seek(_FAR)  # Windows forbids reading what is locked
            lock.locking(file.fileno(), lock.LK_NBLCK, 1)
            return True
        return False
    with contextlib.suppress(BlockingIOError, PermissionError):
        # A record lock: not inherited by forked loader workers, and known to network file systems.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


_FAR = 1 << 20


def _holder(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        contents = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return contents if isinstance(contents, dict) else {}
    return {}


def _words(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "another process that has just begun"
    return f"`{holder.get('command')}` (process {holder['pid']} on {holder.get('host')}, since {holder.get('since')})"
