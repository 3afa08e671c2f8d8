"""The gate in front of the server, driven as a server drives it; the browser tests have Streamlit behind it."""

import asyncio
import json
import logging
import re
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive

from fakelens.app import uploads
from fakelens.app.limits import ENDPOINT
from fakelens.app.uploads import MAX_CONNECTIONS, TOTAL_BYTES, UploadBudget


async def never(*_: object) -> None:
    """Something that takes for ever: an open connection, a slow upload."""
    await asyncio.Event().wait()


async def receive_nothing() -> Message:
    """A request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def judge(scope: Any, receive: Any, send: Any) -> None:
    """Something that answers at once."""
    await PlainTextResponse("judged")(scope, receive, send)


async def ask(
    app: Any, method: str, path: str, headers: dict[str, str] | None = None, receive: Receive = receive_nothing
) -> list[Message]:
    """What is sent in answer to one request."""
    sent: list[Message] = []
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }  # fmt: skip

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


class Server:
    """A running Streamlit: its sessions' files, with the parts that a release may have renamed."""

    def __init__(self, **parts: Any) -> None:
        self.is_active_session = lambda _: True
        vars(self).update(parts)


def with_file(_: str, files: list[str]) -> list[Any]:
    return [SimpleNamespace(data=b"bytes") for _ in files]


@pytest.mark.parametrize("headers", [{}, {"content-length": "many"}, {"content-length": "-1"}])
def test_an_upload_that_hides_its_length_is_turned_away(headers: dict[str, str]) -> None:
    (start, body) = asyncio.run(ask(UploadBudget(never), "POST", ENDPOINT, headers))
    assert start["status"] == 411
    assert b"Content-Length" in body["body"]


def test_an_upload_that_trickles_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.01)
    let_go = Server(uploaded_file_mgr=SimpleNamespace(get_files=lambda *_: []))
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: let_go)
    budget, file_bytes = UploadBudget(never), 10 * 2**20
    # More than the budget together, one after the other.
    for _ in range(TOTAL_BYTES // file_bytes + 1):
        (start, _) = asyncio.run(ask(budget, "POST", ENDPOINT, {"content-length": str(file_bytes)}))
        assert start["status"] == 408


def test_one_connection_too_many_is_told_why_and_the_page_comes_again_by_itself() -> None:
    async def crowd() -> tuple[list[Message], list[Message]]:
        budget = UploadBudget(never)
        socket, closed = {"type": "websocket", "path": "/_stcore/stream"}, asyncio.Queue[Message]()
        others = [asyncio.create_task(budget(socket, receive_nothing, closed.put)) for _ in range(MAX_CONNECTIONS)]
        await asyncio.sleep(0)
        assert closed.empty()
        await budget(socket, receive_nothing, closed.put)
        page = await ask(budget, "GET", "/")
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        refusals = [closed.get_nowait()]
        again = [asyncio.create_task(budget(socket, receive_nothing, closed.put)) for _ in range(MAX_CONNECTIONS)]
        await asyncio.sleep(0)
        assert closed.empty(), "those who left made no room"
        for other in again:
            other.cancel()
        await asyncio.gather(*again, return_exceptions=True)
        return refusals, page

    ((closed,), (start, page)) = asyncio.run(crowd())
    assert closed["type"] == "websocket.close"
    assert "try again" in closed["reason"]
    assert start["status"] == 503
    assert b'http-equiv="refresh"' in page["body"]


class Body:
    """A body in pieces of a megabyte, and how many of them were asked for."""

    def __init__(self, num_pieces: int) -> None:
        self.left, self.num_pieces = num_pieces, num_pieces

    async def __call__(self) -> Message:
        self.left -= 1
        return {"type": "http.request", "body": bytes(2**20), "more_body": self.left > 0}


UPLOAD = "/_stcore/upload_file/session/file"


@pytest.mark.parametrize(("method", "path"), [("POST", ENDPOINT), ("PUT", UPLOAD)])
def test_no_more_is_kept_than_was_announced(monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    """Beside Transfer-Encoding, no server holds a body to its Content-Length."""
    empty = Server(uploaded_file_mgr=SimpleNamespace(get_files=lambda *_: []))
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: empty)
    kept: list[int] = []

    async def keep(scope: Any, receive: Any, send: Any) -> None:
        async for piece in Request(scope, receive).stream():
            kept.append(len(piece))
        await judge(scope, receive, send)

    budget, headers = UploadBudget(keep), {"content-length": str(3 * 2**20), "transfer-encoding": "chunked"}
    body = Body(200)
    (start, answer) = asyncio.run(ask(budget, method, path, headers, body))
    assert (start["status"], b"longer than it says" in answer["body"]) == (400, True)
    assert (sum(kept), body.left) == (3 * 2**20, 0)
    for _ in range(TOTAL_BYTES // (3 * 2**20) + 1):  # what was refused holds no place
        assert asyncio.run(ask(budget, method, path, headers, Body(4)))[0]["status"] == 400
    assert asyncio.run(ask(budget, method, path, headers, Body(3)))[0]["status"] == 200


def test_one_name_that_arrives_many_times_counts_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Server(is_active_session=lambda _: False, uploaded_file_mgr=SimpleNamespace(get_files=with_file))
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: kept)
    length = {"content-length": str(9 * 2**20)}

    async def crowd() -> list[int]:
        everyone = asyncio.Event()

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            await everyone.wait()
            await judge(scope, receive, send)

        budget = UploadBudget(wait)
        requests = [asyncio.create_task(ask(budget, "PUT", UPLOAD, length)) for _ in range(6)]
        await asyncio.sleep(0.1)
        everyone.set()
        answers = [(await request)[0]["status"] for request in requests]
        # A small body under the name of a file that is kept does not make the file small.
        await ask(budget, "PUT", UPLOAD, {"content-length": "5"})
        others = [await ask(budget, "PUT", f"{UPLOAD}-{number}", length) for number in range(3)]
        return answers + [start["status"] for start, _ in others]

    assert asyncio.run(crowd()) == [200, 200, 200, 429, 429, 429, 200, 200, 429]


def answer_of(messages: list[Message]) -> tuple[int, Any]:
    start, body = messages
    return start["status"], json.loads(body["body"])


def test_programs_are_refused_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Server(is_active_session=lambda _: False, uploaded_file_mgr=SimpleNamespace(get_files=with_file))
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: kept)
    budget = UploadBudget(judge)
    for path in (ENDPOINT, f"{ENDPOINT}/", f"/below/a/path{ENDPOINT}"):
        assert answer_of(asyncio.run(ask(budget, "POST", path)))[0] == 411
        status, answer = answer_of(asyncio.run(ask(budget, "POST", path, {"content-length": str(11 * 2**20)})))
        assert (status, answer) == (413, {"error": "The limit is 10 MB a file."})
    for _ in range(3):
        asyncio.run(ask(budget, "POST", ENDPOINT, {"content-length": str(10 * 2**20)}))
    status, answer = answer_of(asyncio.run(ask(budget, "POST", ENDPOINT, {"content-length": str(10 * 2**20)})))
    assert (status, "try again" in answer["error"]) == (429, True)


