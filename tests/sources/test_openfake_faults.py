"""OpenFake from a hub that fails: what is tried again, and which remedy is named where that does not help."""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from huggingface_hub import constants

from fakelens.sources import openfake
from fakelens.sources.base import Block
from hub import Hub
from openfake_shards import (
    DATASETS,
    NUM_SHARDS,
    PER_GROUP,
    PIN,
    REPOSITORY,
    ROWS,
    expected,
    first,
    picture,
    shard_bytes,
    source,
)
from reading import read, read_all

SHARD = shard_bytes(0)
# Between nine attempts: doubling from half a second, at most eight.
WAITS_S = [0.5, 1, 2, 4, 8, 8, 8, 8]


def serve(hub: Hub, data: bytes) -> None:
    """Make `data` the only shard."""
    hub.commits[PIN] = {REPOSITORY: {"core/train-00000-of-00003.parquet": data}}


def from_request(hub: Hub, number: int, change: Callable[[], object]) -> None:
    """Change the hub when it is asked the `number`th time from now, from 1."""
    wanted = hub.num_requests + number
    hub.on_request = lambda current: change() if current == wanted else None


@pytest.fixture
def block(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Block:
    """One that is read in more than three pieces; the hub has forgotten that it was asked for it."""
    found = first(source().catalogue())
    monkeypatch.setattr(openfake, "PIECE_BYTES", 30_000)
    hub.requests.clear()
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repository": "no/such"}, r"no/such at revision \w+ cannot be found: check data\.repository, HF_ENDPOINT"),
        ({"revision": "v9"}, r"OpenFake at revision v9 does not exist: choose another with --set data\.revision"),
        ({"split": "validation"}, r"no parquet files for config 'core', split 'validation': check data\.config"),
        (
            {"config": "none"},
            r"for config 'none', split 'train': check data\.config.* needs none/train-\*\.parquet and has 'core/t",
        ),
        (
            {"repository": "someone/else"},
            r"train-00000-of-00001\.parquet has no column image\.bytes, model: check data\.repository",
        ),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_is_not_there_is_named_with_the_remedy(
    changes: dict[str, str], message: str, waited_s: list[float]
) -> None:
    with pytest.raises(ValueError, match=message):
        source(**changes).catalogue()
    assert waited_s == []


@pytest.mark.parametrize("data", [b"<html>not found</html>" * 9_999, SHARD[:-3], b"x", SHARD[-4:]])
def test_a_file_that_is_no_parquet(hub: Hub, data: bytes) -> None:
    serve(hub, data)
    with pytest.raises(ValueError, match=r"core/train-0\S+ is not a parquet file \(.*\): check data\.revision"):
        source().catalogue()


def test_no_server_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, waited_s: list[float]) -> None:
    with Hub({}) as gone:
        monkeypatch.setattr(constants, "ENDPOINT", gone.url)
    with pytest.raises(ValueError, match=r"reading .* failed \(ConnectError: .*check the network, HF_ENDPOINT"):
        source().catalogue()
    assert waited_s == WAITS_S


@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_a_hub_with_faults_gives_the_same_pictures(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, waited_s: list[float], fault: str
) -> None:
    blocks = source().catalogue()
    # One after the other: who fails is then certain, and nobody fails every time.
    monkeypatch.setattr(openfake, "LISTING_THREADS", 1)
    hub.requests.clear()
    hub.faulty, hub.num_struck = "/", 0
    setattr(hub, fault, 3)
    pictures = read_all(source())
    assert source().catalogue() == blocks
    assert len(pictures) == NUM_SHARDS * ROWS
    assert all(data == expected(key) for key, data in pictures.items())
    # Each request that came to nothing was waited for and repeated: the faults happened.
    assert len(waited_s) == hub.num_struck // 3 > 10


@pytest.mark.parametrize(("fault", "error"), [("fail_every", "HfHubHTTPError"), ("cut_every", "RemoteProtocolError")])
def test_a_hub_that_stays_broken_ends_with_the_remedy(
    hub: Hub, block: Block, waited_s: list[float], fault: str, error: str
) -> None:
    setattr(hub, fault, 1)
    with pytest.raises(ValueError, match=rf"failed \({error}.*then run the same command again"):
        read(block)
    assert waited_s == WAITS_S


