"""Stopped at any moment, a second call goes on from what is whole and ends with the bytes of an undisturbed one."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fake_source import FakeSource, ReaderError, assert_exact, balanced, digests, small, use
from fakelens.core.errors import in_one_line
from fakelens.core.progress import Silent
from fakelens.dataset import stage as module
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import PreparedData
from fakelens.settings import DataSettings

WHOLE = {"train.npy", "val.npy", "test.npy", "ood.npy", "manifest.parquet"}


def disturbed() -> FakeSource:
    """Every eighth picture is none, so that there are several rounds; with a test set of its own."""
    own = [shot if i % 8 else shot._replace(data=b"") for i, shot in enumerate(balanced(80))]
    return FakeSource(own, block_size=6, test_sets={"ood": FakeSource(balanced(20, "xy", "r", 50_000), prefix="ood")})


def wanted(**changes: Any) -> DataSettings:
    return small(60, **({"num_ood_images": 20} | changes))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[str]]:
    """Hashes of the files, and the blocks that were read."""
    workdir, source = tmp_path_factory.mktemp("undisturbed"), disturbed()
    with pytest.MonkeyPatch.context() as patch:
        use(patch, source)
        prepare(workdir, wanted())
    assert set(digests(workdir)) == WHOLE
    return digests(workdir), source.log.downloaded


def interrupt(workdir: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> FakeSource:
    source = use(monkeypatch, disturbed())
    source.log.fail_after = after
    with pytest.raises(ReaderError):
        prepare(workdir, wanted())
    assert not (workdir / "data" / "prepare.json").exists()
    return source


class Sayings(Silent):
    """Keeps what is said."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def say(self, text: str) -> None:
        self._said.append(text)


def names(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "data").iterdir()}


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_a_second_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]], share: float
) -> None:
    expected, blocks = undisturbed
    after = min(round(share * len(blocks)), len(blocks) - 1)
    first = interrupt(tmp_path, monkeypatch, after)
    assert names(tmp_path) == {".parts"}
    second = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    assert digests(tmp_path) == expected
    assert names(tmp_path) == WHOLE | {"prepare.json"}
    assert sorted(first.log.downloaded + second.log.downloaded) == sorted(blocks)
    assert not set(first.log.read) & set(second.log.read)


def test_stopped_again_and_again_it_still_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    expected, blocks = undisturbed
    num_calls = -(-len(blocks) // 4) - 1
    read = [name for _ in range(num_calls) for name in interrupt(tmp_path, monkeypatch, 4).log.downloaded]
    last = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    assert sorted(read + last.log.downloaded) == sorted(blocks)
    assert digests(tmp_path) == expected


KILLED = """
import os, signal, sys
from pathlib import Path
import fake_source, pytest
from test_prepare_resume import disturbed, wanted
from fakelens.dataset.examine import Work
from fakelens.dataset.stage import prepare

examine, calls = Work.examine, []

def killed(work):
    calls.append(work)
    if len(calls) > 5:  # in the middle of a part: its bytes are here, its record is not
        os.kill(os.getpid(), signal.SIGKILL)
    return examine(work)

Work.examine = killed
fake_source.use(pytest.MonkeyPatch(), disturbed())
prepare(Path(sys.argv[1]), wanted())
"""


def test_a_killed_process_leaves_whole_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    expected, blocks = undisturbed
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == -signal.SIGKILL
    parts = tmp_path / "data" / ".parts"
    assert len(list(parts.glob("*.spool"))) == 1
    (parts / ".images-000003.npy.1.tmp").write_bytes(b"half of an array")
    source = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    assert len(source.log.downloaded) == len(blocks) - 5
    assert digests(tmp_path) == expected
    assert names(tmp_path) == WHOLE | {"prepare.json"}


@pytest.mark.parametrize("late", ["write_arrays", "write_manifest", "audit_pixels"])
def test_a_failure_after_the_last_image_needs_no_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]], late: str
) -> None:
    with monkeypatch.context() as patch:
        use(patch, disturbed())
        patch.setattr(module, late, fail(RuntimeError("late")))
        with pytest.raises(RuntimeError, match="late"):
            prepare(tmp_path, wanted())
    source = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    assert source.log.downloaded == []
    assert digests(tmp_path) == undisturbed[0]


def fail(error: Exception) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    return failing


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"min_side_px": 65}, {"num_images": 40}, {"exclude_generators": ("none",)}]
)
def test_other_settings_leave_the_journal_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    other = DataSettings(**(wanted().model_dump() | changes))
    fresh = use(monkeypatch, disturbed())
    prepare(tmp_path / "fresh", other)
    interrupt(tmp_path / "cut", monkeypatch, 4)
    source = use(monkeypatch, disturbed())
    prepare(tmp_path / "cut", other)
    assert source.log.downloaded == fresh.log.downloaded
    assert digests(tmp_path / "cut") == digests(tmp_path / "fresh")


