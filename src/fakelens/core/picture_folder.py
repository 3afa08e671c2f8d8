"""A folder in; the pictures below it, and how many other files were left out of each kind, out. The one listing of all.

In a labelled folder pictures lie in `real/` and `fake/`, and the next folder names what made them.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import HEIF_REMEDY, heif_is_read
from fakelens.core.scoring import LABELS, label_of

HEIF_SUFFIXES = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC"}
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif")
    + (tuple(HEIF_SUFFIXES) if heif_is_read() else ())
)
_UNKNOWN = "unknown"
_KINDS = {**HEIF_SUFFIXES, "": "without an ending"}
_MAX_KINDS = 8
# Folders that systems put beside pictures: thumbnails, resource forks, what was deleted.
_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})


@dataclass(frozen=True)
class Listing:
    """Pictures below a folder; which files they are is told by their names alone."""

    root: Path
    keys: tuple[str, ...]
    """Paths relative to `root`, with forward slashes and sorted: file systems list in any order."""
    left_out: Mapping[str, int]
    """Files that are not listed, by kind: `HEIC`, `TXT`, `hidden`."""

    @property
    def paths(self) -> list[Path]:
        """The pictures' own paths."""
        return [self.root / key for key in self.keys]


def pictures_in(folder: Path) -> Listing:
    """The pictures at any depth of a folder; links to folders are followed.

    Hidden files and folders (`._x.jpg`, `.thumbnails`) and a system's own folders are left out, and so is what is not
    a file. A link that leads nowhere counts: whoever reads it says so.

    Raises:
        FakelensError: when a folder cannot be listed.
    """
    keys, left_out = [], Counter[str]()
    # Data sets are often put together from links to folders, and a link may lead back to where it lies.
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        if (target := os.path.realpath(parent)) in seen:
            folders.clear()
            continue
        seen.add(target)
        shown = sorted(name for name in folders if not _is_hidden(name))
        left_out["hidden"] += len(folders) - len(shown)
        folders[:] = shown  # sorted: of two links to one folder the first counts
        below = PurePath(parent).relative_to(folder)
        for name in names:
            if kind := _kind_left_out(parent, name):
                left_out[kind] += 1
            else:
                keys.append((below / name).as_posix())
    return Listing(folder, tuple(sorted(keys)), +left_out)


def labelled_pictures(root: Path, label: str) -> Listing:
    """The pictures of one class, below `root`/`label`.

    Raises:
        FakelensError: when there is no such folder, no picture in it, or it cannot be listed.
    """
    name = _folder_of(root, label)
    listing = pictures_in(root / name)
    if not listing.keys:
        raise FakelensError(f"{root / name} holds no picture: {nothing_words([listing])}")
    return Listing(root, tuple(f"{name}/{key}" for key in listing.keys), listing.left_out)


def _folder_of(root: Path, label: str) -> str:
    """Name of the folder of one class: `real` or `fake`, or the only one whose name certainly means that."""
    if (root / label).is_dir():
        return label
    inside = root.iterdir() if root.is_dir() else ()
    there = sorted(path.name for path in inside if path.is_dir() and not _is_hidden(path.name))
    alike = [name for name in there if label_of(name, {}) == LABELS.index(label)]
    if len(alike) == 1:
        return alike[0]
    holds = f"it holds {', '.join(there[:_MAX_KINDS])}" if there else "it holds no folder"
    raise FakelensError(f"{root} has no folder {label}/, {holds}: call the folders of pictures real/ and fake/")


def nothing_words(listings: Iterable[Listing]) -> str:
    """Why listings may be empty: the endings that count, and what there is instead."""
    words = f"files with {', '.join(sorted(SUFFIXES))} count"
    return "; ".join([words, *left_out_words(listings)])


def left_out_words(listings: Iterable[Listing]) -> list[str]:
    """What listings left out, as one sentence: `left out: 5 HEIC, 2 TXT`; empty for nothing."""
    counts = sum((Counter(listing.left_out) for listing in listings), Counter[str]())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{num} {kind}" for kind, num in ranked[:_MAX_KINDS]]
    if others := sum(num for _, num in ranked[_MAX_KINDS:]):
        kinds.append(f"{others} others")
    remedy = f" (to read HEIC: {HEIF_REMEDY})" if "HEIC" in counts else ""
    return [f"left out: {', '.join(kinds)}{remedy}"] if kinds else []


def group_of(key: str) -> str:
    """The generator or origin that a key names: `fake/NAME/…/file` to NAME, `fake/file` to unknown."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 else _UNKNOWN


def _refuse(error: OSError) -> None:
    raise FakelensError(f"cannot list {error.filename}: {error.strerror}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _kind_left_out(parent: str, name: str) -> str | None:
    """What is counted instead of listing the file; None for a picture."""
    if _is_hidden(name):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower().strip()  # noqa: PTH122  a data set has a million of them
    if suffix not in SUFFIXES:
        return _KINDS.get(suffix, suffix.removeprefix(".").upper())
    try:
        is_file = stat.S_ISREG(os.stat(os.path.join(parent, name)).st_mode)  # noqa: PTH116, PTH118  a pipe would be waited for
    except OSError:
        return None
    return None if is_file else "not a file"
