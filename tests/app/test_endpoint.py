"""The endpoints: in a whole server below a path, and alone with bundles that are missing or damaged."""

import base64
import json
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from serving import ask, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from fakelens.app import endpoint
from fakelens.app.endpoint import Health, Verdict, routes
from onnx_models import DETECTORS, encoded, flat_picture, make_bundle

BASE = "tools/detector"
JPEG = flat_picture(255, format="JPEG")
TEXT = base64.b64encode(JPEG)
HEAD = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("endpoint") / "bundle")


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with served(bundle, base=BASE) as address:
        yield address


def test_it_judges_below_a_path(url: str) -> None:
    for end in ("", "/", "?detector=mobile_net"):
        status, answer, _ = ask(f"{url}/api/verdict{end}", JPEG)
        assert (status, answer["verdict"]) == (200, "fake"), end
    status, answer, _ = ask(f"{url}/api/verdict?detector=none", JPEG)
    assert status == 404
    assert all(name in answer["error"] for name in DETECTORS)


def test_it_says_that_it_is_well(url: str) -> None:
    for end in ("", "/"):
        status, answer, _ = ask(f"{url}/api/health{end}")
        assert (status, answer) == (200, {"status": "ok", "demo": False, "detectors": list(DETECTORS)})
    assert ask(f"{url}/api/health", method="HEAD")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_another_method_is_answered_with_how_to_use_it(url: str, method: str) -> None:
    data = JPEG if method in ("PUT", "PATCH") else None
    status, answer, headers = ask(f"{url}/api/verdict", data, method)
    assert (status, headers["Allow"]) == (405, "POST")
    if method != "HEAD":
        assert f"curl --data-binary @picture.jpg {url}/api/verdict" in answer["usage"]


def test_a_large_body_in_another_method_is_read_before_the_answer(url: str) -> None:
    assert ask(f"{url}/api/verdict", bytes(20_000_000), "PUT")[0] == 405


def test_health_takes_no_post(url: str) -> None:
    status, answer, headers = ask(f"{url}/api/health", b"x")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert f"{url}/api/health" in answer["usage"]
    assert answer["error"] == "POST is not allowed here, only GET and HEAD"


@pytest.mark.parametrize("path", ["api", "api/", "api/verdicts", "api/v1/verdict", "api/verdict/extra"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_mistyped_path_is_not_the_page(url: str, path: str, method: str) -> None:
    status, answer, _ = ask(f"{url}/{path}", JPEG if method == "POST" else None)
    assert status == 404
    assert answer["error"] == f"there is no /{BASE}/{path}, only /{BASE}/api/verdict and /{BASE}/api/health"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("a form", HEAD + JPEG + b"\r\n--xyz--\r\n"),
        ("JSON", json.dumps({"image": TEXT.decode()}).encode()),
        ("JSON", b'\n [{"image": 1}]'),
        ("JSON", b'\xef\xbb\xbf{"image": "x"}'),
        ("a data URL", b"data:image/jpeg;base64," + TEXT),
        ("a data URL", b'"data:image/png;base64,iVBORw0KGgo="'),
        ("an address", b"https://example.org/picture.jpg"),
        ("the name of a file", b"@picture.jpg"),
        ("form fields", b"image=%FF%D8%FF"),
        ("form fields", b"file=@picture.jpg"),
        ("base64 text", TEXT),
        ("base64 text", base64.encodebytes(JPEG)),
        ("base64 text", base64.b64encode(flat_picture(255))),
        ("base64 text", base64.urlsafe_b64encode(flat_picture(255, format="WEBP"))),
        ("base64 text", base64.b64encode(flat_picture(255, format="AVIF"))),
    ],
)
def test_what_is_not_sent_as_bytes_is_named(url: str, kind: str, body: bytes) -> None:
    status, answer, _ = ask(f"{url}/api/verdict", body)
    assert (status, answer["error"]) == (415, f"the request's body is {kind}, not an image's bytes")
    assert "--data-binary" in answer["usage"]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_no_image_is_mistaken_for_text(format: str) -> None:
    for level in range(0, 256, 51):
        assert endpoint.other_body(encoded(Image.new("RGB", (64, 48), (level, 255 - level, 80)), format)) is None


