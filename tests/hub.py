"""A hub-shaped HTTP server on loopback: listings, file information and byte ranges, with faults on demand."""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Request:
    path: str
    byte_range: str | None
    token: str | None
    status: int
    num_bytes: int


class Hub:
    """Serves data sets given as {name: {path: bytes}}, all at the same revisions, until the `with` block ends."""

    def __init__(self, datasets: Mapping[str, Files], revisions: tuple[str, ...] = ("main",)) -> None:
        self.datasets, self.revisions = datasets, revisions
        self.fail_every = 0
        """Every Nth request for a file's bytes is answered with 503."""
        self.cut_every = 0
        """Every Nth body of a file ends half way."""
        self.requests: list[Request] = []
        self._lock, self._num_bodies = threading.Lock(), 0
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def bodies(self) -> list[Request]:
        """The requests for a file's bytes."""
        return [request for request in self.requests if "/resolve/" in request.path]

    def next_body(self) -> int:
        with self._lock:
            self._num_bodies += 1
            return self._num_bodies


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    timeout = 2  # `server_close` waits for threads that wait on idle connections

    def log_message(self, *args: Any) -> None:  # the request log is `Hub.requests`
        pass

    def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path)
        match = api or file
        files = self.hub.datasets.get(match[1]) if match else None
        if match is None or files is None:
            self._answer_missing("RepoNotFound")
        elif (match[3] if api else match[2]) not in (None, *self.hub.revisions):
            self._answer_missing("RevisionNotFound")
        elif api:
            below = f"{api[4]}/" if api[4] else ""
            info = {"id": api[1], "sha": "0" * 40, "siblings": [], "private": False, "tags": []}
            self._answer_json(self._tree(files, below) if api[2] == "tree" else info)
        elif match[3] in files:
            self._answer_body(files[match[3]])
        else:
            self._answer_missing("EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def _tree(self, files: Files, below: str) -> list[dict[str, Any]]:
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        names = [name for name in sorted(files) if name.startswith(below)]
        oid = hashlib.sha1
        folders = {below + rest.split("/")[0] for name in names if "/" in (rest := name.removeprefix(below))}
        return [{"type": "directory", "path": path, "oid": oid(path.encode()).hexdigest(), "size": 0}
                for path in sorted(folders)] + [
            {"type": "file", "path": name, "oid": oid(files[name]).hexdigest(), "size": len(files[name])}
            for name in names if recursive or "/" not in name.removeprefix(below)]
