"""What the measurements share: the stand-in server, `fakelens prepare` as a command, peak memory, printing a result."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path("datasets/ComplexDataLab/OpenFake")
MIB = 1 << 20
# Settings for a hub that has no test sets beside core/train, or a measurement that is not about them.
NO_TEST_SETS = ("num_ood_images=0", "num_wild_images=0")


@contextlib.contextmanager
def serve(hub: Path, log: Path | None = None, **options: float) -> Iterator[str]:
    """Serve a folder as the hub does, on a free port; yields its address. Options: `latency=0.05, fail_every=5`."""
    server = Path(__file__).parents[1] / "tests" / "hub.py"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    logged = ["--log", str(log)] if log else []
    command = [sys.executable, str(server), str(hub), "--port", str(port), *flags, *logged]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{server} does not answer on port {port}")
        yield f"http://127.0.0.1:{port}"
        time.sleep(1)  # a request is logged after its last byte
    finally:
        process.terminate()
        process.wait()


def hub_environment(endpoint: str, home: Path) -> dict[str, str]:
    """This process's environment with the hub at `endpoint` and an empty cache of its own in `home`."""
    shutil.rmtree(home, ignore_errors=True)
    ours = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | ours


def prepare_command(workdir: Path, settings: Mapping[str, object]) -> list[str]:
    """`fakelens prepare` with this interpreter; `settings` are data.KEY=VALUE."""
    given = [f"--set=data.{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "fakelens", "prepare", "--workdir", str(workdir), *given]


def parsed_settings(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` options as settings."""
    return dict(pair.split("=", 1) for pair in pairs)


@dataclass
class Usage:
    """What one command took; memory is the peak over its whole process tree."""

    seconds: float = 0
    pss_mib: float = 0
    """Shared pages divided among their users, so that no page counts twice; includes mapped files."""
    anonymous_mib: float = 0
    """The part of it that no file backs: what the system cannot simply drop."""
    rss_mib: float = 0
    status: int = 0
    output: str = ""


def measured(command: Sequence[str], env: Mapping[str, str], timeout_s: float = 3600) -> Usage:
    """Run a command to its end, sampling its process tree's memory every 50 ms."""
    usage = Usage()
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    sampler = threading.Thread(target=_sample, args=(process, usage))
    sampler.start()
    try:
        usage.output = process.communicate(timeout=timeout_s)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # after a timeout; and nobody may outlive the command
        process.wait()
        sampler.join()
    usage.seconds, usage.status = time.perf_counter() - started, process.returncode
    return usage


def _sample(process: "subprocess.Popen[str]", usage: Usage) -> None:
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(process.pid)
            each = [_memory(one) for one in (root, *root.children(recursive=True))]
            pss, anonymous, rss = (sum(values) / MIB for values in zip(*each, strict=True))
            usage.pss_mib = max(usage.pss_mib, pss)
            usage.anonymous_mib = max(usage.anonymous_mib, anonymous)
            usage.rss_mib = max(usage.rss_mib, rss)
        time.sleep(0.05)


def _memory(process: psutil.Process) -> tuple[int, int, int]:
    """Bytes (PSS, anonymous PSS, RSS); where the system keeps no PSS, the unique set size stands for both."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return kib["Pss"] * 1024, kib["Pss_Anon"] * 1024, kib["Rss"] * 1024
    with contextlib.suppress(psutil.Error):
        unique = process.memory_full_info().uss
        return unique, unique, process.memory_info().rss
    return 0, 0, 0  # it has just ended


def report(rows: Sequence[tuple[str, str, str]], figures: Mapping[str, Any], passed: bool) -> int:
    """Print a table of (what, measured, wanted), one JSON line, and give the exit status."""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(json.dumps({**figures, "passed": passed}), flush=True)
    return 0 if passed else 1
