"""Bytes of files on the Hugging Face hub, by its own client: what is tried again, and the remedy where that fails."""

import contextlib
from collections.abc import Iterator
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

from fakelens.core.errors import FakelensError, in_one_line

# A hub that fails three answers in ten fails nine in a row once in 50,000 requests; one that is away is given up after
# 40 seconds. The client's own five retries would end one run in ten through such a hub.
_MAX_RETRIES = 8
_FIRST_WAIT_S = 0.5


def fetch_bytes(repository: str, commit: str, path: str, byte_range: str) -> bytes:
    """Bytes of a file on the hub."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, path, repo_type="dataset", revision=commit)
    return get_bytes(url, f"{repository}/{path} at revision {commit}", Range=f"bytes={byte_range}")


def tail_bytes(repository: str, commit: str, path: str, num_bytes: int) -> bytes:
    """The last bytes of a file; some storage refuses to count from the end, and is asked where that is."""
    from huggingface_hub import errors

    try:
        return fetch_bytes(repository, commit, path, f"-{num_bytes}")
    except FakelensError as error:
        cause = error.__cause__
        if not isinstance(cause, errors.HfHubHTTPError) or cause.response.status_code != 416:
            raise
    size = _size(repository, commit, path)
    return fetch_bytes(repository, commit, path, f"{max(0, size - num_bytes)}-{size - 1}")


def _size(repository: str, commit: str, path: str) -> int:
    """A file's size as the hub's listing states it."""
    from huggingface_hub import HfApi, RepoFile

    with hub_errors(f"{repository}/{path} at revision {commit}"):
        for entry in HfApi().get_paths_info(repository, [path], repo_type="dataset", revision=commit):
            if isinstance(entry, RepoFile):
                return int(entry.size)
    raise FakelensError(f"the hub does not list {path} of {repository}: check data.revision")


def get_bytes(url: str, where: str, **headers: str) -> bytes:
    """What the hub answers; its client retries, waits as `Retry-After` asks, and notices cut bodies."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, but not marked as exported
        build_hf_headers,
        get_session,
        hf_raise_for_status,
        http_backoff,
    )

    with hub_errors(where):
        _watch_answers(get_session())
        response = http_backoff(
            "GET",
            url,
            max_retries=_MAX_RETRIES,
            # Beside what it tries again unasked.
            retry_on_exceptions=(*signature(http_backoff).parameters["retry_on_exceptions"].default, _StorageRefused),
            base_wait_time=_FIRST_WAIT_S,
            headers={**build_hf_headers(), **headers},
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        )
        hf_raise_for_status(response)
        return response.content


class _StorageRefused(Exception):  # noqa: N818  a reason to ask again, which few see
    """The storage behind the hub refused the address that the hub has just signed: another one may be taken."""


class _RangeIgnoredError(FakelensError):
    """A whole file was about to come in the place of some bytes of it."""


def _watch_answers(session: Any) -> None:
    """Have the hub's client look at every answer's status before it reads the body."""
    if _look_at not in session.event_hooks["response"]:
        session.event_hooks = {**session.event_hooks, "response": [*session.event_hooks["response"], _look_at]}


def _look_at(response: Any) -> None:
    from huggingface_hub import constants

    url, own = response.request.url, urlsplit(constants.ENDPOINT)
    if response.status_code == 403 and (url.host, url.port) != (own.hostname, own.port):
        raise _StorageRefused(f"{url.netloc.decode()} answered 403 to an address that the hub signed")
    if "range" in response.request.headers and response.status_code == 200:
        size = f"{int(response.headers.get('content-length', 0)) / 1e6:,.1f} MB"
        raise _RangeIgnoredError(
            f"{url.netloc.decode()} ignores byte ranges: it would send the whole file ({size}) for some "
            "bytes of it. Check HF_ENDPOINT, and the proxy or mirror behind it"
        )


@contextlib.contextmanager
def hub_errors(
    where: str,
    *,
    work: str = "reading",
    repository: str = "data.repository",
    revision: str = "another with --set data.revision=…",
    offline: str = "; without a network, --recipe demo needs none",
) -> Iterator[None]:
    """Turn the hub client's errors into one that names the remedy.

    `work` is what is done at `where`; the others are what to check, to choose and to do without a network.
    """
    from huggingface_hub import errors

    try:
        yield
    except UnicodeEncodeError as error:
        raise FakelensError(
            f"the token of the hub holds {error.object[error.start]!r}, which no token does: set HF_TOKEN anew"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FakelensError(f"{where} does not exist: choose {revision}") from error
    except errors.GatedRepoError as error:
        raise FakelensError(f"{where} asks for access: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise FakelensError(
            f"{where} cannot be found: check {repository}, HF_ENDPOINT, and HF_TOKEN if it is private or has expired"
        ) from error
    except _StorageRefused as error:
        raise FakelensError(
            f"{work} {where} failed: {error}, again and again: wait some minutes and run the same command again, it "
            "goes on where it stopped"
        ) from error
    # The hub client's own HTTPError is the base of what its transport raises (httpx or httpx2, by its version). What
    # moves large files (Xet) raises errors of its own, and plain RuntimeErrors.
    except (errors.HTTPError, errors.XetDownloadError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
        if isinstance(error, FakelensError) or (isinstance(error, OSError) and in_one_line(error)):
            raise  # ours, or the disk's, not the hub's
        raise FakelensError(
            f"{work} {where} failed ({type(error).__name__}: {first_line(error)}): "
            "check the network, HF_ENDPOINT and HF_TOKEN, then run the same command again: it goes on where it "
            f"stopped{offline}"
        ) from error


def first_line(error: Exception) -> str:
    """An error's message without what follows its first line."""
    return (str(error).splitlines() or [""])[0]
