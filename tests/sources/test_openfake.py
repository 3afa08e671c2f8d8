"""OpenFake's catalogue from a hub on loopback: what is asked for and what comes out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakelens.core.scoring import FAKE, REAL
from fakelens.sources.base import Row
from hub import COMMIT, Hub
from openfake_shards import (
    DATASETS,
    NOISE,
    NUM_GROUPS,
    NUM_SHARDS,
    PER_GROUP,
    PICTURE_BYTES,
    PIN,
    REPOSITORY,
    ROWS,
    TEST_SHARDS,
    cells,
    expected,
    first,
    generator,
    parquet,
    picture,
    place,
    shard_bytes,
    source,
)
from reading import all_rows, read, read_all


def serve(hub: Hub, data: bytes) -> None:
    """Make `data` the only shard."""
    hub.commits[PIN] = {REPOSITORY: {"core/train-00000-of-00003.parquet": data}}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("name", "folder"), [(REPOSITORY, "core/"), ("someone/v1", "data/"), ("someone/flat", "")])
def test_every_layout_gives_every_labelled_row(name: str, folder: str) -> None:
    found = all_rows(source(repository=name))
    assert len({row.key for row in found}) == len(found) == NUM_SHARDS * ROWS
    for row in found:
        assert row.key.startswith(f"{folder}train-")
        _, group, position = place(row.key)
        number = group * PER_GROUP + position
        assert (row.position, row.label, row.generator) == (position, FAKE if number % 2 else REAL, generator(number))
    assert {row.generator for row in found} == {"laion", "sdxl-0", "sdxl-1", "sdxl-2", NOISE}


@pytest.mark.usefixtures("hub")
def test_blocks_are_the_row_groups_in_an_order_of_their_own() -> None:
    blocks = sorted(source().catalogue(), key=lambda block: block.rank)
    assert [block.rank for block in blocks] == list(range(NUM_GROUPS))
    places = [{place(block.reader.key(row.position))[:2] for row in block.rows} for block in blocks]
    assert all(len(of_block) == 1 for of_block in places)
    in_order = [of_block.pop() for of_block in places]
    assert len(set(in_order)) == len(in_order)
    assert in_order != sorted(in_order)


@pytest.mark.usefixtures("hub")
def test_seed_decides_shards_and_order() -> None:
    by_seed = {seed: source(num_shards=1, seed=seed).catalogue() for seed in range(4)}
    assert by_seed[3] == source(num_shards=1, seed=3).catalogue()
    shards = {seed: {block.reader.name.split("#")[0] for block in blocks} for seed, blocks in by_seed.items()}
    assert all(len(of_seed) == 1 for of_seed in shards.values())
    assert len(set.union(*shards.values())) > 1
    orders = {tuple(place(row.key) for row in all_rows(source(seed=seed))) for seed in range(4)}
    assert len(orders) == 4


def test_a_row_without_label_is_left_out_and_one_without_generator_kept(hub: Hub) -> None:
    changes = [{}, {"label": None}, {"model": None}, {"label": "unsure"}, {"model": ""}]
    serve(hub, parquet([cells(picture(0, row), row) | change for row, change in enumerate(changes)]))
    (block,) = source().catalogue()
    assert block.rows == (Row(0, REAL, "laion"), Row(2, REAL, "unknown"), Row(4, REAL, "unknown"))
    assert read(block) == [picture(0, row) for row in (0, 2, 4)]


def test_one_request_a_footer_and_one_for_the_labels_of_each_row_group(hub: Hub) -> None:
    source(num_shards=2).catalogue()
    assert [request.path for request in hub.requests if "/api/" in request.path] == [
        f"/api/datasets/{REPOSITORY}/revision/{PIN}"
    ]
    footers = [request for request in hub.bodies() if request.byte_range == "bytes=-65536"]
    labels = [request for request in hub.bodies() if request not in footers]
    assert len({request.path for request in footers}) == len(footers) == 2
    assert len({(request.path, request.byte_range) for request in labels}) == len(labels) == 2 * ROWS // PER_GROUP
    assert len(hub.requests) == 1 + len(footers) + len(labels)
    # Two columns of five short strings; beside them lie 100,000 bytes of pictures.
    assert max(request.num_bytes for request in labels) < 300
    assert all("core/train-" in request.path for request in hub.bodies())


def test_a_footer_of_more_than_64_kib_costs_one_request_more(hub: Hub) -> None:
    small = shard_bytes(0)
    serve(hub, small)
    expected_rows = all_rows(source())
    hub.requests.clear()
    rows = [cells(picture(0, row), row) for row in range(ROWS)]
    data = parquet(rows, metadata={"huggingface": "x" * 100_000})
    footer_bytes = int.from_bytes(data[-8:-4], "little") + 8
    assert footer_bytes > 65_536
    serve(hub, data)
    assert all_rows(source()) == expected_rows
    ranges = [request.byte_range for request in hub.bodies()]
    assert ranges[:2] == ["bytes=-65536", f"bytes=-{footer_bytes}"]
    assert len(ranges) == 2 + ROWS // PER_GROUP


def test_a_file_smaller_than_what_is_asked_for_its_footer(hub: Hub) -> None:
    data = parquet([cells(b"tiny", 1)])
    assert len(data) < 65_536
    serve(hub, data)
    (block,) = source().catalogue()
    assert read(block) == [b"tiny"]


def test_opening_asks_for_nothing(hub: Hub) -> None:
    made = source()
    assert made.revision == PIN
    assert PIN[:12] in made.description
    assert hub.requests == []


def test_only_the_pinned_revision_is_asked_for(hub: Hub) -> None:
    made = source()
    read(first(made.catalogue()))
    assert made.revision == PIN
    assert hub.requests
    assert all(REPOSITORY in request.path and PIN in request.path for request in hub.requests)


def test_a_branch_that_moves_is_read_at_the_commit_first_seen(hub: Hub) -> None:
    made = source(revision="main")
    blocks, later = made.catalogue(), "d1" * 20
    hub.commits[later] = {REPOSITORY: {name: data[::-1] for name, data in DATASETS[REPOSITORY].items()}}
    hub.branches["main"] = later
    assert read(first(blocks)) == [picture(0, row) for row in range(PER_GROUP)]
    assert made.catalogue() == blocks
    assert made.test_sets()["ood"].catalogue() == source(revision=COMMIT, split="test").catalogue()
    assert made.revision == COMMIT
    of_branch = [request.path for request in hub.requests if "main" in request.path]
    assert of_branch == [f"/api/datasets/{REPOSITORY}/revision/main"]
    assert all(COMMIT in request.path for request in hub.requests if request.path not in of_branch)


def test_token_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    read(first(source().catalogue()))
    assert {request.authorization for request in hub.requests} == {"Bearer hf_secret"}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("changes", "expected_sets"),
    [
        ({}, {"ood": "core/test", "wild": "reddit/test"}),
        ({"split": "test"}, {"wild": "reddit/test"}),
        ({"config": "reddit", "split": "test"}, {"ood": "core/test"}),
        ({"repository": "someone/v1"}, {"ood": "core/test"}),
        ({"repository": "someone/v1", "split": "test"}, {}),
        ({"repository": "someone/flat"}, {}),
    ],
)
def test_test_sets_are_those_that_the_data_set_has(changes: dict[str, str], expected_sets: dict[str, str]) -> None:
    found = source(**changes).test_sets()
    told = {name: re.search(r"(?<=, )\w+/\w+(?=, revision)", test_set.description) for name, test_set in found.items()}
    assert {name: match and match.group() for name, match in told.items()} == expected_sets


def test_test_sets_are_read_from_their_own_files_without_asking_again(hub: Hub) -> None:
    made = source()
    made.catalogue()
    for name, files in {"ood": "core/test", "wild": "reddit/test"}.items():
        pictures = read_all(made.test_sets()[name])
        wanted = {
            f"{files}-00000-of-00001.parquet#{row // PER_GROUP}:{row % PER_GROUP}": picture(TEST_SHARDS[files], row)
            for row in range(ROWS)
        }
        assert pictures == wanted
    assert len([request for request in hub.requests if "/api/" in request.path]) == 1


def test_endpoint_comes_from_the_environment(hub: Hub, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from fakelens.settings import SourceSettings as S; from fakelens.sources.openfake import OpenFakeSource\n"
        "blocks = OpenFakeSource(S(num_shards=1)).catalogue(); spool = Path(sys.argv[1])\n"
        "sum(blocks[0].reader.download(spool)); pictures = blocks[0].reader.images(spool, [0, 3])\n"
        "print(sum(len(block.rows) for block in blocks), sum(map(len, pictures)))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "spool")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert result.stdout.split() == [str(ROWS), str(2 * PICTURE_BYTES)], result.stderr


@pytest.mark.usefixtures("hub")
def test_every_picture_of_every_shard_comes_under_its_own_key() -> None:
    pictures = read_all(source())
    assert len(pictures) == NUM_SHARDS * ROWS
    assert all(data == expected(key) for key, data in pictures.items())
