"""The source of one's own pictures: a folder with `real/` and `fake/` in it, and what lies below them at any depth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakelens.core.errors import FakelensError
from fakelens.core.picture_folder import group_of, labelled_pictures, left_out_words
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import LABELS
from fakelens.settings import SourceSettings
from fakelens.sources.base import Block, Source, in_blocks

BLOCK_FILES = 64


class FolderSource:
    """Your own pictures. A folder directly below `fake/` names the generator, below `real/` the origin."""

    name = "folder"
    is_demo = False
    licence = "your own pictures: their licence is yours to know"
    revision: str | None = None

    def __init__(self, settings: SourceSettings) -> None:
        """List the pictures once; `description` counts them.

        Raises:
            FakelensError: when no folder is named, or it lacks pictures of either class.
        """
        self._seed = settings.seed
        self._root = _existing_folder(settings.path)
        self._listings = labelled_pictures(self._root, settings.label_values)
        counts = " and ".join(
            f"{len(listing.keys):,} {label}" for label, listing in zip(LABELS, self._listings, strict=True)
        )
        self.description = f"pictures of the folder {self._root.resolve().name}: {counts}"

    def catalogue(self, reporter: Reporter = SILENT) -> list[Block]:
        """Every picture, in an order that the seed decides, cut into blocks; says what is left out."""
        for words in left_out_words(self._listings):
            reporter.say(words)
        pairs = [(label, key) for label, listing in enumerate(self._listings) for key in listing.keys]
        order = [pairs[index] for index in np.random.default_rng(self._seed).permutation(len(pairs))]
        rows = [(label, group_of(key)) for label, key in order]
        keys = [key for _, key in order]
        return [
            Block(rank, own, Files(self._root, tuple(keys[first : first + BLOCK_FILES])))
            for rank, (first, own) in enumerate(in_blocks(rows, BLOCK_FILES))
        ]

    def test_sets(self) -> dict[str, Source]:
        """None of its own."""
        return {}


@dataclass(frozen=True)
class Files:
    """Reads some files below `root`."""

    root: Path
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.keys[0]} and {len(self.keys) - 1} more"

    def key(self, index: int) -> str:
        """The file's path below the source's folder; bytes of it that are not UTF-8 are escaped."""
        return self.keys[index].encode(errors="backslashreplace").decode()

    def download(self, spool: Path) -> Iterator[int]:  # noqa: ARG002  the protocol's name
        """The files are here already."""
        return iter(())

    def images(self, spool: Path, indices: Sequence[int]) -> Iterator[bytes]:  # noqa: ARG002
        """The files' bytes; none for a file that has vanished or may not be read."""
        for index in indices:
            yield _bytes_of(self.root / self.keys[index])


def _existing_folder(path: str | None) -> Path:
    if not path:
        raise FakelensError("the folder source needs to know its folder: --set data.path=FOLDER")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FakelensError(f"{path} is not a folder: name one that holds real/ and fake/ with --set data.path=FOLDER")
    return folder


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # Vanished or unreadable since it was listed: imaging refuses no bytes as empty, and that is counted.
        return b""