def test_a_hub_that_does_not_answer_ends_with_the_remedy(
    hub: Hub, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.slow_s = 0.3
    with pytest.raises(ValueError, match=r"failed \(ReadTimeout.*then run the same command again"):
        read(block)


@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_information_is_asked_for_again(hub: Hub, waited_s: list[float], fault: str) -> None:
    expected_blocks = source().catalogue()
    hub.faulty = "/api/"
    setattr(hub, fault, 1)
    from_request(hub, 3, lambda: setattr(hub, fault, 0))
    assert source().catalogue() == expected_blocks
    assert waited_s == WAITS_S[:2]


@pytest.mark.parametrize(("status", "num_requests"), [(503, 9), (401, 1), (403, 1), (416, 1)])
def test_information_that_cannot_be_had(hub: Hub, waited_s: list[float], status: int, num_requests: int) -> None:
    hub.faulty, hub.status = "/api/", status
    with pytest.raises(ValueError, match=rf"reading {REPOSITORY} at .* failed \(.*{status}.*HF_ENDPOINT and HF_TOKEN"):
        source().catalogue()
    assert [request.status for request in hub.requests] == num_requests * [status]
    assert waited_s == WAITS_S[: num_requests - 1]


def test_a_limited_rate_is_waited_for_as_long_as_the_hub_asks(hub: Hub, block: Block, waited_s: list[float]) -> None:
    hub.num_limited, hub.retry_after_s = 2, 37
    assert read(block) == [picture(0, row) for row in range(PER_GROUP)]
    # The client adds a second for rounding.
    assert waited_s == [38, 38]
    assert len(hub.bodies(429)) == 2


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, "Invalid credentials in Authorization header", r"failed \(.*401.*: check .* HF_TOKEN, then run the same"),
        (401, "RepoNotFound", r"cannot be found: check .*HF_TOKEN if it is private or has expired"),
        (403, "GatedRepo", rf"asks for access: accept its terms at \S+:\d+/datasets/{REPOSITORY} and set HF_TOKEN"),
        (403, "", r"failed \(.*403.*: check .* HF_TOKEN"),
        (416, "", r"failed \(.*416.*: check the network, HF_ENDPOINT"),
    ],
)
def test_access_that_ends_midway(
    hub: Hub, block: Block, waited_s: list[float], status: int, message: str, remedy: str
) -> None:
    from_request(hub, 2, lambda: vars(hub).update(status=status, message=message))
    with pytest.raises(ValueError, match=rf"{REPOSITORY}/core/train-0\S+ at revision {PIN} .*{remedy}"):
        read(block)
    assert [request.status for request in hub.requests] == [206, status]
    assert waited_s == []


def test_access_that_ends_within_the_catalogue(hub: Hub) -> None:
    # Behind the information and the three footers.
    from_request(hub, 6, lambda: setattr(hub, "status", 401))
    with pytest.raises(ValueError, match=r"core/train-0\S+ at revision .* failed \(.*401.* HF_TOKEN"):
        source().catalogue()


def test_a_revision_that_vanishes_midway(hub: Hub, block: Block) -> None:
    from_request(hub, 2, lambda: hub.commits.pop(PIN))
    with pytest.raises(
        ValueError, match=rf"at revision {PIN} does not exist: choose another with --set data\.revision"
    ):
        read(block)
    assert [request.status for request in hub.requests] == [206, 404]


def test_fewer_bytes_than_asked_for(hub: Hub, block: Block) -> None:
    serve(hub, DATASETS[REPOSITORY]["core/train-00000-of-00003.parquet"][:50_000])
    with pytest.raises(ValueError, match=r"the hub gave 19\d+ of 30000 bytes of core/train-0.*does not match"):
        read(block)


@pytest.fixture
def storage(hub: Hub) -> Iterator[Hub]:
    """Another server, where the files of `hub` are."""
    with Hub({}) as elsewhere:
        hub.keep_files_elsewhere(elsewhere)
        yield elsewhere


def test_files_behind_a_redirect_are_read_and_the_token_stays_with_the_hub(
    hub: Hub, storage: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pictures = read_all(source())
    assert all(data == expected(key) for key, data in pictures.items())
    assert {request.authorization for request in storage.requests} == {""}
    assert hub.bodies() == []


def test_an_address_that_storage_refuses_is_asked_for_again(
    hub: Hub, storage: Hub, block: Block, waited_s: list[float]
) -> None:
    hub.requests.clear()
    storage.num_refused = 2
    assert read(block) == [picture(0, row) for row in range(PER_GROUP)]
    assert waited_s == WAITS_S[:2]
    signed = [request.path for request in storage.requests]
    assert len(set(signed)) == len(signed)  # a new address each time


def test_storage_that_goes_on_refusing_is_named(storage: Hub, block: Block, waited_s: list[float]) -> None:
    storage.num_refused = 1000
    host = storage.url.removeprefix("http://")
    with pytest.raises(ValueError, match=rf"{host} answered 403 to an address that the hub signed.*same command"):
        read(block)
    assert waited_s == WAITS_S


def test_a_403_of_the_hub_itself_is_not_tried_again(hub: Hub, block: Block, waited_s: list[float]) -> None:
    hub.status = 403
    with pytest.raises(ValueError, match=r"failed \(.*403"):
        read(block)
    assert waited_s == []


def test_storage_that_cannot_count_from_the_end_is_told_where_that_is(hub: Hub) -> None:
    expected_blocks = source().catalogue()
    hub.counts_from_end = False
    hub.requests.clear()
    assert source().catalogue() == expected_blocks
    assert len(hub.bodies(416)) == NUM_SHARDS
    assert all(not request.byte_range.startswith("bytes=-") for request in hub.bodies(206))


def test_where_ranges_are_ignored_no_whole_file_is_read(hub: Hub) -> None:
    num_bytes = 40_000_000
    serve(hub, bytes(num_bytes))
    hub.ignore_ranges = True
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"ignores byte ranges: .* the whole file \(40\.0 MB\).*HF_ENDPOINT"):
        source().catalogue()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < num_bytes / 4


@pytest.mark.usefixtures("hub")
def test_a_token_that_can_be_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_geheimnisträger")
    with pytest.raises(ValueError, match=r"the token of the hub holds 'ä'.*set HF_TOKEN anew"):
        source().catalogue()


@pytest.mark.parametrize(
    "name", ["datasets/ComplexDataLab/OpenFake", "http://127.0.0.1:1/datasets/a/b", "OpenFake", ""]
)
def test_a_repository_that_is_no_name_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be OWNER/NAME, such as ComplexDataLab/OpenFake"):
        source(repository=name)
