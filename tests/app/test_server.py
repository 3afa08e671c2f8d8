"""`fakelens app`: it listens on this machine alone, refuses what cannot be served, and leaves nothing behind."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from serving import answers, ask, environment, free_port, running

from fakelens.app import server
from fakelens.app.limits import HEALTH
from fakelens.core.artifacts import read_json, sha256_file, write_sealed
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import BUNDLE_RECORD
from model_hub import ModelHub, ModelRepository
from onnx_models import DETECTORS, make_bundle

SOURCE = str(Path(server.__file__).parents[2])
Start = Callable[..., AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("server") / "bundle")


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    yield port
    assert not answers(port), "the app serves on"


def start(bundle: Path, port: int, *options: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "fakelens", "app", "--bundle", str(bundle), "--port", str(port), *options]
    return running(command, port, bundle.parent, variables=environment(PYTHONPATH=SOURCE))


@pytest.fixture
def hangups_count() -> Iterator[None]:
    """Under nohup SIGHUP is ignored, by every process that is started from there as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", -signal.SIGHUP), ("SIGKILL", -signal.SIGKILL)]
)
@pytest.mark.usefixtures("hangups_count")
def test_whatever_ends_the_command_ends_the_server(bundle: Path, port: int, name: str, status: int) -> None:
    with start(bundle, port) as process:
        process.send_signal(signal.Signals[name])
        assert process.wait(10) == status
        assert not answers(port)


def test_an_upload_that_never_ends_does_not_keep_the_server(bundle: Path, port: int) -> None:
    with start(bundle, port) as process, closing(socket.create_connection(("127.0.0.1", port))) as upload:
        upload.sendall(b"POST /api/verdict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nbegun")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(server.GRACE_S + 5) == 143


@pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2"])
def test_it_listens_on_this_machine_alone_unless_told_otherwise(bundle: Path, port: int) -> None:
    with start(bundle, port):
        assert not answers(port, "127.0.0.2")  # an address of the same machine that all interfaces would include
    with start(bundle, port, "--host", "0.0.0.0"):
        assert answers(port, "127.0.0.2")


def test_a_port_that_is_taken_is_named(bundle: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(FakelensError, match=rf"port {port}: another program .* another --port"):
            server.serve(bundle, "127.0.0.1", port)


@pytest.mark.parametrize("host", ["", " ", "192.0.2.1", "a..b", "ü" * 80, "2001:db8::1"])
def test_a_host_that_cannot_be_served_is_an_error_with_a_remedy(bundle: Path, host: str) -> None:
    with pytest.raises(FakelensError, match=r"127\.0\.0\.1"):
        server.serve(bundle, host, free_port())


def test_a_folder_that_is_no_bundle_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(FakelensError, match="not a bundle"):
        server.serve(tmp_path, "127.0.0.1", free_port())


@pytest.mark.parametrize("name", ["streamlit_app.py", "fakelens/app/page.py", "small_net.onnx"])
def test_a_bundle_that_lacks_a_file_is_not_served(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(FakelensError, match=rf"missing.*: {name}\. Deploy the folder again"):
        server.serve(copy, "127.0.0.1", free_port())


def test_of_a_bundle_on_the_hub_no_code_is_run(port: int, tmp_path: Path) -> None:
    """Its hashes are right: they say that the code is its author's, and not that it may be trusted."""
    folder, trace = make_bundle(tmp_path / "theirs"), tmp_path / "trace"
    for script in (folder / "streamlit_app.py", folder / "fakelens" / "__init__.py"):
        script.write_text(f"open({str(trace)!r}, 'w')\n")
    record = read_json(folder / BUNDLE_RECORD)
    record["files"] = {name: sha256_file(folder / name) for name in record["files"]}
    write_sealed(folder / BUNDLE_RECORD, record)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with ModelHub({}) as hub:
        hub.models["them/net"] = repository = ModelRepository(private=False)
        files = {name: (folder / name).read_bytes() for name in (*record["files"], BUNDLE_RECORD)}
        repository.commit("main", files)
        variables = environment(PYTHONPATH=SOURCE, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
        command = [sys.executable, "-m", "fakelens", "app", "--bundle", "hf://them/net", "--port", str(port)]
        with running(command, port, elsewhere, variables=variables):
            status, health, _ = ask(f"http://127.0.0.1:{port}{HEALTH}")
    assert (status, health["detectors"]) == (200, list(DETECTORS))
    assert not trace.exists()
