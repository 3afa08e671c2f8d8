"""OpenFake's row groups: which bytes are brought, in what pieces, and which pictures come out of them."""

import io
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fakelens.core.progress import Silent
from fakelens.sources import openfake
from fakelens.sources.base import Block
from hub import Hub
from openfake_shards import (
    PER_GROUP,
    PICTURE_BYTES,
    PIN,
    REPOSITORY,
    cells,
    first,
    parquet,
    picture,
    shard_bytes,
    source,
)
from reading import read

NAME = "core/train-00000-of-00003.parquet"
# What writers do to the image column. Cells of a row group with fewer than 1,024 rows all enter one dictionary page.
LAYOUTS: dict[str, dict[str, Any]] = {
    "dictionary": {},
    "snappy": {"compression": "snappy"},
    "plain": {"use_dictionary": False, "data_page_size": 30_000},
    "plain-snappy": {"use_dictionary": False, "data_page_size": 30_000, "compression": "snappy"},
    "pages-v2": {"use_dictionary": False, "data_page_size": 30_000, "compression": "zstd", "data_page_version": "2.0"},
    "content-defined": {"use_content_defined_chunking": True, "write_page_index": True, "compression": "snappy"},
}


def serve(hub: Hub, data: bytes) -> list[Block]:
    """Make `data` the only shard: its blocks in the file's order."""
    hub.commits[PIN] = {REPOSITORY: {NAME: data}}
    return sorted(source().catalogue(), key=lambda block: block.reader.name)


def column(data: bytes, row_group: int) -> bytes:
    """A row group's image column as it lies in the file."""
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(row_group).column(0)
    assert chunk.path_in_schema == "image.bytes"
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return data[start : start + chunk.total_compressed_size]


