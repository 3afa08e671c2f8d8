"""Listing of a folder: the pictures below it, and how many files of each other kind were left out.

In a labelled folder pictures lie in `real/` and `fake/`, or in folders whose names say the same, and the next folder
names what made them.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import NoReturn

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import HEIF_REMEDY, heif_is_read
from fakelens.core.scoring import FAKE, LABELS, REAL, label_of

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
    """Pictures below a folder, recognised by the endings of their names alone."""

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


def labelled_pictures(root: Path, label_values: Mapping[str, str] = MappingProxyType({})) -> tuple[Listing, Listing]:
    """The photographs and the fakes below the folders of `root` whose names say which they hold.

    Other folders beside `real/` and `fake/`, or beside those of `label_values`, are left out. Other names count where
    the meaning of all is certain: `nature` and `ai`.

    Args:
        root: the labelled folder.
        label_values: a folder's name -> real or fake.

    Raises:
        FakelensError: when a class has no folder or no picture in it, or a folder cannot be listed.
    """
    names = _folders_in(root)
    labels = _labels_of(root, names, label_values)
    others = {f"folder {name}/": 1 for name in names if name not in labels}
    reals, fakes = (_of_label(root, [name for name in labels if labels[name] == label]) for label in (REAL, FAKE))
    return replace(reals, left_out={**reals.left_out, **others}), fakes


def _of_label(root: Path, names: Sequence[str]) -> Listing:
    listings = [pictures_in(root / name) for name in names]
    keys = sorted(f"{name}/{key}" for name, listing in zip(names, listings, strict=True) for key in listing.keys)
    if not keys:
        raise FakelensError(f"{root / names[0]} holds no picture: {nothing_words(listings)}")
    return Listing(root, tuple(keys), sum((Counter(listing.left_out) for listing in listings), Counter[str]()))


def _labels_of(root: Path, names: Sequence[str], label_values: Mapping[str, str]) -> dict[str, int]:
    if absent := sorted(set(label_values) - set(names)):
        raise FakelensError(f"{root} has no folder {absent[0]}/, which data.label_values names. {_held_words(names)}")
    stated = {name: label for name in names if (label := label_of(name, label_values)) is not None}
    plain = {name: label for name, label in stated.items() if name in (*LABELS, *label_values)}
    if set(plain.values()) == {REAL, FAKE}:
        return plain
    missing = [name for label, name in enumerate(LABELS) if label not in stated.values()]
    if not missing and len(stated) == len(names):
        return stated
    lacks = f"has no folder {missing[0]}/" if missing else "has folders that may be neither"
    remedy = "Rename them, or say which is which with --set 'data.label_values={NAME: real, NAME: fake}'"
    if label_of(root.resolve().name) is not None:
        remedy = f"If it is one of the two itself, name the folder above it: {root.parent}"
    if inner := [name for name in names if {label_of(each) for each in _folders_in(root / name)} >= {REAL, FAKE}]:
        remedy = f"Name one of its folders that do: {', '.join(str(root / name) for name in inner[:_MAX_KINDS])}"
    raise FakelensError(
        f"{root} {lacks}: it should hold real/ and fake/ with pictures in them. {_held_words(names)}. {remedy}"
    )


def _held_words(names: Sequence[str]) -> str:
    shown = [*(f"{name}/" for name in names[:_MAX_KINDS]), *(["…"] if len(names) > _MAX_KINDS else [])]
    return f"It holds {', '.join(shown) or 'no folder'}"


def _folders_in(root: Path) -> list[str]:
    try:
        return sorted(path.name for path in root.iterdir() if not _is_hidden(path.name) and path.is_dir())
    except OSError as error:
        _refuse(error)


def nothing_words(listings: Iterable[Listing]) -> str:
    """The reason why listings may be empty: the endings that count, and what there is instead."""
    words = f"files with {', '.join(sorted(SUFFIXES))} count"
    return "; ".join([words, *left_out_words(listings)])


def left_out_words(listings: Iterable[Listing]) -> list[str]:
    """Files that listings left out, as one sentence: `left out: 5 HEIC, 2 TXT`; empty for nothing."""
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


def _refuse(error: OSError) -> NoReturn:
    raise FakelensError(f"cannot list {error.filename}: {error.strerror}")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def _kind_left_out(parent: str, name: str) -> str | None:
    """The kind that is counted instead of listing the file; None for a picture."""
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
