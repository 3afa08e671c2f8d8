"""Places that a user names for results: checked before the work, so that nothing is lost after it or overwritten."""

import tempfile
from pathlib import Path

from fakelens.core.errors import FakelensError


def check_table(path: Path, option: str, head: bytes) -> None:
    """Refuse a file that cannot be written, or that is there with another first line than a table of ours (`head`).

    Raises:
        FakelensError: naming the option, the fault and the remedy.
    """
    place = path.resolve()  # the file that a link leads to
    try:
        if place.is_dir():
            raise FakelensError(f"{option} {path} is a folder: name a file")
        if place.exists() and not place.is_file():
            raise FakelensError(f"{option} {path} is not a file: name one")
        if place.exists():
            with place.open("rb+") as file:
                if file.readline(len(head) + 1) not in (head, b""):
                    raise FakelensError(
                        f"{option} {path} is there already and is not such a table: it would be lost, name another file"
                    )
    except OSError as error:
        raise FakelensError(f"{option} {path} cannot be written: {error.strerror}") from error
    if not place.parent.is_dir():
        raise FakelensError(f"{option} {path} cannot be written: {place.parent} is not a folder that is there")
    _check_writable(place.parent, path, option)


def check_folder(path: Path, option: str) -> None:
    """Refuse a folder that cannot be made or written.

    Raises:
        FakelensError: naming the option, the fault and the remedy.
    """
    if path.is_symlink() and not path.exists():
        raise FakelensError(f"{option} {path} cannot be made: it is a link that leads nowhere")
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise FakelensError(f"{option} {path} cannot be made: {nearest} is not a folder")
    _check_writable(nearest, path, option)


def _check_writable(folder: Path, path: Path, option: str) -> None:
    """Write into the folder: permissions alone do not tell of a read-only disk, or of /proc."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FakelensError(
            f"{option} {path} cannot be written: nothing can be written into {folder} ({error.strerror}), choose "
            "another place"
        ) from error
