"""A folder with `real/` and `fake/` in; its pictures in a fixed order, each decoded when it is asked for, out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import MIN_SIDE_PX, STORED_PX, Container, ImageRefused, ImageU8, decode
from fakelens.core.picture_folder import group_of, picture_keys
from fakelens.core.scoring import LABELS
from fakelens.dataset.parts import examine_image


@dataclass(frozen=True)
class Refused:
    """A picture that cannot be judged, and why."""

    image: str
    reason: str


@dataclass(frozen=True)
class Examined:
    """One decoded picture: in each size asked for its square and that one's perceptual hash; its file's own words."""

    squares: tuple[ImageU8, ...]
    phashes: tuple[int, ...]
    container: Container


@dataclass(frozen=True)
class LabelledFolder:
    """Pictures whose label is the folder they lie in; a folder below that is their generator or origin."""

    root: Path
    keys: tuple[str, ...]
    """Paths relative to `root`, with forward slashes: photographs first."""
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]

    @classmethod
    def open(cls, root: Path) -> "LabelledFolder":
        """List the pictures; none is read yet.

        Raises:
            ValueError: when there is no such folder, or it lacks pictures of either label.
        """
        if not root.is_dir():
            raise FakelensError(f"{root} is not a folder: name one that holds real/ and fake/ with --against FOLDER")
        found = [(key, label) for label, name in enumerate(LABELS) for key in picture_keys(root, name)]
        for key, _ in found:
            _check_text(key)
        keys, labels = zip(*found, strict=True)
        return cls(root, keys, np.array(labels, dtype=np.int64), np.array([group_of(key) for key in keys]))

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, indices: npt.NDArray[np.int64]) -> "LabelledFolder":
        """Some of the pictures."""
        keys = tuple(self.keys[index] for index in indices)
        return LabelledFolder(self.root, keys, self.labels[indices], self.groups[indices])

    def examine(self, index: int, sides_px: Iterable[int]) -> Examined:
        """Decode one picture to a stored square of each size, exactly as `prepare` does.

        Raises:
            ImageRefused: when it cannot be read or judged.
        """
        data = self._bytes_of(index)
        squares, containers, phashes = zip(*(examine_image(data, px, MIN_SIDE_PX) for px in sides_px), strict=True)
        return Examined(squares, phashes, containers[0])

    def refusal(self, index: int) -> str | None:
        """Why a picture cannot be judged; None when it can."""
        try:
            decode(self._bytes_of(index))
        except ImageRefused as refused:
            return str(refused)
        return None

    def _bytes_of(self, index: int) -> bytes:
        try:
            return (self.root / self.keys[index]).read_bytes()
        except OSError as error:
            raise ImageRefused("unreadable", f"the file cannot be read: {error.strerror or error}") from error


def _check_text(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise FakelensError(f"the file name {key!r} is not UTF-8, no table can name it: rename the file") from error


@dataclass(frozen=True)
class Squares:
    """The pictures' squares as a plot takes them, decoded one at a time: a folder need not fit into memory."""

    folder: LabelledFolder

    def __getitem__(self, index: int) -> ImageU8:
        """One (S, S, 3) uint8 square.

        Raises:
            ImageRefused: when the picture has changed since it was judged.
        """
        return self.folder.examine(index, [STORED_PX]).squares[0]
