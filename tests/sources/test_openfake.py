"""OpenFake from a hub on loopback: what is asked for, what comes out, and what happens when the hub fails."""

import io
import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem, close_session, constants

from fakelens.core.scoring import FAKE, REAL
from fakelens.sources.base import Candidate, SourceSettings
from fakelens.sources.openfake import OpenFakeSource
from hub import Hub

REPOSITORY = "ComplexDataLab/OpenFake"
PIN = "3247b942f18d39d1fd476b1077852af033d35d8c"
ROWS, PER_GROUP, NUM_SHARDS, PICTURE_BYTES = 20, 5, 3, 20_000
NOISE = "tiny-random-sana"
# Parquet's reader asks for the file's last 64 KiB on opening.
FOOTER_BYTES = 65_536


def picture(shard: int, row: int) -> bytes:
    return np.random.default_rng((shard, row)).bytes(PICTURE_BYTES)


def generator(row: int) -> str:
    return "laion" if row % 2 == 0 else (NOISE if row == 7 else f"sdxl-{row % 3}")


def shard_bytes(shard: int, *, v2: bool) -> bytes:
    rows: list[dict[str, Any]] = [
        {
            "image": {"bytes": picture(shard, row), "path": f"{row}.jpg"},
            "prompt": "x" * 1000,
            "label": "fake" if row % 2 else "real",
            "model": generator(row),
        }
        for row in range(ROWS)
    ]
    if v2:
        rows = [row | {"type": "base", "release_date": "2025-01"} for row in rows]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=PER_GROUP, compression="none")
    return buffer.getvalue()


def repository(*, v2: bool) -> dict[str, bytes]:
    folder = "core" if v2 else "data"
    files = {f"{folder}/train-{i:05d}-of-{NUM_SHARDS:05d}.parquet": shard_bytes(i, v2=v2) for i in range(NUM_SHARDS)}
    files |= {f"{folder}/test-00000-of-00001.parquet": b"never read", "README.md": b"never read"}
    return files | ({"wild/train-00000-of-00001.parquet": b"never read"} if v2 else {})


V2, V1 = repository(v2=True), repository(v2=False)


@pytest.fixture(autouse=True)
def quiet_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A client that knows no token, writes nowhere else, and waits for nothing between its retries."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    unhurried = types.SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", unhurried)
    yield
    # The client keeps connections, and file systems with all that they ever listed, for the next user.
    close_session()
    HfFileSystem.clear_instance_cache()


def use(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Make `hub` the client's hub: it has read HF_ENDPOINT long ago, on import."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    return hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    datasets: Mapping[str, Mapping[str, bytes]] = {
        REPOSITORY: V2,
        "someone/v1": V1,
        "someone/else": {"data/train-00000-of-00001.parquet": other_layout()},
    }
    with Hub(datasets, revisions=("main", PIN)) as served:
        yield use(served, monkeypatch)


def other_layout() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [b"x"], "label": [3]}), buffer)
    return buffer.getvalue()


def source(**changes: Any) -> OpenFakeSource:
    return OpenFakeSource(SourceSettings(source="openfake", **changes))


def place(candidate: Candidate) -> tuple[int, int, int]:
    """(shard, row group, row) out of a key."""
    match = re.fullmatch(r"(?:core|data)/train-(\d+)-of-00003\.parquet#(\d+):(\d+)", candidate.key)
    assert match is not None
    shard, group, row = map(int, match.groups())
    return shard, group, row


def expected_bytes(candidate: Candidate) -> bytes:
    shard, group, row = place(candidate)
    return picture(shard, group * PER_GROUP + row)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("name", "folder"), [(REPOSITORY, "core"), ("someone/v1", "data")])
def test_both_layouts_give_every_labelled_row(name: str, folder: str) -> None:
    found = source(repository=name).catalogue()
    assert len({candidate.key for candidate in found}) == len(found) == NUM_SHARDS * (ROWS - 1)
    for candidate in found:
        assert candidate.key.startswith(f"{folder}/")
        _, group, row = place(candidate)
        number = group * PER_GROUP + row
        assert candidate.label == (FAKE if number % 2 else REAL)
        assert candidate.generator == generator(number)


