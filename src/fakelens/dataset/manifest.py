"""The prepared images' table: one row per image in, `manifest.parquet` out and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError


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
        ValueError: when it is missing or of another make.
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
