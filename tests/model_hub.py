"""Model repositories on the tests' own hub: what a client asks for when it brings files and takes them."""

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from hub import Hub, HubHandler

# Smaller than the hub's own 10 MB, so that a test's files are of both kinds.
LARGE_BYTES = 2_000
TOKEN, OTHERS = "hf_ours", "hf_theirs"
GIT_ATTRIBUTES = {".gitattributes": b"*.onnx filter=lfs diff=lfs merge=lfs -text\n"}


class ModelRepository:
    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.branches = {"main": "0" * 40}
        self.commits: dict[str, dict[str, bytes]] = {"0" * 40: dict(GIT_ATTRIBUTES)}

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)]

    def commit(self, revision: str, files: dict[str, bytes]) -> str:
        commit = hashlib.sha1(json.dumps([len(self.commits), sorted(files)]).encode()).hexdigest()
        self.commits[commit], self.branches[revision] = files, commit
        return commit


class ModelHub(Hub):
    """Keeps model repositories; `writers` are tokens and the organisation that each may write to."""

    def __init__(self, writers: dict[str, str]) -> None:
        super().__init__({}, handler=_Handler)
        self.writers = writers
        self.models: dict[str, ModelRepository] = {}
        self.stored: dict[str, bytes] = {}
        """Large files by their SHA-256."""
        self.downloads: list[str] = []

    def keep_files_elsewhere(self, elsewhere: Hub) -> None:
        super().keep_files_elsewhere(elsewhere)
        assert isinstance(elsewhere, ModelHub)
        elsewhere.models = self.models


class _Handler(HubHandler):
    hub: ModelHub

    do_HEAD = do_GET = do_POST = do_PUT = lambda self: self._serve()  # noqa: N815

    def _serve(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.cut, fault = self._fault() if hub.faulty in path else (False, None)
        if fault:
            return self._answer(*fault)
        for pattern, answer in (
            ("/api/repos/create", self._create),
            ("/api/validate-yaml", lambda: self._json({"errors": [], "warnings": []})),
            ("/lfs/([0-9a-f]+)", self._store),
            ("/([^/]+/[^/]+).git/info/lfs/objects/batch", self._batch),
            ("/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            ("/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            ("/api/models/([^/]+/[^/]+)/branch/([^/]+)", self._branch),
            ("/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            ("/api/models/([^/]+/[^/]+)/commit/([^/]+)", self._commit),
            ("/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", self._file),
        ):
            if match := re.fullmatch(pattern, path):
                return answer(*(unquote(group or "main") for group in match.groups()))
        return self._answer(404, {"X-Error-Code": "NoSuchPath"})

    def _json(self, content: Any, status: int = 200, **headers: str) -> None:
        self._answer(status, {"Content-Type": "application/json", **headers}, json.dumps(content).encode())

    @property
    def _organisation(self) -> str | None:
        """That the client's token may write to."""
        return self.hub.writers.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _repository(self, name: str, revision: str = "main", *, to_write: bool = False) -> ModelRepository | None:
        """The repository; None where an answer has been given that there is none for this client."""
        repository, mine = self.hub.models.get(name), self._organisation == name.split("/")[0]
        if repository is None or (repository.private and not mine):
            self._answer(404 if self._organisation else 401, {"X-Error-Code": "RepoNotFound"})
        elif to_write and not mine:
            self._answer(403, {"X-Error-Message": "You don't have the rights to write"})
        elif repository.branches.get(revision, revision) not in repository.commits:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repository
        return None

    def _create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.models:
            return self._json({"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409)
        if self._organisation != asked["organization"]:
            return self._answer(403 if self._organisation else 401, {"X-Error-Message": "no rights"})
        self.hub.models[name] = ModelRepository(private=asked.get("visibility") == "private")
        return self._json({"url": f"{self.hub.url}/{name}"})

    def _info(self, name: str, revision: str) -> None:
        if repository := self._repository(name, revision):
            files = repository.files(revision)
            siblings = [{"rfilename": file} for file in files]
            sha = repository.branches.get(revision, revision)
            self._json({"id": name, "sha": sha, "private": repository.private, "siblings": siblings})

    def _tree(self, name: str, revision: str) -> None:
        if repository := self._repository(name, revision):
            rows = [
                {"type": "file", "path": path, "size": len(data), "oid": _git_oid(data), **_lfs(data)}
                for path, data in repository.files(revision).items()
            ]
            self._json(rows)

    def _branch(self, name: str, branch: str) -> None:
        if repository := self._repository(name, to_write=True):
            status = 409 if branch in repository.branches else 200
            repository.branches.setdefault(branch, repository.branches["main"])
            self._json({}, status)

    def _preupload(self, name: str, revision: str) -> None:
        if self._repository(name, revision, to_write=True):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > LARGE_BYTES else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(self.body)["files"]
            ]
            self._json({"files": files})

    def _batch(self, name: str) -> None:
        if self._repository(name, to_write=True):
            objects = [
                one
                if one["oid"] in self.hub.stored
                else {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(self.body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})

    def _store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.stored[oid] = self.body
        self._answer(200, {})

    def _commit(self, name: str, revision: str) -> None:
        if repository := self._repository(name, revision, to_write=True):
            files = dict(repository.files(revision))
            for line in map(json.loads, self.body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self.hub.stored[value["oid"]]
            commit = repository.commit(revision, files)
            self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _file(self, name: str, revision: str, path: str) -> None:
        if repository := self._repository(name, revision):
            files = repository.files(revision)
            if path not in files:
                return self._answer(404, {"X-Error-Code": "EntryNotFound"})
            headers = {"ETag": f'"{_etag(files[path])}"', "X-Repo-Commit": repository.branches.get(revision, revision)}
            if self.hub.storage_url:
                signed = f"{self.hub.storage_url}/{name}/resolve/{revision}/{path}?signature={len(self.hub.requests)}"
                size = str(len(files[path]))
                return self._answer(302, {"Location": signed, "X-Linked-Size": size, **headers})
            if self.hub.num_refused and self.command == "GET":
                self.hub.num_refused -= 1
                return self._answer(403, {"X-Error-Message": "SignatureError"})
            if self.command == "GET":
                self.hub.downloads.append(path)
            self._answer(200, headers, files[path], cut=self.cut)
        return None


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(data: bytes) -> dict[str, Any]:
    if len(data) <= LARGE_BYTES:
        return {}
    return {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if _lfs(data) else _git_oid(data)
