"""A source in memory: pictures of any kind in, blocks out whose reader notes what was read and can fail on demand."""

import functools
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from fakelens.core.progress import SILENT, Reporter, Silent
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.examine import examine_image
from fakelens.dataset.splits import SPLITS, split_sizes
from fakelens.dataset.store import PreparedData
from fakelens.settings import DataSettings
from fakelens.sources.base import Block, in_blocks

STORED_PX = 64
SIZE_PX = (90, 72)


class Shot(NamedTuple):
    """One image that a source offers."""

    label: int
    generator: str
    data: bytes


def picture(seed: int) -> Image.Image:
    """One of a kind for the perceptual hash too, a little larger than what is stored."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE_PX, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, codec: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return buffer.getvalue()


@functools.cache
def jpeg(seed: int) -> bytes:
    return encoded(picture(seed))


def near_copy(seed: int, quality: int = 60) -> bytes:
    """The same picture for an eye and a perceptual hash: rescaled a little and compressed harder."""
    return encoded(picture(seed).resize((99, 79), Image.Resampling.BICUBIC), quality=quality)


def shots(label: int, generators: str, num: int, first_seed: int) -> list[Shot]:
    """`num` good pictures, the generators (one letter each) in turn."""
    return [Shot(label, generators[i % len(generators)], jpeg(first_seed + i)) for i in range(num)]


def balanced(num_of_each: int = 40, generators: str = "abc", origins: str = "pq", first_seed: int = 0) -> list[Shot]:
    """Photographs and fakes, all different."""
    real = shots(REAL, origins, num_of_each, first_seed)
    return real + shots(FAKE, generators, num_of_each, first_seed + 10_000)


class ReaderError(Exception):
    """What a reader of these tests raises."""


@dataclass
class Log:
    """What readers did, in order; shared by all blocks of a source within one process."""

    downloaded: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    """Keys of the images handed out."""
    fail_after: int | None = None
    """So many blocks may be downloaded, the next one raises."""


@dataclass(frozen=True)
class MemoryReader:
    """Some images' bytes."""

    name: str
    keys: tuple[str, ...]
    datas: tuple[bytes, ...]
    log: Log = field(compare=False)

    def key(self, index: int) -> str:
        return self.keys[index]

    def download(self, spool: Path) -> Iterator[int]:
        if len(self.log.downloaded) == self.log.fail_after:
            raise ReaderError("the hub went away")
        self.log.downloaded.append(self.name)
        spool.mkdir(exist_ok=True)
        (spool / "cells").write_bytes(b"spooled")
        yield 7

    def images(self, spool: Path, indices: Sequence[int]) -> Iterator[bytes]:
        assert (spool / "cells").read_bytes() == b"spooled"
        for index in indices:
            self.log.read.append(self.keys[index])
            yield self.datas[index]


class FakeSource:
    """Blocks of shots, shuffled by the seed. An image's key is PREFIX/POSITION among the shots."""

    is_demo = False
    licence = "none"

    def __init__(
        self,
        shots: Sequence[Shot],
        *,
        block_size: int = 10,
        prefix: str = "main",
        revision: str | None = "r1",
        test_sets: "dict[str, FakeSource] | None" = None,
    ) -> None:
        self.shots, self.block_size, self.name, self.revision = list(shots), block_size, prefix, revision
        self.description = f"pictures in memory ({prefix})"
        self.own_sets = test_sets or {}
        self.log, self.seed = Log(), 0
        for own in self.own_sets.values():
            own.log = self.log

    def catalogue(self, reporter: Reporter = SILENT) -> list[Block]:  # noqa: ARG002
        order = np.random.default_rng(self.seed).permutation(len(self.shots)).tolist()
        kinds = [(self.shots[i].label, self.shots[i].generator) for i in order]
        return [
            Block(rank, rows, self._reader(order[first : first + len(rows)]), num_bytes=7)
            for rank, (first, rows) in enumerate(in_blocks(kinds, self.block_size))
        ]

    def test_sets(self) -> "dict[str, FakeSource]":
        return self.own_sets

    def data(self, key: str) -> bytes:
        """The encoded image of that key."""
        return self.shot(key).data

    def shot(self, key: str) -> Shot:
        prefix, _, number = key.partition("/")
        own = next(s for s in (self, *self.own_sets.values()) if s.name == prefix)
        return own.shots[int(number)]

    def _reader(self, positions: Sequence[int]) -> MemoryReader:
        keys = tuple(f"{self.name}/{i}" for i in positions)
        return MemoryReader(keys[0], keys, tuple(self.shots[i].data for i in positions), self.log)


def use(monkeypatch: pytest.MonkeyPatch, source: FakeSource) -> FakeSource:
    """Let `prepare` open this source, whatever the settings name."""

    def opened(settings: DataSettings) -> FakeSource:
        for own in (source, *source.own_sets.values()):
            own.seed = settings.seed
        return source

    monkeypatch.setattr("fakelens.dataset.stage.open_source", opened)
    return source


def small(num_images: int = 40, **changes: Any) -> DataSettings:
    """Settings for the pictures above, decoded without further processes and without further test sets."""
    given = {"num_ood_images": 0, "num_wild_images": 0, "num_workers": 0, "blocks_in_flight": 1} | changes
    return DataSettings(num_images=num_images, stored_px=STORED_PX, min_side_px=STORED_PX, **given)


def without(block: Block, *positions: int) -> Block:
    """The block with fewer rows."""
    return replace(block, rows=tuple(row for row in block.rows if row.position not in positions))


def digests(workdir: Path) -> dict[str, str]:
    """Of the arrays and the manifest in data/: all but records, which have times in them, and what is kept aside."""
    paths = (path for path in (workdir / "data").iterdir() if path.is_file() and path.suffix != ".json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def assert_rows_are_their_pictures(data: PreparedData, source: FakeSource) -> None:
    """Decode each original again and compare it with its row of its split's array."""
    for name in {row.split for row in data.rows}:
        split = data.split(name)
        assert [row.row for row in split.rows] == list(range(len(split.squares)))
        for row in split.rows:
            shot = source.shot(row.key)
            square, container, phash = examine_image(shot.data, STORED_PX, STORED_PX)
            assert np.array_equal(split.squares[row.row], square), row
            assert (row.label, row.generator) == (shot.label, shot.generator)
            assert row.sha256 == hashlib.sha256(shot.data).hexdigest()
            assert row.phash == f"{phash:016x}"
            assert (row.format, row.width_px, row.height_px) == (
                container.format, container.width_px, container.height_px
            )  # fmt: skip
            assert row.num_bytes == len(shot.data)


def assert_exact(data: PreparedData, num_images: int) -> None:
    for name, size in zip(SPLITS, split_sizes(num_images), strict=True):
        split = data.split(name)
        assert split.squares.shape == (size, STORED_PX, STORED_PX, 3)
        assert split.squares.dtype == np.uint8
        assert np.bincount(split.labels).tolist() == [size // 2, size // 2]
    own = [row for row in data.rows if row.split in SPLITS]
    assert len({(row.split, row.row) for row in own}) == len(own) == num_images
    assert len({row.key for row in own}) == len({row.sha256 for row in own}) == num_images


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)
