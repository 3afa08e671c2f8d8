"""A labelled folder of images, and what of it a detector has been trained on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import load_record
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import MIN_SIDE_PX, STORED_PX, Container, ImageRefused, ImageU8, decode
from fakelens.core.picture_folder import group_of, labelled_pictures, left_out_words
from fakelens.core.run_folder import PREPARE_RECORD, RunFolder
from fakelens.dataset.duplicates import near_any, thumbnail
from fakelens.dataset.examine import examine_image
from fakelens.dataset.splits import TRAIN, VAL
from fakelens.dataset.store import ManifestRow, read_manifest


@dataclass(frozen=True)
class ExcludedPicture:
    """A picture that no system is judged on, and why."""

    image: str
    reason: str
    label: int


@dataclass(frozen=True)
class DecodedPicture:
    """A decoded image: square and perceptual hash at each requested size, thumbnail, and container metadata."""

    squares: tuple[ImageU8, ...]
    phashes: tuple[int, ...]
    thumbnail: npt.NDArray[np.uint8]
    container: Container


@dataclass(frozen=True)
class LabelledFolder:
    """Pictures whose label is the folder they lie in; a folder below that is their generator or origin."""

    root: Path
    keys: tuple[str, ...]
    """Paths relative to `root`, with forward slashes: photographs first."""
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    notes: tuple[str, ...] = ()
    """What was left out of the listing."""

    @classmethod
    def open(cls, root: Path, label_values: Mapping[str, str] = MappingProxyType({})) -> "LabelledFolder":
        """List the pictures; none is read yet.

        Args:
            root: holds real/ and fake/, or other names that say the same.
            label_values: a folder's name -> real or fake. Those that `root` lacks may be of the recipe's own data.

        Raises:
            FakelensError: when there is no such folder, or it lacks pictures of either label.
        """
        if not root.is_dir():
            raise FakelensError(f"{root} is not a folder: name one that holds real/ and fake/")
        present = {name: label for name, label in label_values.items() if (root / name).is_dir()}
        listings = labelled_pictures(root, present)
        pairs = [(key, label) for label, listing in enumerate(listings) for key in listing.keys]
        for key, _ in pairs:
            _check_text(key)
        keys, labels = zip(*pairs, strict=True)
        groups = np.array([group_of(key) for key in keys])
        return cls(root, keys, np.array(labels, dtype=np.int64), groups, tuple(left_out_words(listings)))

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, indices: npt.NDArray[np.int64]) -> "LabelledFolder":
        """Some of the pictures."""
        keys = tuple(self.keys[index] for index in indices)
        return LabelledFolder(self.root, keys, self.labels[indices], self.groups[indices], self.notes)

    def picture(self, index: int, sides_px: Iterable[int]) -> DecodedPicture:
        """A picture with a stored square of each size, exactly as `prepare` makes it.

        Raises:
            ImageRefused: when it cannot be read or judged.
        """
        data = self._bytes_of(index)
        squares, containers, phashes = zip(*(examine_image(data, px, MIN_SIDE_PX) for px in sides_px), strict=True)
        return DecodedPicture(squares, phashes, thumbnail(squares[0]), containers[0])

    def refusal(self, index: int) -> str | None:
        """The reason why a picture cannot be judged; None when it can."""
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
        return self.folder.picture(index, [STORED_PX]).squares[0]


# Validation pictures chose the checkpoint, the temperature and the thresholds.
_SEEN_SPLITS = (TRAIN, VAL)
# A model lies in WORKDIR/bundle, WORKDIR/DETECTOR or WORKDIR/DETECTOR/onnx.
_LEVELS = 3


def manifests_near(workdir: Path, models: Iterable[Path]) -> tuple[Path, ...]:
    """Manifests of the working folder and of those that the models lie in: their runs may be others."""
    folders = [workdir, *(parent for path in models for parent in path.resolve().parents[:_LEVELS])]
    manifests = dict.fromkeys(RunFolder(folder).manifest.resolve() for folder in folders)
    return tuple(path for path in manifests if path.is_file())


@dataclass(frozen=True)
class TrainingPictures:
    """Pictures that the runs at hand have trained and validated on."""

    manifests: tuple[Path, ...]
    """Empty where no run was found."""
    hashes: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, manifests: tuple[Path, ...]) -> "TrainingPictures":
        """Read the runs' manifests.

        Raises:
            FakelensError: when one cannot be read.
        """
        rows = [row for path in manifests for row in _rows(path) if row.split in _SEEN_SPLITS]
        return cls(manifests, np.array([int(row.phash, 16) for row in rows], dtype=np.uint64))

    def near(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Positions of the pictures that are near-duplicates of one used for training or validation.

        Args:
            hashes: (N, K) of N pictures in K stored sizes; a run's own are of one.
        """
        if not len(self.hashes):
            return np.array([], dtype=np.int64)
        near = near_any(hashes.ravel(), self.hashes).reshape(hashes.shape)
        return np.flatnonzero(np.any(near, axis=1))


def _rows(manifest: Path) -> list[ManifestRow]:
    """A run's manifest, compared with its hash where its record lies beside it."""
    record = manifest.with_name(PREPARE_RECORD)
    return read_manifest(load_record(record).output(manifest.name) if record.is_file() else manifest)