@pytest.mark.usefixtures("hub")
def test_blocks_are_the_row_groups_in_an_order_of_their_own() -> None:
    groups: dict[int, set[tuple[int, int]]] = {}
    for candidate in source().catalogue():
        groups.setdefault(candidate.block, set()).add(place(candidate)[:2])
    assert sorted(groups) == list(range(NUM_SHARDS * ROWS // PER_GROUP))
    assert all(len(places) == 1 for places in groups.values())
    in_order = [places.pop() for _, places in sorted(groups.items())]
    assert len(set(in_order)) == len(in_order)
    assert in_order != sorted(in_order)


@pytest.mark.usefixtures("hub")
def test_seed_decides_shards_and_order() -> None:
    by_seed = {seed: source(num_shards=1, seed=seed).catalogue() for seed in range(4)}
    assert by_seed[3] == source(num_shards=1, seed=3).catalogue()
    assert len({place(candidates[0])[0] for candidates in by_seed.values()}) > 1
    assert all(len({place(c)[0] for c in candidates}) == 1 for candidates in by_seed.values())


@pytest.mark.usefixtures("hub")
def test_excluded_generators_are_left_out() -> None:
    all_names = {candidate.generator for candidate in source(exclude_generators=()).catalogue()}
    assert all_names == {"laion", "sdxl-0", "sdxl-1", "sdxl-2", NOISE}
    fewer = source(exclude_generators=("laion", "sdxl-1")).catalogue()
    assert {candidate.generator for candidate in fewer} == all_names - {"laion", "sdxl-1"}


def test_catalogue_reads_labels_and_no_picture(hub: Hub) -> None:
    source(num_shards=2).catalogue()
    beyond_footers = [request for request in hub.bodies() if request.num_bytes != FOOTER_BYTES]
    assert len(hub.bodies()) - len(beyond_footers) == 2
    # Two columns of five short strings in each of four row groups, of two shards.
    assert len(beyond_footers) <= 2 * 4 * 2
    assert sum(request.num_bytes for request in beyond_footers) < 2 * 4 * 300
    assert {request.path for request in hub.bodies() if "train" not in request.path} == set()


@pytest.mark.usefixtures("hub")
def test_fetch_gives_the_pictures_in_the_order_asked_for() -> None:
    made = source()
    chosen = sorted(made.catalogue())[3:40]
    delivered = list(made.fetch(chosen))
    assert [candidate for candidate, _ in delivered] == chosen
    assert all(data == expected_bytes(candidate) for candidate, data in delivered)
    backwards = chosen[::-1]
    assert list(made.fetch(backwards)) == delivered[::-1]


def test_fetch_reads_only_the_chosen_row_groups_and_each_once(hub: Hub) -> None:
    made = source()
    blocks = sorted({candidate.block for candidate in made.catalogue()})[:2]
    chosen = sorted(candidate for candidate in made.catalogue() if candidate.block in blocks)
    hub.requests.clear()
    assert len(list(made.fetch(chosen))) == len(chosen) > PER_GROUP
    pictures = [request for request in hub.bodies() if request.num_bytes != FOOTER_BYTES]
    assert len({(request.path, request.byte_range) for request in pictures}) == len(pictures) == 2
    # A row group's pictures, with parquet's framing but without the prompts that stand beside them.
    for request in pictures:
        assert PER_GROUP * PICTURE_BYTES < request.num_bytes < PER_GROUP * (PICTURE_BYTES + 100)


def test_fetching_nothing_asks_for_nothing(hub: Hub) -> None:
    assert list(source().fetch([])) == []
    assert hub.requests == []


def test_leaving_fetch_early_is_clean(hub: Hub) -> None:
    made = source()
    delivery = made.fetch(sorted(made.catalogue()))
    next(delivery)
    delivery.close()
    # Four row groups at most had been asked for by then, of twelve.
    assert len([request for request in hub.bodies() if request.num_bytes > FOOTER_BYTES]) <= 4


def test_only_the_pinned_revision_is_asked_for(hub: Hub) -> None:
    made = source()
    assert made.revision == PIN
    assert PIN[:12] in made.description
    list(made.fetch(made.catalogue()[:3]))
    of_data = [request.path for request in hub.requests if REPOSITORY in request.path]
    assert of_data
    assert all(PIN in path for path in of_data)


def test_token_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    made = source()
    list(made.fetch(made.catalogue()[:3]))
    assert {request.authorization for request in hub.requests if REPOSITORY in request.path} == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repository": "no/such"}, r"no/such at revision \w+ cannot be found: check data\.repository, HF_ENDPOINT"),
        ({"revision": "v9"}, r"OpenFake at revision v9 does not exist: choose another with --set data\.revision"),
        ({"split": "validation"}, r"no parquet files for config 'core', split 'validation': check data\.config"),
        ({"repository": "someone/else"}, r"train-00000-of-00001\.parquet has no column model: check data\.repository"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_is_not_there_is_named_with_the_remedy(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source(**changes).catalogue()


def test_no_server_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub({}) as gone:
        use(gone, monkeypatch)
    with pytest.raises(ValueError, match=r"reading .* failed \(ConnectError: .*check the network, HF_ENDPOINT"):
        source().catalogue()


@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_a_hub_with_faults_gives_the_same_pictures(hub: Hub, fault: str) -> None:
    made = source()
    setattr(hub, fault, 3)
    found = made.catalogue()
    delivered = list(made.fetch(sorted(found)))
    assert found == source().catalogue()
    assert len(delivered) == NUM_SHARDS * (ROWS - 1)
    assert all(data == expected_bytes(candidate) for candidate, data in delivered)
    # Each request that came to nothing was repeated: the faults happened.
    whole = [(r.path, r.byte_range) for r in hub.requests if r.byte_range]
    assert len(whole) - len(set(whole)) >= hub.num_bodies // 3


@pytest.mark.parametrize(("fault", "error"), [("fail_every", "HfHubHTTPError"), ("cut_every", "RemoteProtocolError")])
def test_a_hub_that_stays_broken_ends_with_the_remedy(hub: Hub, fault: str, error: str) -> None:
    made = source()
    chosen = sorted(made.catalogue())
    setattr(hub, fault, 1)
    with pytest.raises(ValueError, match=rf"failed \({error}.*then run the same command again"):
        list(made.fetch(chosen))


def test_endpoint_comes_from_the_environment(hub: Hub, tmp_path: Path) -> None:
    program = (
        "from fakelens.sources.base import SourceSettings as S; from fakelens.sources.openfake import OpenFakeSource\n"
        "made = OpenFakeSource(S(num_shards=1)); found = made.catalogue()\n"
        "print(len(found), sum(len(data) for _, data in made.fetch(found[:2])))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.stdout.split() == [str(ROWS - 1), str(2 * PICTURE_BYTES)], result.stderr
