"""The prepared images on disk: `manifest.parquet`, one `.npy` per split, and reading both back."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.config import read_as
from fakelens.core.artifacts import StageRecord, atomic_path, load_record
from fakelens.core.errors import FakelensError, OtherDataError
from fakelens.core.imaging import ImageU8
from fakelens.core.records import ByLabel
from fakelens.core.run_folder import MANIFEST, PREPARE_RECORD, array_file
from fakelens.dataset.audit import Audit
from fakelens.dataset.examine import Picture
from fakelens.dataset.splits import TEST
from fakelens.settings import DataSettings


@dataclass(frozen=True)
class ManifestRow:
    """One prepared image and where it came from."""

    split: str
    row: int
    """Position in the split's array."""
    label: int
    generator: str
    """Generator, or for photographs their origin."""
    key: str
    """Where the source keeps it."""
    sha256: str
    """Of the original file's bytes."""
    phash: str
    """64-bit perceptual hash of the stored square, 16 hexadecimal digits."""
    group: int
    """Images with the same number are near-duplicates of each other."""
    format: str
    width_px: int
    height_px: int
    num_bytes: int
    luma_quantisation: float
    chroma_quantisation: float


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Write the table atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), temporary)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read the table.

    Raises:
        FakelensError: when it is missing or of another make.
    """
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path, columns=[field.name for field in fields(ManifestRow)]).to_pylist()
        return [ManifestRow(**row) for row in rows]
    except (OSError, TypeError, ValueError) as error:
        raise FakelensError(f"cannot read {path} ({error}): run `fakelens prepare --force`") from error


def columns_of(rows: Sequence[ManifestRow]) -> dict[str, list[Any]]:
    """The table by columns."""
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields(ManifestRow)}


def write_arrays(folder: Path, parts: Path, rows: Sequence[tuple[ManifestRow, Picture]], side_px: int) -> list[Path]:
    """Write `SPLIT.npy`, uint8 (N, side_px, side_px, 3), for each split of the manifest; all appear together.

    Each part is opened once, so any number of parts can be joined in little memory.
    """
    counts = Counter(row.split for row, _ in rows)
    with contextlib.ExitStack() as stack:
        targets = {name: folder / array_file(name) for name in counts}
        arrays: dict[str, ImageU8] = {}
        for name, target in targets.items():
            temporary = stack.enter_context(atomic_path(target))
            arrays[name] = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(counts[name], side_px, side_px, 3)
            )
        by_part = sorted(rows, key=lambda item: (item[1].part, item[1].slot))
        for part, members in itertools.groupby(by_part, key=lambda item: item[1].part):
            squares = np.load(parts / array_file(part), mmap_mode="r")
            for row, picture in members:
                arrays[row.split][row.row] = squares[picture.slot]
        for array in arrays.values():
            array.flush()  # type: ignore[attr-defined]  # a memory map
    return list(targets.values())


@dataclass(frozen=True)
class SplitData:
    """One split: (N, S, S, 3) uint8 squares (memory-mapped) and their rows of the manifest."""

    name: str
    squares: ImageU8
    rows: tuple[ManifestRow, ...]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) 0 real, 1 fake."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TestSetResults:
    """One further test set."""

    description: str
    num_images: int
    generators: ByLabel[dict[str, int]]
    """Name -> images."""
    generators_also_in_training: tuple[str, ...]
    refused: dict[str, int]
    """Reason -> images."""


@dataclass(frozen=True)
class PrepareResults:
    """The outcome of prepare: the images by split and source, and the audits."""

    source: str
    description: str
    licence: str
    revision: str | None
    demo: bool
    """True if the images are made up."""
    num_images: int
    splits: dict[str, ByLabel[int]]
    """Split -> images."""
    test_sets: dict[str, TestSetResults]
    generators: ByLabel[dict[str, int]]
    """Name -> images."""
    refused: dict[str, int]
    """Reason -> images that others replaced."""
    under_both_labels: dict[str, str]
    """Key of each picture that is under the other label too -> that of a copy there; both are left out."""
    num_near_duplicates: int
    audit: Audit
    """What the original files' metadata alone give away."""
    audit_after_preparation: dict[str, Audit]
    """What preparation left of it, by evidence: `pixels`, and `format` where it can be asked."""

    @property
    def audits(self) -> dict[str, Audit]:
        """All audits by their evidence, `container` first."""
        return {"container": self.audit, **self.audit_after_preparation}


class PreparedData:
    """The prepared images of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: StageRecord = load_record(folder / PREPARE_RECORD)
        self._opened: dict[str, ImageU8] = {}

    @property
    def is_demo(self) -> bool:
        """True if the images are made up."""
        return self.results.demo

    def subject(self, name: str) -> str:
        """`name` as the subject of a plot, which says so if the images are made up."""
        return f"{name} (demonstration on synthetic pictures)" if self.is_demo else name

    @property
    def test_sets(self) -> tuple[str, ...]:
        """The test split and the further test sets that there are."""
        return (TEST, *self.results.test_sets)

    @cached_property
    def results(self) -> PrepareResults:
        """The record of the prepare stage."""
        return read_as(PrepareResults, self.record.results, self.folder)

    @property
    def settings(self) -> DataSettings:
        """Those they were prepared with; what changes nothing in the outcome is at its default."""
        return DataSettings.checked(self.record.settings)

    @cached_property
    def rows(self) -> list[ManifestRow]:
        """The manifest."""
        return read_manifest(self.record.output(MANIFEST))

    def split(self, name: str) -> SplitData:
        """Open one split, compared with its hash; pixels are read as they are used.

        Raises:
            DamagedFileError: naming the file whose bytes have changed.
        """
        if name not in self._opened:
            self._opened[name] = np.load(self.record.output(array_file(name)), mmap_mode="r")
        squares = self._opened[name]
        return SplitData(name, squares, tuple(row for row in self.rows if row.split == name))

    def verify(self) -> None:
        """Compare every file with the hash in its record.

        Raises:
            FakelensError: naming each file whose bytes have changed.
        """
        try:
            changed = load_record(self.folder / PREPARE_RECORD).changed_outputs()
        except FakelensError:
            changed = [PREPARE_RECORD]  # what it says of the others cannot be trusted
        if changed:
            raise FakelensError(
                f"changed since `prepare` wrote it: {', '.join(changed)} in {self.folder}; "
                "run `fakelens prepare --force` to make it again"
            )

    def must_be_of(self, digest: str, what: str) -> None:
        """Refuse to go on with a detector that was trained on other data.

        Args:
            digest: of the data that it was trained on.
            what: the detector's name.

        Raises:
            OtherDataError: naming both digests and the remedies.
        """
        if digest != self.record.digest:
            raise OtherDataError(
                f"{what} was trained on other data (digest {digest[:12]}) than {self.folder} holds now "
                f"({self.record.digest[:12]}): pictures that it was trained on may be among the test pictures. "
                f"Train it again (`fakelens train {what}`), or prepare the former data again with their settings"
            )