def test_an_interrupted_call_is_taken_up_after_one_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    interrupt(tmp_path, monkeypatch, 4)
    use(monkeypatch, disturbed())
    said: list[str] = []
    prepare(tmp_path, DataSettings(**(wanted().model_dump() | {"num_images": 40})), reporter=Sayings(said))
    assert any(f"num_images {wanted().num_images} → 40" in line and "kept" in line for line in said)
    source = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted(), reporter=Sayings(said))
    assert any(f"num_images 40 → {wanted().num_images}" in line and "replaced" in line for line in said)
    assert set(source.log.downloaded) < set(undisturbed[1])  # not all of it once more
    assert digests(tmp_path) == undisturbed[0]
    assert not list((tmp_path / "data").glob(".parts*"))


def test_another_revision_drops_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    interrupt(tmp_path, monkeypatch, 4)
    source = use(monkeypatch, disturbed())
    source.revision = "r2"
    assert prepare(tmp_path, wanted()).results["revision"] == "r2"
    assert source.log.downloaded == undisturbed[1]


@pytest.mark.parametrize("changes", [{"blocks_in_flight": 3}, {"blocks_in_flight": 64, "num_workers": 0}])
def test_who_does_the_work_may_change_in_between(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[dict[str, str], list[str]],
    changes: dict[str, Any],
) -> None:
    interrupt(tmp_path, monkeypatch, 6)
    source = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted(**changes))
    assert len(source.log.downloaded) == len(undisturbed[1]) - 6
    assert digests(tmp_path) == undisturbed[0]


def test_force_redoes_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    interrupt(tmp_path, monkeypatch, 4)
    for _ in range(2):
        source = use(monkeypatch, disturbed())
        prepare(tmp_path, wanted(), force=True)
        assert source.log.downloaded == undisturbed[1]
        assert digests(tmp_path) == undisturbed[0]


def test_a_finished_stage_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(30)))
    first = prepare(tmp_path, small(40))
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    monkeypatch.setattr(module, "open_source", fail(AssertionError("the source was opened")))
    assert prepare(tmp_path, small(40, blocks_in_flight=7)) == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == times


def test_any_setting_that_matters_asks_for_a_redo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(30)))
    first, second = prepare(tmp_path, small(40)), prepare(tmp_path, small(42))
    assert (first.key != second.key, second.results["num_images"]) == (True, 42)
    assert_exact(PreparedData(tmp_path / "data"), 42)


def test_an_interrupted_call_with_other_settings_leaves_the_older_result_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, disturbed())
    older = prepare(tmp_path, small(20))
    source = use(monkeypatch, disturbed())
    source.log.fail_after = 2
    with pytest.raises(ReaderError):
        prepare(tmp_path, wanted())
    data = PreparedData(tmp_path / "data")
    data.verify()
    assert data.record == older


def test_an_interrupted_forced_redo_leaves_no_finished_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    source = use(monkeypatch, disturbed())
    source.log.fail_after = 2
    with pytest.raises(ReaderError):
        prepare(tmp_path, wanted(), force=True)
    with pytest.raises(ValueError, match=r"prepare\.json is missing"):
        PreparedData(tmp_path / "data")


def test_too_little_room_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = use(monkeypatch, disturbed())
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
        with pytest.raises(ValueError, match=r"preparing 80 images needs .* GB are free: make room, or .* --workdir"):
            prepare(tmp_path, wanted())
    assert source.log.downloaded == []
    prepare(tmp_path, wanted())


def test_parts_that_are_there_need_no_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: tuple[dict[str, str], list[str]]
) -> None:
    num_blocks = len(undisturbed[1])
    interrupt(tmp_path, monkeypatch, num_blocks - 1)
    there = sum(path.stat().st_size for path in (tmp_path / "data" / ".parts").glob("*.npy"))
    needed = int(80 * 64**2 * 3 * 2.2)
    use(monkeypatch, disturbed())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - there))
    prepare(tmp_path, wanted())
    assert digests(tmp_path) == undisturbed[0]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("where", ["parts", "arrays"])
def test_a_full_disk_names_the_remedy_and_a_later_call_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[dict[str, str], list[str]],
    number: int,
    where: str,
) -> None:
    first, save = use(monkeypatch, disturbed()), np.save

    def full(file: Any, array: Any) -> None:
        if len(first.log.downloaded) > 5:
            file.write(b"half of an array")
            raise OSError(number, os.strerror(number))
        save(file, array)

    with monkeypatch.context() as patch:
        if where == "parts":
            patch.setattr(np, "save", full)
        else:
            patch.setattr(np.lib.format, "open_memmap", fail(OSError(number, os.strerror(number))))
        with pytest.raises(OSError) as error:  # noqa: PT011  the words that it is told with are compared
            prepare(tmp_path, wanted())
    assert re.search(r"data\b.*\.npy: .*: make room, then run the same command", in_one_line(error.value) or "")
    assert not list((tmp_path / "data").rglob("*.tmp"))
    kept = len(list((tmp_path / "data" / ".parts").glob("*-*.json")))
    assert kept <= 5 if where == "parts" else kept == len(undisturbed[1])
    second = use(monkeypatch, disturbed())
    prepare(tmp_path, wanted())
    assert len(second.log.downloaded) == len(undisturbed[1]) - kept
    assert digests(tmp_path) == undisturbed[0]