def test_other_requests_to_the_endpoint_need_no_length() -> None:
    (start, _) = asyncio.run(ask(UploadBudget(judge), "GET", ENDPOINT))
    assert start["status"] == 200


def test_another_streamlit_loses_the_reason_and_not_the_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its list of sessions has another name."""
    known = Server(uploaded_file_mgr=SimpleNamespace(get_files=with_file))
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: known)
    with caplog.at_level(logging.WARNING):
        (start, body) = asyncio.run(ask(UploadBudget(judge), "PUT", f"{UPLOAD}s/0", {"content-length": "40000000"}))
    assert start["status"] == 429
    assert b"32 MB may wait" in body["body"]
    assert "_session_mgr" in caplog.text


@pytest.mark.parametrize("get_files", [None, lambda _: []])
def test_another_streamlit_still_takes_uploads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, get_files: Any
) -> None:
    """Its store of files is another one: what waits there cannot be counted, what arrives can."""
    parts = {} if get_files is None else {"uploaded_file_mgr": SimpleNamespace(get_files=get_files)}
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: Server(**parts))
    budget = UploadBudget(judge)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            (start, _) = asyncio.run(ask(budget, "PUT", UPLOAD, {"content-length": str(9 * 2**20)}))
            assert start["status"] == 200
    assert "not one that fakelens knows" in caplog.text


def test_the_streamlit_that_is_tested_is_the_only_one_allowed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (wanted,) = [line for line in project["optional-dependencies"]["app"] if line.startswith("streamlit")]
    least, below = re.findall(r"\d+\.\d+", wanted)
    major, minor = least.split(".")
    assert below == f"{major}.{int(minor) + 1}"
    assert metadata.version("streamlit").startswith(f"{least}.")
