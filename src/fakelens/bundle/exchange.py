"""Two folders that change places in one step, so that a kill at any moment leaves a whole one at its place."""

import ctypes
import glob
import os
import shutil
import sys
from pathlib import Path

from fakelens.core.run_folder import BUNDLE_RECORD

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h: RENAME_EXCHANGE; macOS, sys/stdio.h: RENAME_SWAP


def fresh_folder(folder: Path) -> Path:
    """The place beside `folder` where what shall replace it is written."""
    return folder.with_name(f".{folder.name}.{os.getpid()}.tmp")


def exchange(fresh: Path, folder: Path) -> None:
    """Put `fresh` where `folder` is; what was there before, if anything, lies at `fresh` afterwards.

    Where the file system cannot exchange two names at once, there is a moment without `folder`: see `recover`.
    """
    if not folder.exists():
        fresh.rename(folder)
    elif not exchange_at_once(fresh, folder):
        old = fresh.with_suffix(".old")
        folder.rename(old)
        fresh.rename(folder)
        old.rename(fresh)


def recover(folder: Path) -> None:
    """Put back a bundle that a killed exchange took away, and remove what killed writers left beside it."""
    name = glob.escape(folder.name)
    leftovers = [path for end in ("old", "tmp") for path in folder.parent.glob(f".{name}.*.{end}")]
    # A user's own may be called `.bundle.mine.old`.
    leftovers = [path for path in leftovers if path.with_suffix("").suffix[1:].isdecimal()]
    for path in leftovers:
        if not folder.exists() and path.suffix == ".old" and (path / BUNDLE_RECORD).is_file():
            path.rename(folder)
        else:
            shutil.rmtree(path, ignore_errors=True)


def exchange_at_once(one: Path, other: Path) -> bool:
    """Exchange two names by one system call; False where there is none, or none on this file system."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        return bool(library.renamex_np(*names, _RENAME_EXCHANGE) == 0)
    if hasattr(library, "renameat2"):
        return bool(library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    return False
