"""A folder with `real/` and `fake/` in it: which files below it are pictures, and what made each."""

import os
from collections.abc import Iterator
from pathlib import Path

from fakelens.core.errors import FakelensError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif"})
_UNKNOWN = "unknown"


def picture_keys(root: Path, label: str) -> list[str]:
    """Paths of one class relative to `root`, with forward slashes and sorted: file systems list in any order.

    Raises:
        ValueError: when there is no such folder, no picture in it, or it cannot be listed.
    """
    if not (root / label).is_dir():
        raise FakelensError(f"{root} has no folder {label}/: it should hold real/ and fake/ with pictures in them")
    pictures = filter(_is_picture, _visible_files(root / label))
    keys = sorted(path.relative_to(root).as_posix() for path in pictures)
    if not keys:
        raise FakelensError(f"{root / label} holds no picture: files with {', '.join(sorted(SUFFIXES))} count")
    return keys


def group_of(key: str) -> str:
    """The generator or origin that a key names: `fake/NAME/…/file` to NAME, `fake/file` to unknown."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 else _UNKNOWN


def _visible_files(folder: Path) -> Iterator[Path]:
    """Files at any depth; hidden ones and hidden folders (`.git`, `.thumbnails`) are left out."""
    # Data sets are often put together from links to folders, and a link may lead back to where it lies.
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        if (target := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(target)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise FakelensError(f"cannot list {error.filename}: {error.strerror}")


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