def test_other_bodies_are_refused_with_how_to_send(url: str) -> None:
    for body, expected in ((b"", 400), (b"no picture", 422), (JPEG[: len(JPEG) // 2], 422), (b"\x1f\x8b\x08", 422)):
        status, answer, _ = ask(f"{url}/api/verdict", body, "POST")
        assert (status, "--data-binary" in answer["usage"]) == (expected, True), body[:10]


def test_the_budgets_answers_are_json_too(url: str) -> None:
    assert ask(f"{url}/api/verdict", bytes(10 * 2**20 + 1))[:2] == (413, {"error": "The limit is 10 MB a file."})
    assert ask(f"{url}/api/verdict", bytes(40 * 2**20))[0] == 413


@pytest.mark.parametrize(("num_pieces", "piece"), [(20, bytes(2**20)), (1, b"abcdef")])
def test_a_body_beyond_its_announced_length_is_refused_at_once(url: str, num_pieces: int, piece: bytes) -> None:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    head = f"POST /{BASE}/api/verdict HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(head.encode())
        for _ in range(num_pieces - 1):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(piece), piece))
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_message_that_no_page_would_send_ends_its_connection(url: str) -> None:
    """It would be kept in memory until it is whole, 200 MB of it if Streamlit were left to itself."""
    address = f"{url.replace('http', 'ws')}/_stcore/stream"
    with connect(address, subprotocols=[Subprotocol("streamlit")]) as connection, suppress(ConnectionClosed):
        connection.send(bytes(3_000_000))
        while True:
            connection.recv(10)
    assert connection.close_code == 1009


def damaged(folder: Path, target: Path, damage: str) -> Path:
    shutil.copytree(folder, target)
    record, model = target / "bundle.json", target / "small_net.onnx"
    if damage == "missing":
        shutil.rmtree(target)
    elif damage == "model gone":
        model.unlink()
    elif damage == "model changed":
        model.write_bytes(model.read_bytes()[:-1] + b"?")
    elif damage == "model a folder":
        model.unlink()
        model.mkdir()
    elif damage == "record cut":
        record.write_bytes(record.read_bytes()[:100])
    elif damage == "record binary":
        record.write_bytes(b"\xff\xfe" + record.read_bytes())
    elif damage == "record a list":
        record.write_text("[]")
    elif damage == "record without models":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"models": []}))
    return target


@pytest.mark.parametrize(
    "damage",
    [
        "missing", "model gone", "model changed", "model a folder", "record cut", "record binary", "record a list",
        "record without models",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", [None, "small_net", "none"])
def test_without_a_whole_bundle_it_is_unavailable_whatever_is_asked(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, name: str | None
) -> None:
    monkeypatch.setenv("FAKELENS_BUNDLE", str(damaged(bundle, tmp_path / "copy", damage)))
    for status, answer in (endpoint.verdict_answer(name, JPEG), endpoint.health_answer()):
        assert status == 503
        assert answer["error"]


def test_without_any_bundle_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKELENS_BUNDLE", raising=False)
    status, answer = endpoint.verdict_answer("small_net", JPEG)
    assert status == 503
    assert "fakelens bundle" in answer["error"]


def test_a_model_that_is_damaged_after_the_start_is_unavailable_too(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    monkeypatch.setenv("FAKELENS_BUNDLE", str(copy))
    assert endpoint.health_answer()[0] == 200
    (copy / "small_net.onnx").write_bytes(b"damaged")
    assert endpoint.verdict_answer("small_net", JPEG)[0] == 503
    assert endpoint.verdict_answer("mobile_net", JPEG)[0] == 200


@pytest.mark.parametrize("base", ["", "app", "/app/", "a/b"])
def test_the_paths_follow_streamlits_base_path(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setattr(st, "get_option", {"server.baseUrlPath": base}.get)
    paths = {route.path: route.endpoint for route in routes()}
    prefix = f"/{base.strip('/')}" if base else ""
    assert paths[f"{prefix}/api/verdict"] is Verdict
    assert paths[f"{prefix}/api/health"] is Health


def test_whoever_leaves_in_the_middle_leaves_no_trace(url: str, bundle: Path) -> None:
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST /{BASE}/api/verdict HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nx".encode())
        time.sleep(0.3)
    time.sleep(0.3)
    assert ask(f"{url}/api/verdict", JPEG)[0] == 200
    assert "Traceback" not in "".join(log.read_text() for log in bundle.parent.glob("*.log"))
