"""The contract of a source: a cheap catalogue of blocks, each of which knows how to bring its images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from fakelens.core.progress import SILENT, Reporter


class Row(NamedTuple):
    """One image of a block."""

    position: int
    """Position within the block."""
    label: int
    """0 real, 1 fake (`core.scoring.REAL`, `FAKE`)."""
    generator: str
    """Name of the generator; for real images, of the photographs' origin."""

    @property
    def kind(self) -> tuple[int, str]:
        """Label and generator."""
        return self.label, self.generator


class BlockReader(Protocol):
    """Reader of one block's images. Picklable: it is used in other processes and on other machines."""

    @property
    def name(self) -> str:
        """The block, for messages."""
        ...

    def key(self, index: int) -> str:
        """Unique and stable name of an image within the source at its revision."""
        ...

    def download(self, spool: Path) -> Iterator[int]:
        """Bring the block's bytes into the folder `spool`; yields each piece's size. Nothing if they are here already.

        Raises:
            FakelensError: naming the remedy when the source cannot be read.
        """
        ...

    def images(self, spool: Path, indices: Sequence[int]) -> Iterator[bytes]:
        """The encoded images at these positions, in their order; empty bytes for one that is not there."""
        ...


@dataclass(frozen=True)
class Block:
    """Images that are read together: a row group of a parquet file, some files of a folder."""

    rank: int
    """Place in the seed's reading order, unique within the catalogue."""
    rows: tuple[Row, ...]
    """The images that may be chosen."""
    reader: BlockReader
    num_bytes: int = 0
    """What has to be downloaded for it, 0 for nothing."""


class Source(Protocol):
    """Where images come from."""

    name: str
    is_demo: bool
    """True if the images are made up: every output then says that it is a demonstration."""
    description: str
    """One sentence for reports: what the images are."""
    licence: str
    """The licence of the images, as a sentence."""
    revision: str | None
    """What pins the content, where the source has such a thing; exact once the catalogue was read."""

    def catalogue(self, reporter: Reporter = SILENT) -> list[Block]:
        """All that may be chosen from, without reading image bytes; the same for the same settings and seed."""
        ...

    def test_sets(self) -> "dict[str, Source]":
        """Test sets of its own that the source brings beyond the split it draws from: `ood`, `wild`."""
        ...


def in_blocks(rows: Sequence[tuple[int, str]], size: int) -> Iterator[tuple[int, tuple[Row, ...]]]:
    """Cut (label, generator) pairs into blocks of `size`: yields each block's first position and its rows."""
    for first in range(0, len(rows), size):
        piece = rows[first : first + size]
        yield first, tuple(Row(position, label, generator) for position, (label, generator) in enumerate(piece))
