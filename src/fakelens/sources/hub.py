"""The Hugging Face hub by its own client: bytes of files, what is tried again, and the remedy where that fails."""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fakelens.core.errors import FakelensError, in_one_line

_LOGGER = logging.getLogger(__name__)
# A hub that fails three answers in ten fails nine in a row once in 50,000 requests; one that is away is given up after
# 40 seconds. The client's own five retries would end one run in ten through such a hub, and it has none for a file's
# body that is answered with 503, nor for an address that the storage refuses.
_MAX_RETRIES = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0
_T = TypeVar("_T")


def with_retries(work: Callable[[], _T]) -> _T:
    """The result of `work`, tried again where the hub, its storage or the connection fails for a while.

    Where the client cannot find out what a file is, it has tried six times by itself and says LocalEntryNotFoundError,
    which ends this.
    """
    wait_s = _FIRST_WAIT_S
    for number in range(1, _MAX_RETRIES + 1):
        try:
            return work()
        except Exception as error:
            if not _passes(error):
                raise
            asked_s = _asked_wait_s(error)
            now_s = wait_s if asked_s is None else asked_s + 1  # it counts in whole seconds
            _LOGGER.warning("%s: asking again in %g s (%d of %d)", _reason(error), now_s, number, _MAX_RETRIES)
        time.sleep(now_s)
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    return work()


def _passes(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    from huggingface_hub import errors
    from huggingface_hub.utils import http_backoff  # type: ignore[attr-defined]  # documented, but not exported

    if isinstance(error, errors.HfHubHTTPError):
        statuses = signature(http_backoff).parameters["retry_on_status_codes"].default
        return error.response.status_code in statuses or _storage_refused(error)
    interrupted = signature(http_backoff).parameters["retry_on_exceptions"].default
    return isinstance(error, (*interrupted, errors.XetDownloadError))


def _storage_refused(error: Any) -> bool:
    """Whether the storage behind the hub refused the address that the hub has just signed: another may be taken."""
    from huggingface_hub import constants

    url, own = error.response.request.url, urlsplit(constants.ENDPOINT)
    return error.response.status_code == 403 and (url.host, url.port) != (own.hostname, own.port)


def _asked_wait_s(error: Any) -> int | None:
    """Seconds that a hub that limits requests asks to wait."""
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # see above

    headers = getattr(getattr(error, "response", None), "headers", {})
    limit, after = parse_ratelimit_headers(headers), headers.get("retry-after", "").strip()
    if limit is not None and limit.remaining == 0 and error.response.status_code == 429:
        return int(limit.reset_in_seconds)
    return int(after) if after.isdigit() else None


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
        entries = with_retries(lambda: HfApi().get_paths_info(repository, [path], repo_type="dataset", revision=commit))
        for entry in entries:
            if isinstance(entry, RepoFile):
                return int(entry.size)
    raise FakelensError(f"the hub does not list {path} of {repository}: check data.revision")


def get_bytes(url: str, where: str, **headers: str) -> bytes:
    """The hub's answer; its client notices cut bodies.

    Raises:
        FakelensError: naming the remedy.
    """
    with hub_errors(where):
        return with_retries(lambda: _get_once(url, headers))


def _get_once(url: str, headers: Mapping[str, str]) -> bytes:
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, but not marked as exported
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    asked = {**build_hf_headers(), **headers}
    with get_session().stream("GET", url, headers=asked, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        if "Range" in headers and response.status_code == 200:
            size = f"{int(response.headers.get('content-length', 0)) / 1e6:,.1f} MB"
            raise FakelensError(
                f"{_host(response)} ignores byte ranges: it would send the whole file ({size}) for some "
                "bytes of it. Check HF_ENDPOINT, and the proxy or mirror behind it"
            )
        content: bytes = response.read()
        return content


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
        raise FakelensError(
            f"{where} asks for access: accept its terms at {_page(error.response)} and set HF_TOKEN to a token of the "
            "same account that may read gated repositories"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FakelensError(
            f"{where} cannot be found: check {repository}, HF_ENDPOINT, and HF_TOKEN if it is private or has expired"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        reason = f" ({_reason(error.__cause__)})" if error.__cause__ else ""
        raise FakelensError(
            f"{where} is not in the cache and cannot be fetched{reason}: check the network, HF_ENDPOINT, HF_TOKEN and "
            "HF_HUB_OFFLINE"
        ) from error
    # The hub client's own HTTPError is the base of what its transport raises (httpx or httpx2, by its version). What
    # moves large files (Xet) raises errors of its own, and plain RuntimeErrors.
    except (errors.HTTPError, errors.XetDownloadError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
        if isinstance(error, FakelensError) or (isinstance(error, OSError) and in_one_line(error)):
            raise  # ours, or the disk's, not the hub's
        if isinstance(error, errors.HfHubHTTPError) and _storage_refused(error):
            raise FakelensError(
                f"{work} {where} failed: {_host(error.response)} answered 403 to an address that the hub signed, again "
                "and again: wait some minutes and run the same command again, it goes on where it stopped"
            ) from error
        raise FakelensError(
            f"{work} {where} failed ({_reason(error)}): "
            "check the network, HF_ENDPOINT and HF_TOKEN, then run the same command again: it goes on where it "
            f"stopped{offline}"
        ) from error


def _reason(error: BaseException) -> str:
    """The fault in one line; of an answer, who gave which."""
    from huggingface_hub import errors

    text = first_line(error)
    if isinstance(error, errors.HfHubHTTPError):
        said = f": {first_line(error.server_message)}" if error.server_message else ""
        text = f"{_host(error.response)} answered {error.response.status_code}{said}"
    return f"{type(error).__name__}: {text}"


def _host(response: Any) -> str:
    host: str = response.request.url.netloc.decode()
    return host


def _page(response: Any) -> str:
    """Where a browser shows the repository that a request was for."""
    from huggingface_hub import constants

    repository = re.match("/(?:api/)?(?:models/)?((?:datasets/)?[^/]+/[^/]+)", response.request.url.path)
    return f"{constants.ENDPOINT}/{repository[1]}" if repository else "its page on the hub"


def first_line(message: object) -> str:
    """A message, such as an error's, without what follows its first line."""
    return (str(message).splitlines() or [""])[0]
