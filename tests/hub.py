"""A hub-shaped HTTP server on loopback: listings, file information and byte ranges, with faults on demand."""

import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


class Request(NamedTuple):
    path: str
    byte_range: str
    authorization: str
    status: int
    num_bytes: int


class Hub:
    """Serves data sets, {name: {path: bytes}}, at every one of `revisions`, until the `with` block ends."""

    def __init__(self, datasets: Mapping[str, Files], revisions: tuple[str, ...] = ("main",)) -> None:
        self.datasets, self.revisions = datasets, revisions
        self.fail_every = 0
        """Every Nth request for a file's bytes is answered with 503."""
        self.cut_every = 0
        """Every Nth body of a file ends half way."""
        self.requests: list[Request] = []
        self.lock, self.num_bodies = threading.Lock(), 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True  # idle connections need not be waited for
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bodies(self, status: int = 206) -> list[Request]:
        """The requests for bytes of files that ended like this."""
        return [request for request in self.requests if "/resolve/" in request.path and request.status == status]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:  # the request log is `Hub.requests`
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)/?(.*))?", path)
        match = match or re.fullmatch(r"/datasets/([^/]+/[^/]+)/(resolve)/([^/]+)/(.*)", path)
        repository, kind, revision, name = match.groups() if match else (None, None, None, "")
        files = self.hub.datasets.get(repository or "")
        if files is None:
            self._answer(404, error="RepoNotFound")
        elif revision not in (None, *self.hub.revisions):
            self._answer(404, error="RevisionNotFound")
        elif kind == "resolve":
            self._answer_file(files[name]) if name in files else self._answer(404, error="EntryNotFound")
        else:
            info = {"id": repository, "sha": "0" * 40, "siblings": []}
            self._answer(200, json.dumps(self._tree(files, name) if kind == "tree" else info).encode())

    def _tree(self, files: Files, folder: str) -> list[dict[str, Any]]:
        deep = parse_qs(urlsplit(self.path).query).get("recursive") in (["true"], ["True"])
        inside = [name for name in sorted(files) if name.startswith(folder)]
        direct = [name for name in inside if deep or "/" not in name.removeprefix(folder).strip("/")]
        return [{"type": "file", "path": name, "oid": "0" * 40, "size": len(files[name])} for name in direct]

    def _answer_file(self, data: bytes) -> None:
        with self.hub.lock:
            self.hub.num_bodies = number = self.hub.num_bodies + 1
        if self.hub.fail_every and number % self.hub.fail_every == 0:
            return self._answer(503)
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()
        body = data[int(first) : int(last) + 1]
        return self._answer(206, body, cut=self.hub.cut_every and number % self.hub.cut_every == 0)

    def _answer(self, status: int, body: bytes = b"", *, error: str = "", cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        sent = body[: len(body) // 2] if cut else body
        headers = (self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        self.hub.requests.append(Request(self.path, *headers, status, len(sent)))
        self.wfile.write(sent)
        self.close_connection = self.close_connection or cut
