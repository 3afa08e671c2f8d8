"""The endpoint POST /api/verdict: an image as the request's body, a verdict as JSON, within the page's limits."""

import functools
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fakelens.app import view
from fakelens.app.limits import ENDPOINT, MAX_FILE_MB
from fakelens.core.artifacts import sha256_file
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import BUNDLE_RECORD
from fakelens.runtime.bundle import Bundle, BundleDamaged
from fakelens.runtime.judgement import Refusal


async def verdict(request: Request) -> JSONResponse:
    """Judge one image with the detector that `?detector=NAME` names, the bundle's most accurate by default.

    200 with the verdict, 404 no such detector, 413 too large, 422 a file that cannot be judged, 503 a damaged bundle.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FILE_MB * 2**20:
            return _failed(f"the limit is {MAX_FILE_MB} MB a file", 413)
    name = request.query_params.get("detector")
    status, answer = await run_in_threadpool(_answer, name, bytes(data))
    return JSONResponse(answer, status)


def routes() -> list[Route]:
    """What is served beside the page."""
    return [Route(ENDPOINT, verdict, methods=["POST"])]


def _answer(name: str | None, data: bytes) -> tuple[int, Mapping[str, Any]]:
    """(status, body): the row that a batch has, and the seconds it took."""
    try:
        bundle = open_own()
        model = bundle.model(name)
    except ValueError as error:
        return (404 if name else 503), {"error": str(error)}
    answer = view.judge(data, bundle.detector(model.name))
    row = answer.as_dict()
    del row["path"]
    if isinstance(answer, Refusal):
        return 422, row
    return 200, {**row, "seconds": round(answer.seconds, 3)}


def _failed(message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": message}, status)


# What somebody who deploys the folder may rightly change.
EDITABLE = ("README.md", "requirements.txt", "Dockerfile", ".gitignore", ".gitattributes", ".streamlit/config.toml")


_OPENING = threading.Lock()


def open_own() -> Bundle:
    """The bundle that this file is a part of, or else the one that FAKELENS_BUNDLE names; opened once a process.

    Raises:
        ValueError: when there is none, or one whose files are not those that it describes.
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
        ValueError: when it is no bundle.
    """
    with _OPENING:
        return _opened(folder)


@functools.lru_cache(maxsize=2)
def _opened(folder: Path) -> Bundle:
    bundle = Bundle.open(folder)
    wrong = [
        name for name, digest in bundle.info.files.items() if name not in EDITABLE and not _holds(folder / name, digest)
    ]
    if wrong:
        raise BundleDamaged(
            f"These files are missing or are not those that {BUNDLE_RECORD} describes: {', '.join(wrong)}. "
            "Deploy the folder again as `fakelens bundle` wrote it."
        )
    return bundle


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest
