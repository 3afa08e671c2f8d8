"""Model repositories on the Hugging Face hub: weights and bundles that are taken from one, or brought to it."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fakelens.core.artifacts import bundle_files
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import BUNDLE_RECORD, HUB_NAME, HUB_SCHEME
from fakelens.sources.hub import hub_errors, with_retries

_MAIN = "main"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_THREADS = 8
_NOT_ALLOWED = (401, 403)
_PUSHING = "pushing to"


@dataclass(frozen=True)
class HubAddress:
    """The place of a bundle on the hub: `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`."""

    repository: str
    revision: str = _MAIN
    """Branch, tag or commit."""

    def __str__(self) -> str:
        return f"{HUB_SCHEME}{self.repository}@{self.revision}"

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> Self:
        """Read an address, with or without the scheme; `revision` is one that was named beside it.

        Raises:
            FakelensError: when it is not an address.
        """
        match = re.fullmatch(rf"(?:{HUB_SCHEME})?({HUB_NAME})(?:@(.+?))?/*", text, re.ASCII)
        if match is None:
            raise FakelensError(
                f"{text!r} is not a repository of the hub: write {HUB_SCHEME}ORG/NAME or …/NAME@REVISION"
            )
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not exported

        try:
            validate_repo_id(match[1])
        except HFValidationError as error:
            raise FakelensError(f"the hub takes no repository of the name {match[1]}: {error}") from error
        if revision and match[2] and revision != match[2]:
            raise FakelensError(f"{text!r} names another revision than {revision!r}: name it once")
        return cls(match[1], revision or match[2] or _MAIN)


def download(address: HubAddress) -> Path:
    """The folder, in the hub client's cache, with the files that the repository's `bundle.json` lists.

    Files that are there already are not fetched again. Their hashes are not compared here.

    Raises:
        FakelensError: naming the remedy.
    """
    from huggingface_hub import HfApi, constants

    name = address.repository
    with _errors(address):
        # Asked for here: the client itself would silently take an older copy where the hub does not answer.
        offline = constants.HF_HUB_OFFLINE
        info = None if offline else with_retries(lambda: HfApi().model_info(name, revision=address.revision))
        # By the revision's own name, which the cache then knows where the hub is away.
        record = _fetch(name, BUNDLE_RECORD, address.revision)
        commit = info.sha if info else address.revision
        if info and record.parent.name != commit:
            record = _fetch(name, BUNDLE_RECORD, commit)
        with ThreadPoolExecutor(_THREADS) as pool:
            # What is not there is for the comparison of hashes to name: some files may be removed.
            list(pool.map(lambda file: _fetch_if_there(name, file, commit), _names(record)))
    return record.parent


def weights_file(repository: str) -> Path:
    """The file of published weights, in the hub client's cache; its copy is taken where the hub cannot be reached.

    Raises:
        FakelensError: naming the remedy.
    """
    where, mirror = f"{repository} (pretrained weights)", "the hub or its mirror"
    with hub_errors(where, repository=mirror, revision=mirror, offline=""):
        first, other = _WEIGHTS
        return _fetch_if_there(repository, first) or _fetch(repository, other)


def _fetch(repository: str, file: str, revision: str | None = None) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(with_retries(lambda: hf_hub_download(repository, file, revision=revision)))


def _fetch_if_there(repository: str, file: str, revision: str | None = None) -> Path | None:
    """As `_fetch`; None where the repository does not have it, or the cache when that is all there is."""
    from huggingface_hub import constants, errors

    try:
        return _fetch(repository, file, revision)
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError) and not constants.HF_HUB_OFFLINE:
            raise
        return None


def _names(record: Path) -> list[str]:
    try:
        return list(bundle_files(record))
    except FakelensError as error:
        raise FakelensError(
            f"{error}: remove {record.parent}, where the copy may be damaged, or push the bundle again"
        ) from error


def upload(address: HubAddress, files: Mapping[str, Path], *, private: bool) -> HubAddress:
    """Bring files, by their paths in the repository, to a branch of it in one commit; returns the commit's address.

    Repository and branch are made where there are none. Other files of the repository stay.

    Raises:
        FakelensError: naming the remedy.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise FakelensError("the hub wants to know who pushes: `hf auth login`, or set HF_TOKEN to one that may write")
    api, name = HfApi(), address.repository
    with _errors(address, _PUSHING):
        # None leaves it to the organisation's own default.
        with_retries(lambda: api.create_repo(name, private=private or None, exist_ok=True))
        if private and not with_retries(lambda: api.model_info(name)).private:
            raise FakelensError(f"{name} is public: make it private in its settings on the hub, or omit --private")
        if address.revision != _MAIN:
            with_retries(lambda: api.create_branch(name, branch=address.revision, exist_ok=True))
        return with_retries(lambda: _commit(address, files))


def _commit(address: HubAddress, files: Mapping[str, Path]) -> HubAddress:
    """What the hub has already of an earlier try is not sent again."""
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=path) for file, path in files.items()]
    commit = HfApi().create_commit(
        address.repository, operations, commit_message="A bundle of fakelens", revision=address.revision
    )
    return HubAddress(address.repository, str(commit.oid))


@contextlib.contextmanager
def _errors(address: HubAddress, work: str = "reading") -> Iterator[None]:
    """Turn the hub client's errors into one that names the remedy."""
    from huggingface_hub import errors

    with hub_errors(str(address), work=work, repository="its name", revision="another revision", offline=""):
        try:
            yield
        except errors.RemoteEntryNotFoundError as error:
            raise FakelensError(
                f"{address} is no bundle, it has no {BUNDLE_RECORD}: `fakelens push` brings one"
            ) from error
        except errors.HfHubHTTPError as error:
            if work != _PUSHING or error.response.status_code not in _NOT_ALLOWED:
                raise
            owner = address.repository.split("/")[0]
            raise FakelensError(
                f"the token may not write to {address.repository}: use one of {owner}'s with the right to write"
            ) from error
