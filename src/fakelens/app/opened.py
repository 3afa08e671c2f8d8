"""A bundle's folder in; the one opened and checked bundle that page and endpoint share out."""

import functools
import os
import threading
from pathlib import Path

from fakelens.core.artifacts import sha256_file
from fakelens.core.errors import FakelensError
from fakelens.runtime.bundle import FILE_NAME, Bundle, BundleDamaged

# What somebody who deploys the folder may rightly change.
EDITABLE = ("README.md", "requirements.txt", "Dockerfile", ".gitignore", ".gitattributes", ".streamlit/config.toml")
_OPENING = threading.Lock()


def open_own() -> Bundle:
    """The bundle that this file is a part of, or else the one that FAKELENS_BUNDLE names; opened once a process.

    Raises:
        ValueError: when there is none, or one whose files are not those that it describes.
    """
    own = Path(__file__).resolve().parents[2]
    if (own / FILE_NAME).is_file():
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
            f"These files are missing or are not those that {FILE_NAME} describes: {', '.join(wrong)}. "
            "Deploy the folder again as `fakelens bundle` wrote it."
        )
    return bundle


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_file(path) == digest