@pytest.mark.parametrize("piece_bytes", [7_001, 8 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_join_to_the_column_whatever_its_layout(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layout: str, piece_bytes: int
) -> None:
    data = parquet([cells(picture(0, row), row) for row in range(2 * PER_GROUP)], **LAYOUTS[layout])
    blocks, spool = serve(hub, data), tmp_path / "spool"
    monkeypatch.setattr(openfake, "PIECE_BYTES", piece_bytes)
    for number, block in enumerate(blocks):
        hub.requests.clear()
        pieces = list(block.reader.download(spool))
        assert sum(pieces) == block.num_bytes == len(column(data, number))
        assert max(pieces) <= piece_bytes
        assert [request.num_bytes for request in hub.bodies()] == pieces
        assert len(pieces) == len(hub.requests) == -(-block.num_bytes // piece_bytes)
        rows = range(number * PER_GROUP, (number + 1) * PER_GROUP)
        assert list(block.reader.images(spool, range(PER_GROUP))) == [picture(0, row) for row in rows]


def test_a_dictionary_that_overflows_into_plain_pages(hub: Hub) -> None:
    # The writer looks at its dictionary's size every 1,024 rows, and gives it up at 1 MiB.
    pictures = [picture(0, row, 1_500) for row in range(2_100)]
    data = parquet([cells(image, row) for row, image in enumerate(pictures)], row_group_size=len(pictures))
    encodings = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0).encodings
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(encodings)
    (block,) = serve(hub, data)
    assert read(block) == pictures
    chosen = range(1, 2_100, 97)
    assert read(block, chosen) == [pictures[position] for position in chosen]


def test_only_the_image_column_of_the_chosen_row_groups_is_read(hub: Hub) -> None:
    data = shard_bytes(0)
    blocks = serve(hub, data)
    hub.requests.clear()
    for number in (0, 2):
        read(blocks[number])
    assert len(hub.requests) == len(hub.bodies()) == 2
    for number, request in zip((0, 2), hub.bodies(), strict=True):
        start = data.index(column(data, number))
        assert request.byte_range == f"bytes={start}-{start + len(column(data, number)) - 1}"
        # Parquet's framing, and none of the prompts that stand beside.
        assert PER_GROUP * PICTURE_BYTES < request.num_bytes < 1.05 * PER_GROUP * PICTURE_BYTES


@pytest.mark.usefixtures("hub")
def test_chosen_positions_come_in_their_order() -> None:
    block = first(source().catalogue())
    assert read(block, [1, 4]) == [picture(0, 1), picture(0, 4)]
    assert read(block, []) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_picture_that_is_not_there_is_empty(hub: Hub, layout: str) -> None:
    rows = [cells(None, 0), cells(picture(0, 1), 1), cells(b"", 2), cells(None, 3) | {"image": None}]
    (block,) = serve(hub, parquet(rows, **LAYOUTS[layout]))
    assert read(block) == [b"", picture(0, 1), b"", b""]


def test_a_split_without_rows_has_none(hub: Hub) -> None:
    empty = pq.read_table(io.BytesIO(shard_bytes(0))).slice(0, 0)
    pq.write_table(empty, data := io.BytesIO())
    assert [block.rows for block in serve(hub, data.getvalue())] == [()]


def test_a_reader_works_in_another_process(hub: Hub, tmp_path: Path) -> None:
    reader = pickle.loads(pickle.dumps(first(source(revision="main").catalogue()).reader))
    assert reader == first(source(revision="main").catalogue()).reader
    program = (
        "import pickle, sys; from pathlib import Path\n"
        "reader, spool = pickle.load(sys.stdin.buffer), Path(sys.argv[1])\n"
        "sum(reader.download(spool)); sys.stdout.buffer.write(b''.join(reader.images(spool, [0, 3])))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "spool")]
    result = subprocess.run(
        command, env=environment, input=pickle.dumps(reader), capture_output=True, check=False, timeout=120
    )
    assert result.stdout == picture(0, 0) + picture(0, 3), result.stderr


def test_leaving_a_download_early_asks_for_no_more(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    block = first(source().catalogue())
    monkeypatch.setattr(openfake, "PIECE_BYTES", 10_000)
    hub.requests.clear()
    download = block.reader.download(tmp_path / "spool")
    assert hub.requests == []
    next(download)
    download.close()  # type: ignore[attr-defined]
    assert len(hub.requests) == 1
    assert read(block) == [picture(0, row) for row in range(PER_GROUP)]


def test_a_large_column_streams(hub: Hub, tmp_path: Path) -> None:
    column_bytes, cell_bytes = 64 << 20, 1 << 20
    pictures = [np.random.default_rng(row).bytes(cell_bytes) for row in range(column_bytes // cell_bytes)]
    rows = [cells(image, row) for row, image in enumerate(pictures)]
    # A page is the least that parquet reads at once.
    pages = {"use_dictionary": False, "write_batch_size": 1, "data_page_size": cell_bytes}
    (block,) = serve(hub, parquet(rows, row_group_size=len(rows), **pages))
    assert column_bytes < block.num_bytes < 1.05 * column_bytes
    spool = tmp_path / "spool"
    tracemalloc.start()
    try:
        assert sum(block.reader.download(spool)) == block.num_bytes
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Three pieces: one lies there as it arrives and once joined; the hub, in this process too, sends what it has.
    assert peak_bytes <= 3 * (8 << 20)
    assert list(block.reader.images(spool, [0, 63])) == [pictures[0], pictures[63]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("damage", ["noise", "zeros"])
def test_damaged_columns_end_in_an_error(hub: Hub, layout: str, damage: str) -> None:
    data = parquet([cells(picture(0, row), row) for row in range(PER_GROUP)], **LAYOUTS[layout])
    (block,) = serve(hub, data)
    good = column(data, 0)
    bad = bytes(len(good)) if damage == "zeros" else np.random.default_rng(9).bytes(len(good))
    hub.commits[PIN] = {REPOSITORY: {NAME: data.replace(good, bad)}}
    with pytest.raises(ValueError, match=r"train-\S+#0 cannot be read .*: the file on the hub is damaged; choose"):
        read(block)


def test_damaged_labels_end_in_an_error(hub: Hub) -> None:
    data = parquet([cells(picture(0, row), row) for row in range(PER_GROUP)])
    chunk = next(
        pq.read_metadata(pa.BufferReader(data)).row_group(0).column(i)
        for i in range(9)
        if pq.read_metadata(pa.BufferReader(data)).row_group(0).column(i).path_in_schema == "label"
    )
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    end = start + chunk.total_compressed_size
    hub.commits[PIN] = {REPOSITORY: {NAME: data[:start] + b"\xff" * (end - start) + data[end:]}}
    with pytest.raises(ValueError, match=r"train-\S+#0 cannot be read .*: the file on the hub is damaged; choose"):
        source().catalogue()


def test_a_damaged_footer_is_named(hub: Hub) -> None:
    data = parquet([cells(picture(0, row), row) for row in range(PER_GROUP)])
    num = int.from_bytes(data[-8:-4], "little")
    hub.commits[PIN] = {REPOSITORY: {NAME: data[: -8 - num] + bytes(num) + data[-8:]}}
    with pytest.raises(ValueError, match=r"train-\S+ is not a parquet file .*check data\.revision"):
        source().catalogue()


def test_images_that_are_no_struct_are_refused(hub: Hub) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [b"x"], "label": ["real"], "model": ["m"]}), buffer)
    hub.commits[PIN] = {REPOSITORY: {NAME: buffer.getvalue()}}
    with pytest.raises(ValueError, match=r"has no column image\.bytes: check data\.repository"):
        source().catalogue()


def test_rows_of_other_labels_are_left_out_with_a_word(hub: Hub) -> None:
    class Told(Silent):
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    told = Told()
    rows = [cells(picture(0, row), row) | ({"label": "unsure"} if row < 2 else {}) for row in range(PER_GROUP)]
    hub.commits[PIN] = {REPOSITORY: {NAME: parquet(rows)}}
    (block,) = source().catalogue(told)
    assert [row.position for row in block.rows] == list(range(2, PER_GROUP))
    assert told.said == ["2 rows of core/train are neither real nor fake ('unsure'): left out"]


def relabelled(values: list[Any], order: tuple[str, ...] = ("image", "label", "model")) -> pa.Table:
    rows = [cells(picture(0, row), row) for row in range(len(values))]
    table = pa.Table.from_pylist(rows)
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(values))
    return table.select([*order, *(name for name in table.column_names if name not in order)])


def written(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=PER_GROUP)
    return buffer.getvalue()


WORDS = [("real", "fake")[row % 2] for row in range(PER_GROUP)]


@pytest.mark.parametrize(
    "values",
    [
        [word.capitalize() for word in WORDS],
        [{"real": "human", "fake": "AI-generated"}[word] for word in WORDS],
        [{"real": "0_real", "fake": "1_fake"}[word] for word in WORDS],
        [{"real": "nature", "fake": "ai"}[word] for word in WORDS],
    ],
)
def test_labels_in_words_of_certain_meaning_are_mapped(hub: Hub, values: list[str]) -> None:
    (block,) = serve(hub, written(relabelled(values)))
    assert [row.label for row in block.rows] == [row % 2 for row in range(PER_GROUP)]


@pytest.mark.parametrize("values", [[row % 2 for row in range(PER_GROUP)], [row % 2 == 1 for row in range(PER_GROUP)]])
def test_labels_of_unknown_meaning_are_named_with_the_setting_that_says_it(hub: Hub, values: list[Any]) -> None:
    with pytest.raises(ValueError, match=rf"column label .*'{values[0]}'.*data\.label_values="):
        serve(hub, written(relabelled(values)))
    meaning = {str(values[0]): "real", str(values[1]): "fake"}
    (block,) = source(label_values=meaning).catalogue()
    assert [row.label for row in block.rows] == [row % 2 for row in range(PER_GROUP)]


def test_class_numbers_mean_what_the_file_says(hub: Hub) -> None:
    features = {"label": {"names": ["fake", "real"], "_type": "ClassLabel"}}
    table = relabelled([1 - row % 2 for row in range(PER_GROUP)])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    (block,) = serve(hub, written(table.replace_schema_metadata(metadata)))
    assert [row.label for row in block.rows] == [row % 2 for row in range(PER_GROUP)]


def test_columns_in_another_order_cost_no_more_bytes(hub: Hub) -> None:
    costs = {}
    for order in (("image", "label", "model"), ("label", "image", "model"), ("model", "image", "label")):
        hub.requests.clear()
        (block,) = serve(hub, written(relabelled(WORDS, order)))
        costs[order] = sum(request.num_bytes for request in hub.bodies())
        assert read(block) == [picture(0, row) for row in range(PER_GROUP)]
    assert max(costs.values()) - min(costs.values()) < 1_000
