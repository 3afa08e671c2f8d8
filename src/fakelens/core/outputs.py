"""Places that a user names for results: checked before the work, so that nothing is lost after it or overwritten."""

import os
from pathlib import Path

from fakelens.core.errors import FakelensError


def check_table(path: Path, option: str, head: bytes) -> None:
    """Refuse a file that cannot be written, or that is there and does not begin as a table of ours does (`head`).

    Raises:
        FakelensError: naming the option, the fault and the remedy.
    """
    try:
        if path.is_dir():
            raise FakelensError(f"{option} {path} is a folder: name a file")
        if path.exists() and not path.is_file():
            raise FakelensError(f"{option} {path} is not a file: name one")
        if path.exists():
            with path.open("rb") as file:
                if file.read(len(head)) not in (head, b""):
                    raise FakelensError(
                        f"{option} {path} is there already and is not such a table: it would be lost, name another file"
                    )
    except OSError as error:
        raise FakelensError(f"{option} {path} cannot be written: {error.strerror}") from error
    if not path.exists() and not path.parent.is_dir():
        raise FakelensError(f"{option} {path} cannot be written: {path.parent} is not a folder that is there")
    _check_writable(path if path.exists() else path.parent, path, option)


def check_folder(path: Path, option: str) -> None:
    """Refuse a folder that cannot be made or written.

    Raises:
        FakelensError: naming the option, the fault and the remedy.
    """
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise FakelensError(f"{option} {path} cannot be made: {nearest} is not a folder")
    _check_writable(nearest, path, option)


def _check_writable(existing: Path, path: Path, option: str) -> None:
    if not os.access(existing, os.W_OK):
        raise FakelensError(f"{option} {path} cannot be written: {existing} is not yours to write to")
