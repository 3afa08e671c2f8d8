"""Small data sets in OpenFake's layouts: each picture is noise that its shard and row decide."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fakelens.settings import SourceSettings
from fakelens.sources.base import Block
from fakelens.sources.openfake import OpenFakeSource

REPOSITORY = "ComplexDataLab/OpenFake"
PIN = "3247b942f18d39d1fd476b1077852af033d35d8c"
ROWS, PER_GROUP, NUM_SHARDS, PICTURE_BYTES = 20, 5, 3, 20_000
NUM_GROUPS = NUM_SHARDS * ROWS // PER_GROUP
NOISE = "tiny-random-sana"
TEST_SHARDS = {"core/test": 100, "reddit/test": 101}


def picture(shard: int, row: int, num_bytes: int = PICTURE_BYTES) -> bytes:
    return np.random.default_rng((shard, row)).bytes(num_bytes)


def generator(row: int) -> str:
    return "laion" if row % 2 == 0 else (NOISE if row == 7 else f"sdxl-{row % 3}")


def cells(image: bytes | None, row: int) -> dict[str, Any]:
    """One row in v1.0's layout."""
    label = "fake" if row % 2 else "real"
    return {
        "image": {"bytes": image, "path": f"{row}.jpg"},
        "prompt": "x" * 1000,
        "label": label,
        "model": generator(row),
    }


def parquet(rows: Sequence[Mapping[str, Any]], metadata: dict[str, str] | None = None, **options: Any) -> bytes:
    table, buffer = pa.Table.from_pylist(list(rows)).replace_schema_metadata(metadata), io.BytesIO()
    pq.write_table(table, buffer, **{"row_group_size": PER_GROUP, "compression": "none", **options})
    return buffer.getvalue()


def shard_bytes(shard: int, *, v2: bool = True) -> bytes:
    further = {"type": "base", "release_date": "2025-01"} if v2 else {}
    return parquet([cells(picture(shard, row), row) | further for row in range(ROWS)])


def train_shards(folder: str, *, v2: bool) -> dict[str, bytes]:
    return {f"{folder}train-{i:05d}-of-{NUM_SHARDS:05d}.parquet": shard_bytes(i, v2=v2) for i in range(NUM_SHARDS)}


def shard_of_test(name: str) -> dict[str, bytes]:
    return {f"{name}-00000-of-00001.parquet": shard_bytes(TEST_SHARDS[name])}


V2 = {
    **train_shards("core/", v2=True),
    **shard_of_test("core/test"),
    **shard_of_test("reddit/test"),
    "wild/train-00000-of-00001.parquet": b"never read",
    "README.md": b"never read",
}
V1 = {**train_shards("data/", v2=False), "data/test-00000-of-00001.parquet": b"never read", "README.md": b"never read"}
DATASETS: dict[str, dict[str, bytes]] = {
    REPOSITORY: V2,
    "someone/v1": V1,
    "someone/flat": train_shards("", v2=True),
    "someone/else": {"data/train-00000-of-00001.parquet": parquet([{"image": b"x", "label": 3}])},
}


def source(**changes: Any) -> OpenFakeSource:
    return OpenFakeSource(SourceSettings(source="openfake", **changes))


def place(key: str) -> tuple[int, int, int]:
    """(shard, row group, row) out of a key."""
    match = re.fullmatch(r"(?:core/|data/|)train-(\d+)-of-00003\.parquet#(\d+):(\d+)", key)
    assert match is not None
    shard, group, row = map(int, match.groups())
    return shard, group, row


def expected(key: str) -> bytes:
    shard, group, row = place(key)
    return picture(shard, group * PER_GROUP + row)


def first(blocks: Sequence[Block]) -> Block:
    """The block of the first shard's first row group."""
    return min(blocks, key=lambda block: block.reader.name)
