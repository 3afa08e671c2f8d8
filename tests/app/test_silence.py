"""Judging looks no name up, leaves no file in the home folder and puts no library's words on the terminal.

What a process looks up is seen by strace where there is one; without it only Python's own questions are.
"""

import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from serving import ask, container, environment, served

import fakelens
from fakelens.core.telemetry import TELEMETRY_OFF
from onnx_models import flat_picture, make_bundle

SOURCE = str(Path(fakelens.__file__).parents[1])
# A question to a name server or to the resolver's daemon, and Python's own, which `sitecustomize` below prints.
LOOK_UP = re.compile(r"connect\(.*(?:htons\(53\)|/nscd/|systemd/resolve)|LOOK-UP .*")
AFFINITY = re.compile(r"sched_setaffinity\(.*")
SITE = """
import os, socket, sys
def watched(name, real):
    def look_up(host, *rest, **more):
        if host not in (None, "", "127.0.0.1", "0.0.0.0", "::", "localhost"):
            with open(os.environ["LOOK_UPS"], "a") as file:
                file.write(f"LOOK-UP {name} {host}\\n")
        return real(host, *rest, **more)
    return look_up
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, name, watched(name, getattr(socket, name)))
"""
STRACE = shutil.which("strace")
if STRACE and subprocess.run([STRACE, "-e", "trace=none", "true"], capture_output=True, check=False).returncode:
    STRACE = None


class Watch:
    """A fresh home folder, and what a process that is started with `before` and `variables` looks up."""

    def __init__(self, folder: Path) -> None:
        self.home, self._trace, self._python = folder / "home", folder / "trace", folder / "look-ups"
        site = folder / "site"
        for path in (self.home, site):
            path.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        self.site = str(site)
        self.variables = {"HOME": str(self.home), "LOOK_UPS": str(self._python)}
        # -D: strace is the child, so that the watched process is the one that is started and ended.
        calls = ["-D", "-f", "-e", "trace=connect,sendto,sendmmsg,sched_setaffinity", "-o", str(self._trace)]
        self.before = [STRACE, *calls] if STRACE else []

    def lines(self, form: re.Pattern[str]) -> list[str]:
        texts = (path.read_text(errors="replace") for path in (self._trace, self._python) if path.exists())
        return [line for text in texts for line in form.findall(text)]

    def files(self) -> list[str]:
        return [str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("silence") / "bundle")


def test_a_look_up_would_be_seen(watch: Watch) -> None:
    code = "import socket\ntry: socket.getaddrinfo('example.invalid', 80)\nexcept OSError: pass"
    variables = environment(PYTHONPATH=watch.site, **watch.variables)
    subprocess.run([*watch.before, sys.executable, "-c", code], env=variables, check=True)
    time.sleep(0.5)  # strace writes its last lines after the command has ended
    assert watch.lines(LOOK_UP)


def test_predict_is_silent(watch: Watch, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    command = [
        sys.executable,
        "-m",
        "fakelens",
        "predict",
        str(tmp_path / "white.png"),
        "--bundle",
        str(bundle),
        "--json",
    ]
    variables = environment(PYTHONPATH=f"{watch.site}:{SOURCE}", ORT_DISABLE_TELEMETRY="0", **watch.variables)
    done = subprocess.run([*watch.before, *command], env=variables, capture_output=True, text=True, check=True)
    time.sleep(0.5)
    assert '"verdict": "fake"' in done.stdout
    assert done.stderr == ""
    assert watch.files() == []
    assert watch.lines(LOOK_UP) == []
    # onnxruntime fixes its threads to CPUs where it chooses their number, and complains where it may not.
    assert watch.lines(AFFINITY) == []


def foreign_visit(url: str) -> None:
    """A page of another site opens the app's connection; Streamlit asks whether that site is this machine."""
    host, port = url.removeprefix("http://").split(":")
    lines = (
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Origin: https://elsewhere.example", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "",
    )  # fmt: skip
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert b"403" in connection.recv(100)


@pytest.mark.parametrize("way", ["by itself", "in its container"])
def test_the_app_is_silent(watch: Watch, bundle: Path, way: str) -> None:
    options, variables = container(bundle) if way == "in its container" else (["--server.headless=true"], {})
    variables = {name: value for name, value in variables.items() if name.startswith("STREAMLIT_SERVER")}
    variables |= {"PYTHONPATH": watch.site, **watch.variables}
    with served(bundle, *options, before=watch.before, variables=variables) as url:
        assert ask(f"{url}/api/verdict", flat_picture(255))[0] == 200
        foreign_visit(url)
        time.sleep(3)
    time.sleep(0.5)
    assert watch.files() == []
    assert watch.lines(LOOK_UP) == []
    assert "External URL" not in "".join(path.read_text() for path in bundle.parent.glob("*.log"))


@pytest.mark.parametrize(
    "module",
    [
        "fakelens", "fakelens.cli", "fakelens.runtime.detector", "fakelens.app.view", "fakelens.export.quantize",
        "fakelens.export.isolated",
    ],
)  # fmt: skip
def test_telemetry_is_off_before_onnxruntime_is_imported(module: str) -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'onnxruntime': assert os.environ['ORT_DISABLE_TELEMETRY'] == '1', 'too late'\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import {module}\n"
        "import onnxruntime"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(PYTHONPATH=SOURCE), check=True)


def test_the_libraries_take_the_variables_as_meant() -> None:
    code = "import fakelens\nfrom huggingface_hub import constants\nassert constants.HF_HUB_DISABLE_TELEMETRY\n"
    if shutil.which("ray", path=str(Path(sys.executable).parent)):
        code += "from ray._common.usage import usage_lib\nassert not usage_lib.usage_stats_enabled()\n"
    variables = environment(PYTHONPATH=SOURCE) | {"HF_HUB_DISABLE_TELEMETRY": "0", "RAY_USAGE_STATS_ENABLED": "1"}
    subprocess.run([sys.executable, "-c", code], env=variables, check=True)


def test_the_container_has_them_all(bundle: Path) -> None:
    _, variables = container(bundle)
    assert variables.items() >= TELEMETRY_OFF.items()


def test_streamlit_neither_reports_nor_asks_whoever_starts_it(bundle: Path) -> None:
    settings = tomllib.loads((bundle / ".streamlit" / "config.toml").read_text())
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["server"]["showEmailPrompt"] is False
