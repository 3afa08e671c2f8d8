"""OpenFake from the Hugging Face hub: label columns first, then only the row groups that hold chosen images."""

import contextlib
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

import numpy as np

from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import LABELS, label_of
from fakelens.settings import SourceSettings
from fakelens.sources.base import Block, Row, Source
from fakelens.sources.hub import fetch_bytes, first_line, get_bytes, tail_bytes

LISTING_THREADS = 16
_ROW_GROUPS_A_TASK = 16
# What a cut connection costs again at most, and what is in memory for each download.
PIECE_BYTES = 8 << 20
_FOOTER_BYTES = 64 << 10
_BUFFER_BYTES = 64 << 10
_BATCH_ROWS = 8
_GAP_BYTES = 64 << 10  # columns nearer to each other are fetched together: a request costs more
_MAX_LISTED = 5
_NO_LABEL = "no label"
# Small row groups keep all cells in one dictionary page, which is in memory as a whole, twice: 200 MB for 100 MB.
# One at a time, then, however many are being downloaded or decoded.
_UNPACKING = threading.Lock()
_TEST_SETS = {"ood": ("core", "test"), "wild": ("reddit", "test")}


class _Repository(NamedTuple):
    """The data set's files at one commit."""

    name: str
    commit: str
    files: tuple[str, ...]


