"""Apps of bundles as a user or a container starts them, for the tests that need a whole server."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

# What would switch telemetry off in place of fakelens, or lead to another home folder.
_DECIDED_BY_THE_TEST = re.compile(r"ORT_|CI$|DO_NOT_TRACK|STREAMLIT_|XDG_|PYTHONPATH$")


def environment(**more: str) -> dict[str, str]:
    """The environment of somebody who knows nothing of telemetry; a bundle's own copy of the package is what runs."""
    own = {name: value for name, value in os.environ.items() if not _DECIDED_BY_THE_TEST.match(name)}
    return {**own, "PYTHONDONTWRITEBYTECODE": "1", **more}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def container(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Streamlit's options and variables in a bundle's Dockerfile, without the port."""
    text = (folder / "Dockerfile").read_text()
    (command,) = re.findall(r"^CMD (\[.*\])", text, re.M)
    variables = dict(pair.split("=", 1) for line in re.findall(r"^ENV (.*)", text, re.M) for pair in line.split())
    options = [word for word in json.loads(command) if word.startswith("--") and "port" not in word]
    return options, variables


@contextmanager
def served(
    folder: Path,
    *options: str,
    base: str = "",
    before: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    script: str = "streamlit_app.py",
) -> Iterator[str]:
    """The address, without a slash at its end, of a bundle's app started by `streamlit run` in its folder."""
    port = free_port()
    options = options or ("--server.address=127.0.0.1", "--server.headless=true")
    below = [f"--server.baseUrlPath={base}"] if base else []
    command = [*before, sys.executable, "-m", "streamlit", "run", script, *options, f"--server.port={port}", *below]
    with running(command, port, folder, base, environment(**(variables or {}))):
        yield f"http://127.0.0.1:{port}{'/' if base else ''}{base}"


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, base: str = "", variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has begun to answer; ended with the block."""
    log = folder.with_name(f"{folder.name}-{port}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=variables or environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}{'/' if base else ''}{base}", process, log)
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"the app did not start: {log.read_text()}")


def ask(url: str, data: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON (or else text) and headers of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, parsed(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, parsed(error.read()), error.headers


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether anything listens there."""
    try:
        socket.create_connection((host, port), 2).close()
    except OSError:
        return False
    return True
