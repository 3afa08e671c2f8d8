"""All that a source offers and its images, and the epochs of a training, in one call each."""

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from fakelens.core.records import EpochRow
from fakelens.sources.base import Block, Source


class Found(NamedTuple):
    """A row of a catalogue."""

    rank: int
    position: int
    label: int
    generator: str
    key: str


def all_rows(source: Source) -> list[Found]:
    """Every row of the catalogue, in the order of the ranks."""
    return [
        Found(block.rank, *row, block.reader.key(row.position))
        for block in sorted(source.catalogue(), key=lambda block: block.rank)
        for row in block.rows
    ]


def read(block: Block, positions: Sequence[int] | None = None) -> list[bytes]:
    """The images at these positions of a block, by default of all its rows; what was announced is downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "spool"
        assert sum(block.reader.download(spool)) == block.num_bytes
        return list(
            block.reader.images(spool, [row.position for row in block.rows] if positions is None else positions)
        )


def read_all(source: Source) -> dict[str, bytes]:
    """Every image by its key."""
    return {
        block.reader.key(row.position): data
        for block in source.catalogue()
        for row, data in zip(block.rows, read(block), strict=True)
    }


def read_history(path: Path) -> list[EpochRow]:
    """The rows of `history.csv`."""
    kinds = {field.name: field.type for field in fields(EpochRow)}
    with path.open(newline="", encoding="utf-8") as file:
        return [EpochRow(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]
