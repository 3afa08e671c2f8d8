"""The gate in front of Streamlit's server: how much strangers may upload and how many may be connected at once.

Streamlit keeps every uploaded file in memory until its session ends, whether or not the page has looked at it; the
page lets files go (`let_go`), and this middleware refuses what would be too much at a time with a 429.
"""

import asyncio
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import streamlit as st
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from fakelens.app.limits import ENDPOINT, MAX_FILE_MB, PATIENCE_S
from fakelens.runtime.judgement import Picture

_LOGGER = logging.getLogger(__name__)
_UPLOADS = "/_stcore/upload_file/"
SESSION_BYTES = 32 * 2**20
TOTAL_BYTES = 120 * 2**20
MAX_CONNECTIONS = 60
MAX_SESSION_FILES = 1_000  # a session's file that was let go still has a name
_LEAST_BYTES = 2**16  # what a file counts for at least, as a thousand tiny ones take memory too
_RETRY_S = "20"
_FULL_SESSION = (
    f"Too much at once: {SESSION_BYTES >> 20} MB may wait to be looked at. Add the rest when these have their verdicts."
)
_FULL_SERVER = "Many people are using this page right now. Please try again in a minute."
_FULL_NAMES = "This page has taken in very many files. Please reload it and go on."
_NO_LENGTH = "The request must say how long it is (Content-Length)."
_TOO_LONG = "The request is longer than it says (Content-Length)."
_TOO_LARGE = f"The limit is {MAX_FILE_MB} MB a file."
_FULL_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta http-equiv="refresh" content="20"><title>fakelens is busy</title>'
    '<body style="font-family:sans-serif;max-width:30rem;margin:4rem auto;padding:0 1rem"><h1>fakelens is busy</h1>'
    f"<p>{_FULL_SERVER} This page tries by itself every 20 seconds.</p></body></html>"
)
_Key = tuple[str, str]


class UploadBudget:
    """ASGI middleware: bytes that wait in memory, per session and in all, and open connections."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._arriving: list[tuple[_Key, int]] = []  # a name may arrive several times at once
        self._waiting: dict[_Key, int] = {}
        self._num_files: dict[str, int] = {}
        self._num_connections = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            method, path = scope["method"], scope["path"]
            if method == "GET" and path.endswith("/") and self._num_connections >= MAX_CONNECTIONS:
                await HTMLResponse(_FULL_PAGE, 503, {"Retry-After": _RETRY_S})(scope, receive, send)
            elif (method == "PUT" and _UPLOADS in path) or (method == "POST" and _is_endpoint(path)):
                await self._upload(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._num_connections >= MAX_CONNECTIONS:
            await send({"type": "websocket.close", "code": 1013, "reason": _FULL_SERVER})
            return
        self._num_connections += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_connections -= 1

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Request(scope).headers.get("content-length", "")
        if not length.isdecimal():
            await _answer(scope, _NO_LENGTH, 411)(scope, receive, send)
            return
        # The endpoint's callers have no session: each request stands for itself, and all of them for one session.
        session, file = scope["path"].split("/")[-2:] if not _is_endpoint(scope["path"]) else (ENDPOINT, str(id(scope)))
        if refusal := self._refusal(scope, session, int(length)):
            await drain(receive)
            await refusal(scope, receive, send)
            return
        body = _Announced(receive, int(length))
        # A visitor who leaves in the middle is no fault: the server's log would show one with a trace.
        with self._arrival((session, file), int(length)), suppress(ClientDisconnect):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._app(scope, body, send)
            except TimeoutError:
                await _answer(scope, "The upload took too long.", 408)(scope, receive, send)
        if body.left < 0:
            if not body.has_ended:
                await drain(receive)
            await _answer(scope, _TOO_LONG, 400)(scope, receive, send)

    def _refusal(self, scope: Scope, session: str, num_bytes: int) -> Response | None:
        if session == ENDPOINT and num_bytes > MAX_FILE_MB * 2**20:
            return _answer(scope, _TOO_LARGE, 413)
        self._forget_released()
        sizes = [*self._waiting.items(), *self._arriving]
        own = sum(size for (owner, _), size in sizes if owner == session)
        if self._num_files.get(session, 0) >= MAX_SESSION_FILES:
            words = _FULL_NAMES
        elif own + num_bytes > SESSION_BYTES:
            words = _FULL_SERVER if session == ENDPOINT else _FULL_SESSION
        elif sum(size for _, size in sizes) + num_bytes > TOTAL_BYTES:
            words = _FULL_SERVER
        else:
            return None
        with _another_streamlit("the reason stays unsaid on the page"):
            _announce(session, words)
        return _answer(scope, words, 429, {"Retry-After": _RETRY_S})

    @contextmanager
    def _arrival(self, key: _Key, num_bytes: int) -> Iterator[None]:
        arrival = (key, max(num_bytes, _LEAST_BYTES))
        self._arriving.append(arrival)
        self._num_files[key[0]] = self._num_files.get(key[0], 0) + 1
        try:
            yield
        finally:
            self._arriving.remove(arrival)
            # Not less than before: a second body that is refused leaves the file that has this name as it is.
            self._waiting[key] = max(arrival[1], self._waiting.get(key, 0))

    def _forget_released(self) -> None:
        """Stop counting what the page has let go, what its owner removed, and what belongs to ended sessions."""
        waiting: dict[_Key, int] = {}
        with _another_streamlit("only what is arriving counts against the budget"):
            server = runtime.get_instance()
            store = server.uploaded_file_mgr
            waiting = {
                (session, file): size
                for (session, file), size in self._waiting.items()
                if any(record.data for record in store.get_files(session, [file]))
            }
            self._num_files = {name: num for name, num in self._num_files.items() if server.is_active_session(name)}
            for session in [name for name in _PENDING_REASONS if not server.is_active_session(name)]:
                del _PENDING_REASONS[session]
        self._waiting = waiting


class _Announced:
    """Messages of a request; they end as if its client had left once it sends more than it announced.

    Servers need not hold it to that: beside Transfer-Encoding, Content-Length says nothing (RFC 9112, 6.3).
    """

    def __init__(self, receive: Receive, num_bytes: int) -> None:
        self._receive = receive
        self.left, self.has_ended = num_bytes, False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.left -= len(message.get("body", b""))
        self.has_ended = not message.get("more_body")
        return message if self.left >= 0 else {"type": "http.disconnect"}


def _is_endpoint(path: str) -> bool:
    return path.rstrip("/").endswith(ENDPOINT)


def _answer(scope: Scope, words: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A refusal: JSON to the endpoint's callers, plain text to the page's drop zone."""
    if _is_endpoint(scope["path"]):
        return JSONResponse({"error": words}, status, headers)
    return PlainTextResponse(words, status, headers)


