"""One block's images, downloaded, decoded and written to disk; the file that is there afterwards is the journal."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.artifacts import atomic_path, read_json, write_json
from fakelens.core.imaging import Container, ImageRefused, ImageU8, decode, to_square
from fakelens.dataset.duplicates import perceptual_hash
from fakelens.sources.base import Block, Row


@dataclass(frozen=True)
class Picture:
    """What became of one image."""

    part: str
    """The part that it was examined in."""
    block: int
    position: int
    label: int
    generator: str
    key: str
    sha256: str
    """Of the encoded bytes."""
    refused: str | None = None
    """Why it is not in the part's array."""
    slot: int = -1
    """Row of the part's array."""
    phash: int = 0
    container: Container | None = None

    @property
    def kind(self) -> tuple[int, str]:
        """Label and generator."""
        return self.label, self.generator


@dataclass(frozen=True)
class Work:
    """One block to examine. Picklable; its outcome depends on nothing but its fields and the source's bytes."""

    name: str
    """Of the part: unique within the folder."""
    block: Block
    folder: Path
    stored_px: int
    min_side_px: int

    @property
    def array_path(self) -> Path:
        """(N, stored_px, stored_px, 3) uint8: the squares of the images that were not refused."""
        return self.folder / f"{self.name}.npy"

    @property
    def _record_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def _spool_path(self) -> Path:
        return self.folder / f"{self.name}.spool"

    def done(self) -> list[Picture] | None:
        """The outcome, if the block was examined before."""
        if not self._record_path.exists():
            return None
        pictures = [_picture(plain) for plain in read_json(self._record_path)]
        same = [picture.position for picture in pictures] == [row.position for row in self.block.rows]
        return pictures if same and self.array_path.exists() else None

    def download(self) -> Iterator[int]:
        """Bring the block's bytes here, piece by piece; yields the pieces' sizes."""
        yield from self.block.reader.download(self._spool_path)

    def examine(self) -> list[Picture]:
        """Decode what was downloaded; the record is written last, so that its presence means a whole part."""
        reader, squares, pictures = self.block.reader, list[ImageU8](), list[Picture]()
        images = reader.images(self._spool_path, [row.position for row in self.block.rows])
        for row, data in zip(self.block.rows, images, strict=True):
            square, picture = self._examined(row, data, len(squares))
            pictures.append(picture)
            if square is not None:
                squares.append(square)
        shape = (len(squares), self.stored_px, self.stored_px, 3)
        with atomic_path(self.array_path) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(squares, dtype=np.uint8).reshape(shape))
        write_json(self._record_path, [asdict(picture) for picture in pictures])
        shutil.rmtree(self._spool_path, ignore_errors=True)
        return pictures

    def _examined(self, row: Row, data: bytes, slot: int) -> tuple[ImageU8 | None, Picture]:
        plain: dict[str, Any] = {
            **row._asdict(),
            "part": self.name,
            "block": self.block.rank,
            "key": self.block.reader.key(row.position),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        try:
            square, container, phash = examine_image(data, self.stored_px, self.min_side_px)
        except ImageRefused as refusal:
            return None, Picture(**plain, refused=refusal.reason)
        return square, Picture(**plain, slot=slot, phash=phash, container=container)


def examine_image(data: bytes, stored_px: int, min_side_px: int) -> tuple[ImageU8, Container, int]:
    """The stored square, the container and the perceptual hash of one encoded image.

    Raises:
        ImageRefused: when it cannot be decoded or is too small or too large.
    """
    image, container = decode(data, short_side_px=stored_px, min_side_px=min_side_px)
    square = to_square(image)
    return square, container, perceptual_hash(square)


def _picture(plain: dict[str, Any]) -> Picture:
    container = plain.pop("container")
    return Picture(**plain, container=container and Container(**container))
