"""The same outcomes whoever does the work; errors, killed workers and a killed parent leave nothing running."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fake_source import STORED_PX, ReaderError, jpeg
from fakelens.dataset.examine import Outcome, Work, run_here
from fakelens.sources.base import Block, Row

PICTURES = 2


@dataclass(frozen=True)
class Reader:
    """Two pictures; every step is a line `STEP TIME PID` of a file, so that it may run in any process."""

    folder: Path
    number: int
    sleep_s: float = 0
    end: str = ""
    """How reading ends: "" well, "raise" with an error, "kill" with the process, "wait" never."""

    @property
    def name(self) -> str:
        return f"reader {self.number}"

    def key(self, index: int) -> str:
        return f"{self.number}/{index}"

    def download(self, spool: Path) -> Iterator[int]:
        self.note("download")
        for _ in range(4):
            time.sleep(self.sleep_s)
            yield 25
        spool.mkdir()

    def images(self, spool: Path, indices: Sequence[int]) -> Iterator[bytes]:
        assert spool.exists()
        self.note("read")
        if self.end == "raise":
            raise ReaderError("block 2 is broken")
        if self.end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60 if self.end == "wait" else self.sleep_s)
        for index in indices:
            yield jpeg(10 * self.number + index) if self.number % 3 or index else b"no picture"
        self.note("done")

    def note(self, step: str) -> None:
        with (self.folder / f"{step}-{self.number}").open("a") as file:
            file.write(f"{step} {time.monotonic_ns()} {os.getpid()}\n")


def works(folder: Path, num: int, sleep_s: float = 0, ends: dict[int, str] | None = None) -> list[Work]:
    notes, parts = folder / "notes", folder / "parts"
    notes.mkdir(parents=True)
    parts.mkdir()
    return [
        Work(f"x-{number:06d}", block, parts, STORED_PX, STORED_PX)
        for number in range(num)
        for reader in [Reader(notes, number, sleep_s, (ends or {}).get(number, ""))]
        for block in [Block(number, tuple(Row(i, i % 2, "a") for i in range(PICTURES)), reader)]
    ]


def notes(folder: Path) -> list[tuple[int, str, int]]:
    """(time, step, process), in the order of time."""
    lines = [line.split() for path in (folder / "notes").iterdir() for line in path.read_text().splitlines()]
    return sorted((int(time_ns), step, int(pid)) for step, time_ns, pid in lines)


def steps(folder: Path, step: str) -> int:
    return sum(own == step for _, own, _ in notes(folder))


def in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.pictures[0].block)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "parts").iterdir()}


def test_the_outcome_is_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    found, files = [], []
    for num_workers in (0, 1, 2):
        folder = tmp_path / str(num_workers)
        found.append(in_order(list(run_here(works(folder, 5), num_workers, blocks_in_flight=2))))
        files.append(contents(folder))
        decoders = {pid for _, step, pid in notes(folder) if step == "read"}
        assert (decoders == {os.getpid()}) if num_workers == 0 else (os.getpid() not in decoders)
        assert {pid for _, step, pid in notes(folder) if step == "download"} == {os.getpid()}
    assert found[0] == found[1] == found[2]
    assert files[0] == files[1] == files[2]
    # Nothing but whole parts: the spooled bytes are gone.
    assert set(files[0]) == {f"x-{number:06d}.{suffix}" for number in range(5) for suffix in ("npy", "json")}
    assert [outcome.num_bytes for outcome in found[0]] == [100] * 5
    assert [[p.refused for p in outcome.pictures] for outcome in found[0]] == [
        ["unsupported_format" if number % 3 == 0 else None, None] for number in range(5)
    ]
    assert psutil.Process().children(recursive=True) in ([], own_trackers())


def own_trackers() -> list[psutil.Process]:
    """Python's resource tracker, which lives as long as this process."""
    return [child for child in psutil.Process().children() if "resource_tracker" in " ".join(child.cmdline())]


def test_no_work_starts_no_process(tmp_path: Path) -> None:
    assert list(run_here(works(tmp_path, 0), None, 4)) == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_readers_error_ends_it_and_stops_further_downloads(tmp_path: Path, num_workers: int) -> None:
    own = works(tmp_path, 40, sleep_s=0.02, ends={2: "raise"})
    with pytest.raises(ReaderError, match="block 2 is broken"):
        list(run_here(own, num_workers, blocks_in_flight=2))
    # What was under way ended; of the forty nothing new was begun.
    assert 3 <= steps(tmp_path, "download") <= 8
    started = steps(tmp_path, "download")
    time.sleep(0.1)
    assert steps(tmp_path, "download") == started
    assert not (tmp_path / "parts" / "x-000002.json").exists()


def test_an_error_while_downloading_is_raised(tmp_path: Path) -> None:
    own = works(tmp_path, 3)
    (tmp_path / "parts").rmdir()  # the spool cannot be written
    with pytest.raises(FileNotFoundError):
        list(run_here(own, 0, blocks_in_flight=1))
    assert steps(tmp_path, "download") <= 2


def test_who_stops_listening_stops_the_work(tmp_path: Path) -> None:
    outcomes = run_here(works(tmp_path, 40, sleep_s=0.01), 0, blocks_in_flight=2)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]  # a generator
    assert steps(tmp_path, "download") <= 6


@pytest.mark.parametrize(("num_workers", "blocks_in_flight"), [(0, 1), (0, 3), (1, 3)])
def test_few_blocks_are_in_flight(tmp_path: Path, num_workers: int, blocks_in_flight: int) -> None:
    list(run_here(works(tmp_path, 9, sleep_s=0.005), num_workers, blocks_in_flight))
    level = most = 0
    for _, step, _ in notes(tmp_path):
        level += {"download": 1, "read": 0, "done": -1}[step]
        most = max(most, level)
    # Downloads, and as many again that wait to be decoded.
    assert level == 0
    assert blocks_in_flight <= most <= 2 * blocks_in_flight


def test_a_killed_worker_names_the_remedy(tmp_path: Path) -> None:
    own = works(tmp_path, 6, sleep_s=0.01, ends={1: "kill"})
    with pytest.raises(
        ValueError, match=r"a process that decodes images died.* again .*num_workers=1.*below .if __name__ =="
    ):
        list(run_here(own, 1, blocks_in_flight=1))
    # What was whole before stays whole, and a second call has no need to read it.
    assert own[0].done() is not None
    assert own[1].done() is None


PARENT = """
import sys
from pathlib import Path
from fakelens.dataset.examine import run_here
from test_engine import works

list(run_here(works(Path(sys.argv[1]), 2, ends={0: "wait", 1: "wait"}), 2, 2))
"""


def test_workers_vanish_with_a_killed_parent(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], env=os.environ | {"PYTHONPATH": path})
    try:
        wait_until(lambda: (folder / "notes").exists() and steps(folder, "read") == 2)
        workers = [psutil.Process(pid) for _, step, pid in notes(folder) if step == "read"]
        assert len(workers) == 2
        assert all(worker.ppid() == parent.pid for worker in workers)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60) -> None:
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.05)