@contextmanager
def _another_streamlit(consequence: str) -> Iterator[None]:
    """A block that uses inner parts of Streamlit: where a release has changed them, a warning and not a broken page."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        _LOGGER.warning("Streamlit %s is not one that fakelens knows (%s): %s", st.__version__, error, consequence)


# Why a file of a session was refused, until its page has said so: the drop zone shows no more than a status code.
_PENDING_REASONS: dict[str, str] = {}


def _announce(session: str, words: str) -> None:
    """Make the session's page run and show the refusal, although no upload was accepted that would make it run."""
    server = runtime.get_instance()
    if session not in _PENDING_REASONS and server.is_active_session(session):
        _PENDING_REASONS[session] = words
        server._session_mgr.get_active_session_info(session).session.request_rerun(None)  # type: ignore[union-attr]


def refusal() -> str | None:
    """The reason why a file of the visitor whose page runs was refused just now; each is shown once."""
    context = get_script_run_ctx()
    return _PENDING_REASONS.pop(context.session_id, None) if context else None


async def drain(receive: Receive) -> None:
    """Read a request's body and drop it: a client that is answered while it sends reports a broken connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass


def let_go(upload: UploadedFile, widget: str) -> None:
    """Forget the bytes of a file that has been looked at; its name stays in the list that the visitor sees.

    The page is handed copies: the session keeps another of what its widget, the one with this key, has received.
    """
    context = get_script_run_ctx()
    assert context is not None, "only the page has uploads"
    with _another_streamlit("the session keeps its files in memory until it ends"):
        empty = UploadedFileRec(upload.file_id, upload.name, upload.type, b"")
        context.uploaded_file_mgr.add_file(context.session_id, empty)  # type: ignore[attr-defined]  # in memory it has it
    received = st.session_state[widget]
    for kept in (upload, *(received if isinstance(received, list) else getattr(received, "files", [received]))):
        if kept == upload:
            kept.seek(0)
            kept.truncate()


MAX_BYTES = 32 * 2**20  # about 120 pictures


class Desk:
    """Bounded memory for the decoded pictures of all sessions: the oldest go first; sessions alone keep them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._pictures: list[weakref.ref[Picture]] = []
        self._lock = threading.Lock()

    def add(self, picture: Picture) -> None:
        """Count one more; the pixels of the oldest go until all fit again, their facts stay."""
        with self._lock:
            self._pictures.append(weakref.ref(picture))
            alive = [one for each in self._pictures if (one := each()) is not None and one.images]
            excess = sum(one.num_bytes for one in alive) - self.max_bytes
            while excess > 0:
                oldest = alive.pop(0)
                excess -= oldest.num_bytes
                oldest.images.clear()
            self._pictures = [weakref.ref(one) for one in alive]


DESK = Desk()
