"""The same bytes from a Ray cluster of two local workers as from this machine's own processes, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fakelens.core.artifacts import load_record
from fakelens.dataset.stage import prepare
from fakelens.settings import DataSettings

# Importing it takes seconds.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `cluster`")

SETTINGS: dict[str, Any] = {
    "source": "synthetic", "num_images": 400, "stored_px": 64, "synthetic_px": 96, "min_side_px": 64
}  # fmt: skip


# Starting Ray takes tens of seconds.
KILLED = ["local", "ray"] if os.environ.get("FAKELENS_ALL_MOMENTS") else ["local"]


def start(workdir: Path, engine: str) -> subprocess.Popen[str]:
    changes = {"data.engine": engine, "data.num_workers": 2} | {f"data.{key}": value for key, value in SETTINGS.items()}
    command = [sys.executable, "-m", "fakelens", "prepare", "--workdir", str(workdir)]
    command += [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    return subprocess.Popen(
        command, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("engine", KILLED)
def test_ray_goes_on_where_a_killed_run_stopped_and_ends_with_the_local_bytes(tmp_path: Path, engine: str) -> None:
    """`FAKELENS_ALL_MOMENTS=1` kills one on Ray too."""
    local = prepare(tmp_path / "local", DataSettings(**SETTINGS, num_workers=0))
    workdir = tmp_path / "cluster"
    killed = start(workdir, engine)
    deadline = time.monotonic() + 120
    while len(done := list((workdir / "data" / ".parts").glob("images-*.json"))) < 2 and time.monotonic() < deadline:
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (workdir / "data" / "prepare.json").exists()
    times = {path: path.stat().st_mtime_ns for path in done}

    resumed = start(workdir, "ray")
    while resumed.poll() is None and not (workdir / "data" / "prepare.json").exists():
        assert {path: path.stat().st_mtime_ns for path in done if path.exists()}.items() <= times.items()
        time.sleep(0.1)
    output, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, output
    assert load_record(workdir / "data" / "prepare.json").outputs == local.outputs
