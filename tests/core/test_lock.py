"""One process at a time in a folder; a second one learns which."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakelens.core.errors import FolderInUseError
from fakelens.core.lock import PARENT, hold
from fakelens.core.stopping import Stopped

HOLDER = """
import sys, time
from pathlib import Path
from fakelens.core.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(FolderInUseError, match=rf"in use by `fakelens .*` \(process {holder.pid} on ") as refused,
        hold(tmp_path),
    ):
        pass
    assert "--workdir" in str(refused.value)


def test_the_lock_falls_with_its_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text(encoding="utf-8")


def test_it_can_be_held_again_after_it_was_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with hold(tmp_path), hold(tmp_path):  # stages within a run
            done = subprocess.run(
                [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            assert "FolderInUseError" in done.stderr


def test_children_work_in_the_folder_of_their_parent(tmp_path: Path) -> None:
    with hold(tmp_path):
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        environment = os.environ | {PARENT: str(os.getpid())}
        assert subprocess.run(command, stdin=subprocess.DEVNULL, env=environment).returncode == 0


SLOW_TO_END = """
import signal, sys, time
from pathlib import Path
from fakelens.core.lock import hold
signal.signal(signal.SIGTERM, lambda *_: time.sleep(3) or sys.exit())
with hold(Path(sys.argv[1])):
    time.sleep(0.5)  # until it waits for the lock
    print("held", flush=True)
    time.sleep(60)
"""
PARENT_OF_ONE = """
import os, subprocess, sys
from pathlib import Path
from fakelens.core.lock import PARENT, hold
with hold(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], env=os.environ | {PARENT: str(os.getpid())})
    child.wait()
"""


def test_a_child_whose_parent_is_killed_takes_the_lock_over_and_ends(tmp_path: Path) -> None:
    """Otherwise it would go on writing beside the next run."""
    command = [sys.executable, "-c", PARENT_OF_ONE, str(tmp_path), SLOW_TO_END, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "held\n"
        parent.kill()
        parent.wait()
        time.sleep(0.3)  # who waits has to wake up
        with pytest.raises(FolderInUseError), hold(tmp_path):
            pass
        assert parent.stdout.read() == ""  # which the child closes by ending
    with hold(tmp_path):
        pass


def test_a_child_whose_parent_is_gone_before_it_asks_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PARENT, "1")
    with pytest.raises(Stopped, match="SIGTERM"), hold(tmp_path):
        pass


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_further_processes_of_a_training_do_not_wait_for_the_first(
    tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    assert holder.poll() is None
    monkeypatch.setenv(variable, "1")
    with hold(tmp_path):
        pass
