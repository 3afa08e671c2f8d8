"""Bundles by their place: a folder of this machine, or a repository of the Hugging Face hub."""

import importlib.util
import re
from pathlib import Path
from typing import Any

from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import BUNDLE_RECORD, HUB_NAME, HUB_SCHEME
from fakelens.runtime.bundle import EDITABLE, Bundle, BundleDamaged

# A repository as its page in a browser, or a hasty hand, writes it.
_ALMOST = re.compile(
    rf"(?:hf:/*|(?:https?://)?(?:www\.)?(?:huggingface|hf)\.co/)({HUB_NAME}?)(?:(?:@|/tree/|/commit/)([^/]+))?/*",
    re.IGNORECASE,
)
# The hub has its own, by which `git clone` knows the large files.
_NOT_PUSHED = ".gitattributes"


def open_bundle(place: str | Path) -> Bundle:
    """The bundle in a folder, or in the hub's repository `hf://ORG/NAME` or `hf://ORG/NAME@REVISION`.

    No model is loaded yet. Its detectors use one thread a picture, as in `fakelens predict`: lists of pictures are
    judged on all CPUs, and a picture's probability is the same alone and among others.

    Raises:
        FakelensError: when it is not a bundle or cannot be downloaded, naming the remedy.
    """
    return Bundle.open(bundle_folder(place), num_threads=1)


def is_on_hub(place: str | Path) -> bool:
    """Whether the place is the hub's."""
    return str(place).startswith(HUB_SCHEME)


def bundle_folder(place: str | Path) -> Path:
    """The folder of a bundle; one of the hub's is fetched, and each file compared with the hash in its bundle.json.

    Raises:
        FakelensError: when it cannot be downloaded, or is not as it was written.
    """
    if not is_on_hub(place):
        if not Path(place).is_dir():
            _refuse_address(str(place))
        return Path(place)
    hub = _hub()
    folder: Path = hub.download(hub.HubAddress.parse(str(place)))
    try:
        Bundle.open(folder).check_files()
    except BundleDamaged as error:
        raise BundleDamaged(
            f"{place} as it lies in {folder}: {error} If it is the copy that was damaged, remove that folder"
        ) from error
    return folder


def push(repository: str, place: str | Path, *, private: bool = False, revision: str | None = None) -> str:
    """Bring a bundle with its model cards to the repository ORG/NAME of the hub; returns the address of the commit.

    Args:
        repository: made where there is none.
        place: the bundle's folder; its files are compared with their hashes first.
        private: make it a private one, or insist that it is.
        revision: a branch, made where there is none; by default main, or what `ORG/NAME@REVISION` says.

    Raises:
        FakelensError: when the bundle is damaged or the hub does not take it, naming the remedy.
    """
    _refuse_address(repository)
    hub, folder = _hub(), Path(place)
    address = hub.HubAddress.parse(repository, revision)
    bundle = Bundle.open(folder)
    bundle.check_files()
    files = {name: folder / name for name in (BUNDLE_RECORD, *bundle.info.files) if name != _NOT_PUSHED}
    present = {name: path for name, path in files.items() if name not in EDITABLE or path.is_file()}
    return str(hub.upload(address, present, private=private))


def _refuse_address(place: str) -> None:
    """Name the address that was meant, where one is written in another way than `hf://ORG/NAME[@REVISION]`."""
    match = _ALMOST.fullmatch(place)
    if not is_on_hub(place) and (match or "://" in place):
        meant = f"{HUB_SCHEME}{match[1]}{'@' + match[2] if match[2] else ''}" if match else f"{HUB_SCHEME}ORG/NAME"
        raise FakelensError(f"{place} is neither a folder nor an address that fakelens knows: write {meant}")


def _hub() -> Any:
    """The hub's part of fakelens, which a bundle's own copy lacks."""
    if not all(map(importlib.util.find_spec, ("huggingface_hub", "fakelens.sources"))):
        raise FakelensError("for the hub, fakelens with its client is needed: pip install 'fakelens[hub]'")
    from fakelens.sources import hub_models

    return hub_models
