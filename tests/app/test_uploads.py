"""The gate in front of the server, driven as a server drives it; the browser tests have Streamlit behind it."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from fakelens.app import uploads
from fakelens.app.limits import ENDPOINT
from fakelens.app.uploads import MAX_CONNECTIONS, UploadBudget


async def never(*_: object) -> None:
    """Something that takes for ever: an open connection, a slow upload."""
    await asyncio.Event().wait()


async def receive_nothing() -> Message:
    """A request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def ask(app: Any, method: str, path: str, headers: dict[str, str] | None = None) -> list[Message]:
    """What is sent in answer to one request."""
    sent: list[Message] = []
    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }  # fmt: skip

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive_nothing, send)
    return sent


@pytest.mark.parametrize("headers", [{}, {"content-length": "many"}, {"content-length": "-1"}])
def test_an_upload_that_hides_its_length_is_turned_away(headers: dict[str, str]) -> None:
    (start, body) = asyncio.run(ask(UploadBudget(never), "POST", ENDPOINT, headers))
    assert start["status"] == 411
    assert b"Content-Length" in body["body"]


def test_an_upload_that_trickles_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.01)
    monkeypatch.setattr(UploadBudget, "_forget_what_was_let_go", lambda _: None)  # asks the running Streamlit
    budget = UploadBudget(never)
    (start, _) = asyncio.run(ask(budget, "POST", ENDPOINT, {"content-length": "100"}))
    assert start["status"] == 408
    assert not budget._arriving


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
        assert budget._num_connections == 0, "those who left made no room"
        return [closed.get_nowait()], page

    ((closed,), (start, page)) = asyncio.run(crowd())
    assert closed["type"] == "websocket.close"
    assert "try again" in closed["reason"]
    assert start["status"] == 503
    assert b'http-equiv="refresh"' in page["body"]
