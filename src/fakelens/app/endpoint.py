"""POST /api/verdict: an image as the request's body in, the JSON verdict out; the page's limits hold here as well."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fakelens.app import batch, view
from fakelens.app.limits import ENDPOINT, MAX_FILE_MB
from fakelens.app.opened import open_own
from fakelens.app.view import Refused


async def verdict(request: Request) -> JSONResponse:
    """Judge one image with the detector that `?detector=NAME` names, the bundle's first by default.

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
        model = bundle.model(name) if name else bundle.models[0]
    except ValueError as error:
        return (404 if name else 503), {"error": str(error)}
    taken = view.take("", data, [model.stored_px])
    examined = taken if isinstance(taken, Refused) else view.examine(bundle.detector(model.name), taken)
    if isinstance(taken, Refused) or isinstance(examined, Refused):
        return 422, {"detector": model.name, "error": getattr(taken, "message", "")}
    shown = view.judged(taken, examined, model.threshold)
    row = asdict(batch.row(model.name, shown))
    del row["path"]
    return 200, {**row, "seconds": round(shown.seconds, 3)}


def _failed(message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": message}, status)