class OpenFakeSource:
    """`ComplexDataLab/OpenFake` (v2 and v1.0) at a pinned revision; honours HF_ENDPOINT, HF_HOME and HF_TOKEN."""

    name = "openfake"
    is_demo = False
    licence = "CC-BY-NC-4.0 (non-commercial) as stated by the OpenFake data set; each generator's terms may add to it"

    def __init__(self, settings: SourceSettings, repository: _Repository | None = None) -> None:
        self._settings, self._known = settings, repository
        self.revision: str | None = settings.revision
        self.description = (
            f"images of {settings.repository}, {settings.config}/{settings.split}, revision {settings.revision[:12]}"
        )

    def catalogue(self, reporter: Reporter = SILENT) -> list[Block]:
        """Labels and generators of the seed's choice of shards; a block is a row group, ranks are the seed's order.

        Raises:
            FakelensError: naming the remedy when the data set, revision or split cannot be read.
        """
        settings = self._settings
        shards = _shards(self._repository, settings.config, settings.split)
        if not shards:
            others = Counter(name for name in self._repository.files if name.endswith(".parquet"))
            raise FakelensError(
                f"{settings.repository} at {settings.revision} has no parquet files for config {settings.config!r}, "
                f"split {settings.split!r}: check data.config and data.split. It needs "
                f"{settings.config}/{settings.split}-*.parquet and has {_listed(others) or 'none'}"
            )
        rng = np.random.default_rng((settings.seed, 1))
        chosen = [shards[i] for i in sorted(rng.permutation(len(shards))[: settings.num_shards])]
        repository = self._repository
        with ThreadPoolExecutor(LISTING_THREADS) as pool:
            files = list(pool.map(lambda name: _open_shard(repository, name), chosen))
            tasks = [
                (file, range(first, min(first + _ROW_GROUPS_A_TASK, file.footer.num_row_groups)))
                for file in files
                for first in range(0, file.footer.num_row_groups, _ROW_GROUPS_A_TASK)
            ]
            groups = []
            title = f"Reading the labels of {settings.config}/{settings.split}"
            with reporter.task(title, sum(len(row_groups) for _, row_groups in tasks)) as task:
                for table in pool.map(lambda each: _labels(each[0], each[1], settings.label_values), tasks):
                    groups += table
                    task.advance(len(table))
        unknown = sum((other for _, _, other in groups), Counter[str]())
        known = Counter(row.label for _, rows, _ in groups for row in rows)
        # A stray word is left out; where a label is missing and the words are many, they are what it is called.
        if unknown and len(known) < len(LABELS) and unknown.total() >= known.total() and set(unknown) != {_NO_LABEL}:
            raise FakelensError(
                f"the column label of {settings.repository} holds {_listed(unknown)}: say what they mean with --set "
                "'data.label_values={VALUE: real, OTHER: fake}'"
            )
        if unknown:
            reporter.say(
                f"{unknown.total():,} rows of {settings.config}/{settings.split} are neither real nor fake "
                f"({_listed(unknown)}): left out"
            )
        return [
            Block(int(rank), rows, reader, reader.end - reader.start)
            for rank, (reader, rows, _) in zip(rng.permutation(len(groups)), groups, strict=True)
        ]

    def test_sets(self) -> dict[str, Source]:
        """The data set's own tests: unseen generators (core/test) and pictures in the wild (reddit/test)."""
        own = (self._settings.config, self._settings.split)
        return {
            name: OpenFakeSource(self._settings.model_copy(update={"config": config, "split": split}), self._repository)
            for name, (config, split) in _TEST_SETS.items()
            if (config, split) != own and _shards(self._repository, config, split)
        }

    @cached_property
    def _repository(self) -> _Repository:
        from huggingface_hub import constants

        if self._known:
            return self._known
        name, revision = self._settings.repository, self._settings.revision
        where = f"{name} at revision {revision}"
        url = f"{constants.ENDPOINT}/api/datasets/{quote(name)}/revision/{quote(revision, safe='')}"
        try:
            info = json.loads(get_bytes(url, where))
            files = tuple(sibling["rfilename"] for sibling in info["siblings"])
            # A branch may move between two reads: everything after this names the commit.
            self.revision = str(info["sha"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise FakelensError(
                f"the server at {constants.ENDPOINT} does not answer as a hub does when asked for {where}: "
                "check HF_ENDPOINT and data.repository"
            ) from error
        return _Repository(name, self.revision, files)


def _listed(unknown: Counter[str]) -> str:
    shown = ", ".join(repr(word) for word, _ in unknown.most_common(_MAX_LISTED))
    return shown + (f" and {len(unknown) - _MAX_LISTED} more" if len(unknown) > _MAX_LISTED else "")


def _shards(repository: _Repository, config: str, split: str) -> list[str]:
    # v2 keeps a folder per configuration; v1.0 has one configuration, in `data/`.
    for folder in (f"{config}/", *(("data/", "") if config == "core" else ())):
        if shards := sorted(name for name in repository.files if fnmatch(name, f"{folder}{split}-*.parquet")):
            return shards
    return []


@dataclass(frozen=True)
class _Shard:
    """One parquet file on the hub."""

    repository: str
    commit: str
    path: str
    footer: Any = field(repr=False, compare=False)
    """pyarrow's FileMetaData."""

    def fetch(self, start: int, end: int) -> bytes:
        """The bytes [start, end) of the file.

        Raises:
            FakelensError: naming the remedy when they cannot be downloaded.
        """
        piece = fetch_bytes(self.repository, self.commit, self.path, f"{start}-{end - 1}")
        if len(piece) != end - start:
            raise FakelensError(
                f"the hub gave {len(piece)} of {end - start} bytes of {self.path}: its file does not match its own "
                "footer, or a proxy ignores byte ranges; check HF_ENDPOINT and data.revision"
            )
        return piece

    def column_range(self, row_group: int, names: Sequence[str]) -> tuple[int, int]:
        """Where the chunks of these columns start and end within the file."""
        group = self.footer.row_group(row_group)
        chunks = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema in names]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        ends = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
        return min(starts), max(ends)

    def reader(self, file: BinaryIO, start: int) -> Any:
        """The `pyarrow.parquet.ParquetFile` of this file, given only the part that begins at `start`."""
        import pyarrow.parquet as pq

        # With a buffer the pages are read as they are needed; without one the whole column is, before the first.
        return pq.ParquetFile(_Window(file, start), metadata=self.footer, pre_buffer=False, buffer_size=_BUFFER_BYTES)


@dataclass(frozen=True)
class RowGroup:
    """Reads one row group's image column, the bytes [start, end) of its file, and nothing else."""

    shard: _Shard
    number: int
    start: int
    end: int

    @property
    def name(self) -> str:
        return f"{self.shard.path}#{self.number}"

    def key(self, index: int) -> str:
        """Such as `core/train-00003-of-00608.parquet#17:42`."""
        return f"{self.name}:{index}"

    def download(self, spool: Path) -> Iterator[int]:
        """Stream the column to disk and unpack it: the cells one after another, and where each ends."""
        spool.mkdir(parents=True, exist_ok=True)
        column = spool / "column"
        with column.open("wb") as file:
            for start in range(self.start, self.end, PIECE_BYTES):
                yield file.write(self.shard.fetch(start, min(start + PIECE_BYTES, self.end)))
        with _UNPACKING:
            self._unpack(column, spool / "cells", spool / "ends.npy")
        column.unlink()

    def images(self, spool: Path, positions: Sequence[int]) -> Iterator[bytes]:
        """Encoded images from `spool`."""
        ends = [0, *np.load(spool / "ends.npy").tolist()]
        with (spool / "cells").open("rb") as file:
            for position in positions:
                file.seek(ends[position])
                yield file.read(ends[position + 1] - ends[position])

    def _unpack(self, column: Path, cells_path: Path, ends_path: Path) -> None:
        ends, end = list[int](), 0
        with column.open("rb") as file, cells_path.open("wb") as cells, _parquet_errors(self.name):
            parquet = self.shard.reader(file, self.start)
            for batch in parquet.iter_batches(
                _BATCH_ROWS, row_groups=[self.number], columns=["image.bytes"], use_threads=False
            ):
                for cell in batch.column("image").field("bytes"):
                    end += cells.write(cell.as_py() or b"")
                    ends.append(end)
        if not end:
            raise FakelensError(
                f"the column image of {self.name} holds no bytes, only paths: the pictures are elsewhere"
            )
        np.save(ends_path, np.array(ends, dtype=np.int64))


class _Window(io.RawIOBase):
    """A file of which only the part from `start` on is here, under the whole file's offsets."""

    def __init__(self, part: BinaryIO, start: int) -> None:
        self._part, self._start = part, start
        self._end = start + part.seek(0, io.SEEK_END)
        part.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._start + self._part.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = self._end + offset if whence == io.SEEK_END else offset
        assert whence != io.SEEK_CUR
        return self._start + self._part.seek(max(target - self._start, 0))

    def read(self, size: int = -1) -> bytes:
        return self._part.read(size)


def _open_shard(repository: _Repository, path: str) -> _Shard:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tail = tail_bytes(repository.name, repository.commit, path, _FOOTER_BYTES)
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if needed > len(tail) and tail.endswith(b"PAR1"):
        tail = tail_bytes(repository.name, repository.commit, path, needed)
    try:
        footer = pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError) as error:
        raise FakelensError(
            f"{repository.name}/{path} is not a parquet file ({first_line(error)}): check data.revision"
        ) from error
    missing = {"image.bytes", "label", "model"} - {column.path for column in footer.schema}
    if missing:
        raise FakelensError(
            f"{repository.name}/{path} has no column {', '.join(sorted(missing))}: "
            "check data.repository, only OpenFake's own layout can be read"
        )
    return _Shard(repository.name, repository.commit, path, footer)


def _labels(
    shard: _Shard, row_groups: range, meaning: Mapping[str, str]
) -> list[tuple[RowGroup, tuple[Row, ...], Counter[str]]]:
    """Readers of some row groups, their rows, and the labels of unknown meaning; from the two small columns alone."""
    groups = []
    names = _class_names(shard.footer)
    for number in row_groups:
        group = RowGroup(shard, number, *shard.column_range(number, ("image.bytes",)))
        columns = _small_columns(shard, number, ("label", "model"), group.name)
        words = [_NO_LABEL if value is None else names.get(value, str(value)) for value in columns["label"]]
        labels = [label_of(word, meaning) for word in words]
        rows = tuple(
            Row(index, label, model or "unknown")
            for index, (label, model) in enumerate(zip(labels, columns["model"], strict=True))
            if label is not None
        )
        unknown = Counter(word for word, label in zip(words, labels, strict=True) if label is None)
        groups.append((group, rows, unknown))
    return groups


def _small_columns(shard: _Shard, number: int, names: Sequence[str], where: str) -> dict[str, list[Any]]:
    """Values of columns of a row group: neighbours in one request, without what may lie between them."""
    ranges = {name: shard.column_range(number, (name,)) for name in names}
    first, last = min(start for start, _ in ranges.values()), max(end for _, end in ranges.values())
    if last - first - sum(end - start for start, end in ranges.values()) <= _GAP_BYTES:
        ranges = dict.fromkeys(names, (first, last))
    pieces = {each: shard.fetch(*each) for each in dict.fromkeys(ranges.values())}
    with _parquet_errors(where):
        return {
            name: shard.reader(io.BytesIO(pieces[start, end]), start)
            .read_row_group(number, columns=[name])[name]
            .to_pylist()
            for name, (start, end) in ranges.items()
        }


def _class_names(footer: Any) -> dict[int, str]:
    """Names of the label's classes by their number, where the `datasets` library wrote them into the file."""
    try:
        info = json.loads((footer.metadata or {}).get(b"huggingface", b"{}"))
        return dict(enumerate(map(str, info["info"]["features"]["label"]["names"])))
    except (KeyError, TypeError, ValueError):
        return {}


@contextlib.contextmanager
def _parquet_errors(name: str) -> Iterator[None]:
    """Turn the parquet reader's errors into one that names the row group and the remedy."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's
        raise FakelensError(
            f"{name} cannot be read ({first_line(error)}): the file on the hub is damaged; choose another data.seed"
        ) from error
