"""The endpoints beside the page: POST /api/verdict judges an image, GET /api/health says whether the app can."""

import codecs
import functools
import os
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fakelens.app import view
from fakelens.app.limits import ENDPOINT, HEALTH
from fakelens.app.uploads import drain
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import BUNDLE_RECORD
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import Refusal

# What programs send in place of an image's bytes, by how it begins; no image format begins like any of these.
_OTHER_BODIES = {
    "a form": rb"--[^\r\n]{1,80}\r?\ncontent-disposition:",
    "JSON": rb"\s*[{\[]",
    "a data URL": rb"\s*[\"']?data:",
    "an address": rb"\s*[\"']?(https?|ftp|file)://",
    "the name of a file": rb"\s*[\"']?@",
    "form fields": rb"[\w.-]{1,80}=[^=]",
    # The beginnings of JPEG, PNG, WebP, AVIF and HEIC, GIF, TIFF and BMP.
    "base64 text": rb"\s*[\"']?(/9j/|iVBOR|UklGR|AAAA|R0lGOD|SUkq|TU0A|Qk[01])[\w+/=\s-]{16,}[\"']?\s*$",
}
_BEGINNING = 512
_Answer = tuple[int, dict[str, Any]]


class _Endpoint(HTTPEndpoint):
    """An endpoint that answers another method with 405 and how to use it."""

    allow, usage = "", ""

    async def method_not_allowed(self, request: Request) -> JSONResponse:
        await drain(request.receive)
        allowed = self.allow.replace(", ", " and ")
        answer = {"error": f"{request.method} is not allowed here, only {allowed}", "usage": self.how(request)}
        return JSONResponse(answer, 405, {"Allow": self.allow})

    def how(self, request: Request) -> str:
        """A command that uses the endpoint at the address where it was asked."""
        return self.usage.format(shlex.quote(str(request.url.replace(query="", fragment=""))))


class Verdict(_Endpoint):
    """The verdict on the image that is the request's body.

    `?detector=NAME` names the detector, the bundle's most accurate by default. 200 with the verdict, 400 no body, 404
    no such detector, 415 a body that is no image's bytes, 422 a file that cannot be judged, 503 no bundle or a damaged
    one.
    `UploadBudget` answers before what has no length (411), is too large (413), too slow (408) or too much (429).
    """

    allow = "POST"
    usage = "send the image's bytes as the request's body: curl --data-binary @picture.jpg {}"

    async def post(self, request: Request) -> JSONResponse:
        data = await request.body()
        if not data:
            status, answer = 400, {"error": "the request has no body"}
        elif kind := other_body(data):
            status, answer = 415, {"error": f"the request's body is {kind}, not an image's bytes"}
        else:
            status, answer = await run_in_threadpool(verdict_answer, request.query_params.get("detector"), data)
        if status in (400, 415, 422):
            answer["usage"] = self.how(request)
        return JSONResponse(answer, status)


class Health(_Endpoint):
    """Whether the app can judge: 200 and the names of its detectors, or 503 and the reason."""

    allow = "GET, HEAD"
    usage = "curl {}"

    async def get(self, _: Request) -> JSONResponse:
        status, answer = await run_in_threadpool(health_answer)
        return JSONResponse(answer, status)


async def _unknown(request: Request) -> JSONResponse:
    """404 for a mistyped path, to which Streamlit would answer with the page and 200."""
    return JSONResponse({"error": f"there is no {request.url.path}, only {_below(ENDPOINT)} and {_below(HEALTH)}"}, 404)


def _below(path: str) -> str:
    """A route below the path that `server.baseUrlPath` names, as the page is."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path


def routes() -> list[Route]:
    """Routes that are served beside the page."""
    endpoints = {ENDPOINT: Verdict, HEALTH: Health}
    own = [Route(_below(f"{path}{end}"), endpoint) for path, endpoint in endpoints.items() for end in ("", "/")]
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    others = [Route(_below(f"/api{end}"), _unknown, methods=methods) for end in ("", "/{path:path}")]
    return [*own, *others]


def other_body(data: bytes) -> str | None:
    """The name of what was sent in place of an image's bytes."""
    start = data[:_BEGINNING].removeprefix(codecs.BOM_UTF8)
    return next((kind for kind, form in _OTHER_BODIES.items() if re.match(form, start, re.IGNORECASE)), None)


def verdict_answer(name: str | None, data: bytes) -> _Answer:
    """(status, body): the row that a batch has, and the seconds it took."""
    try:
        bundle = open_own()
    except (ValueError, OSError) as error:
        return 503, {"error": str(error)}
    try:
        model = bundle.model(name or None)
    except ValueError as error:
        return 404, {"error": str(error)}
    try:
        detector = bundle.detector(model.name)
    except (ValueError, OSError) as error:
        return 503, {"detector": model.name, "error": str(error)}
    answer = view.judge(data, detector)
    row = answer.as_dict()
    del row["path"]
    if isinstance(answer, Refusal):
        return 422, row
    return 200, {**row, "seconds": round(answer.seconds, 3)}


def health_answer() -> _Answer:
    """(status, body): whether the bundle can be opened, and its detectors."""
    try:
        bundle = open_own()
    except (ValueError, OSError) as error:
        return 503, {"status": "unavailable", "error": str(error)}
    return 200, {"status": "ok", "demo": bundle.demo, "detectors": [model.name for model in bundle.models]}


_OPENING = threading.Lock()


def open_own() -> Bundle:
    """The bundle that this file is a part of, or else the one that FAKELENS_BUNDLE names; opened once a process.

    Raises:
        FakelensError: when there is none, or one whose files are not those that it describes.
    """
    own = Path(__file__).resolve().parents[2]
    if (own / BUNDLE_RECORD).is_file():
        return open_checked(own)
    if "FAKELENS_BUNDLE" not in os.environ:
        raise FakelensError("There is no bundle: set FAKELENS_BUNDLE to the folder that `fakelens bundle` wrote.")
    return open_checked(Path(os.environ["FAKELENS_BUNDLE"]))


def open_checked(folder: Path) -> Bundle:
    """The bundle of a folder, all of whose files have been hashed; one for all who ask, so that a model loads once.

    Raises:
        BundleDamaged: naming the files that are missing or changed.
        FakelensError: when it is not a bundle.
    """
    with _OPENING:
        return _opened(folder)


@functools.lru_cache(maxsize=2)
def _opened(folder: Path) -> Bundle:
    bundle = Bundle.open(folder)
    bundle.check_files()
    return bundle
