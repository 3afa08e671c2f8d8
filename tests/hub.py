"""A hub-shaped HTTP server on loopback: data set information and byte ranges of files, with faults on demand."""

import argparse
import json
import mmap
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

Files = Mapping[str, bytes]
COMMIT = "c0" * 20
"""What every branch stands for until a test moves it."""


_PIECE = 1 << 16


class Request(NamedTuple):
    path: str
    byte_range: str
    authorization: str
    status: int
    num_bytes: int


class Hub:
    """Serves data sets, {name: {path: bytes}}, at branches and commits, until the `with` block ends."""

    def __init__(
        self,
        datasets: Mapping[str, Files],
        revisions: tuple[str, ...] = ("main",),
        port: int = 0,
        handler: "type[HubHandler] | None" = None,
    ) -> None:
        is_commit = re.compile("[0-9a-f]{40}").fullmatch
        self.branches = {name: COMMIT for name in revisions if not is_commit(name)}
        """The commit of each branch: a test may move them."""
        self.commits = {name: datasets for name in (COMMIT, *filter(is_commit, revisions))}
        """What there is at each commit: a test may add and delete some."""
        self.requests: list[Request] = []
        self.on_request: Callable[[int], object] = lambda _: None
        """Called before each answer with the request's number, from 1: a test may change the hub midway."""
        self.slow_s = 0.0
        """Before each answer."""
        self.bytes_per_s = 0.0
        """If not 0, how fast a body is sent."""
        self.ignore_ranges = False
        """Answer with whole files, as some proxies do."""
        self.storage_url = ""
        """Where files are, if not here: they are answered with a redirect to a signed address there."""
        self.num_refused = 0
        """So many signed addresses are refused with 403 all the same."""
        self.counts_from_end = True
        """Whether `bytes=-N` is answered, or refused with 416."""
        self.faulty = "/resolve/"
        """Part of the paths that the faults below strike: `/resolve/` files, `/api/` information, `/` both."""
        self.num_struck = 0
        """Requests for such paths so far."""
        self.struck: set[str] = set()
        """The requests that were answered wrongly the last time."""
        self.fail_every = 0
        """Every Nth is answered with 503, but unless N is 1 no request twice in a row: threads that try again in step
        would else meet every Nth by chance."""
        self.cut_every = 0
        """Every Nth body ends half way."""
        self.status, self.message = 0, ""
        """If not 0, what all are answered with, and the hub's error code or message beside it."""
        self.num_limited, self.retry_after_s = 0, 0
        """So many are answered with 429 and this `Retry-After`."""
        self.lock, self.num_requests = threading.Lock(), 0
        self._server = _Server(("127.0.0.1", port), type("Handler", (handler or HubHandler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keep_files_elsewhere(self, elsewhere: "Hub") -> None:
        """Send clients to another server's address for the files, as the hub does."""
        self.storage_url, elsewhere.commits = elsewhere.url, self.commits

    def bodies(self, status: int = 206) -> list[Request]:
        """The requests for bytes of files that ended like this."""
        return [request for request in self.requests if "/resolve/" in request.path and request.status == status]


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # idle connections need not be waited for

    def handle_error(self, *request: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may well hang up on a slow hub
            super().handle_error(*request)


class HubHandler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:  # the request log is `Hub.requests`
        pass

    def do_GET(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        with hub.lock:
            hub.num_requests += 1
            hub.on_request(hub.num_requests)
            cut, fault = self._fault() if hub.faulty in path else (False, None)
        time.sleep(hub.slow_s)
        if fault:
            return self._answer(*fault)
        return self._answer_path(path, cut=cut)

    def do_POST(self) -> None:
        """The sizes of files, which a client asks for by their paths."""
        asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/([^/]+)", urlsplit(self.path).path)
        assert match
        files = self.hub.commits[self.hub.branches.get(match[2], match[2])][match[1]]
        rows = [
            {"type": "file", "oid": "0" * 40, "size": len(files[p]), "path": p} for p in asked["paths"] if p in files
        ]
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(rows).encode())

    def _fault(self) -> tuple[bool, tuple[int, dict[str, str]] | None]:
        """Whether the body is cut, and the status and headers of an answer that replaces the right one."""
        hub = self.hub
        hub.num_struck = number = hub.num_struck + 1
        if hub.num_limited:
            hub.num_limited -= 1
            return False, (429, {"Retry-After": str(hub.retry_after_s)})
        if hub.status:
            return False, (hub.status, {"X-Error-Code": hub.message, "X-Error-Message": hub.message})
        cut, fail = (every > 0 and number % every == 0 for every in (hub.cut_every, hub.fail_every))
        asked = f"{self.command} {self.path}"
        fail = fail and (hub.fail_every == 1 or asked not in hub.struck)
        (hub.struck.add if fail else hub.struck.discard)(asked)
        return cut, (503, {}) if fail else None

    def _answer_path(self, path: str, *, cut: bool) -> None:
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision)/([^/]+))?", path)
        match = match or re.fullmatch(r"/datasets/([^/]+/[^/]+)/(resolve)/([^/]+)/(.*)", path)
        repository, kind, revision, *names = map(unquote, match.groups("main")) if match else ("", "", "")
        commit = self.hub.branches.get(revision, revision)
        if not any(repository in datasets for datasets in self.hub.commits.values()):
            return self._answer(404, {"X-Error-Code": "RepoNotFound"})
        if commit not in self.hub.commits:
            return self._answer(404, {"X-Error-Code": "RevisionNotFound"})
        files = self.hub.commits[commit][repository]
        if kind == "resolve":
            if self.hub.storage_url:
                self.hub.requests.append(Request(self.path, self.headers.get("Range", ""), "", 302, 0))
                self.send_response(302)
                self.send_header("Location", f"{self.hub.storage_url}{path}?signature={self.hub.num_requests}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            if self.hub.num_refused:
                self.hub.num_refused -= 1
                return self._answer(403, {"X-Error-Message": "SignatureError"})
            return self._answer_file(files, names[0], cut=cut)
        info = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in sorted(files)]}
        return self._answer(200, {}, json.dumps(info).encode(), cut=cut)

    def _answer_file(self, files: Files, name: str, *, cut: bool) -> None:
        if name not in files:
            return self._answer(404, {"X-Error-Code": "EntryNotFound"})
        data = memoryview(files[name])  # no copies: a test measures memory
        if self.hub.ignore_ranges or "Range" not in self.headers:
            return self._answer(200, {}, data, cut=cut)
        if not self.hub.counts_from_end and self.headers["Range"].startswith("bytes=-"):
            return self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
        first, last = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers["Range"]).groups()
        start = int(first) if first else max(len(data) - int(last), 0)
        end = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= end:
            return self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
        return self._answer(206, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end], cut=cut)

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes | memoryview = b"", *, cut: bool = False
    ) -> None:
        sent = body[: len(body) // 2] if cut else body
        asked = (self.headers.get("Range", ""), self.headers.get("Authorization", ""))
        # First: who has the answer may look at the log at once.
        self.hub.requests.append(Request(self.path, *asked, status, len(sent)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        pieces = [sent] if not self.hub.bytes_per_s else [sent[at : at + _PIECE] for at in range(0, len(sent), _PIECE)]
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(len(piece) / self.hub.bytes_per_s if self.hub.bytes_per_s else 0)
        self.close_connection = self.close_connection or cut


class _Folder(Mapping[str, bytes]):
    """The files below a folder, mapped into memory when they are asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getitem__(self, name: str) -> Any:
        with (self._root / name).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __iter__(self) -> Iterator[str]:
        return (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return (self._root / str(name)).is_file()


class _AnyCommit(dict[str, Any]):
    """The same data sets at every commit."""

    def __contains__(self, commit: object) -> bool:
        return re.fullmatch("[0-9a-f]{40}", str(commit)) is not None

    def __missing__(self, commit: str) -> Any:
        return self[COMMIT]


def main() -> None:
    """Serve ROOT/datasets/OWNER/NAME until killed, for measurements; writes a JSON line for each request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--mbps", type=float, default=0.0, help="MB a second of each body")
    parser.add_argument("--fail-every", type=int, default=0)
    parser.add_argument("--cut-every", type=int, default=0)
    arguments = parser.parse_args()
    datasets = {
        path.relative_to(arguments.root / "datasets").as_posix(): _Folder(path)
        for path in (arguments.root / "datasets").glob("*/*")
    }
    with Hub(datasets, port=arguments.port) as hub:
        hub.commits = _AnyCommit({COMMIT: datasets})
        hub.slow_s, hub.bytes_per_s = arguments.latency, arguments.mbps * 1e6
        hub.fail_every, hub.cut_every = arguments.fail_every, arguments.cut_every
        written = 0
        while True:
            time.sleep(0.2)
            if arguments.log and len(hub.requests) > written:
                new = hub.requests[written:]
                written += len(new)
                with arguments.log.open("a") as file:
                    for one in new:
                        row = {
                            "m": "GET",
                            "p": one.path,
                            "r": one.byte_range or None,
                            "s": one.status,
                            "n": one.num_bytes,
                        }
                        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
