"""Pictures that lie under both labels, as copies or saved again: no label of theirs can be trusted."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import ImageU8
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.duplicates import group_near_duplicates

_SIDE_PX = 16
# Levels of 255 by which one pixel of two thumbnails may differ. On 60 photographs JPEG at quality 10 moves none by more
# than 6, halving the size by 9; an edit of an eighth of the side moves one by 30 in the median, and leaves the
# perceptual hash as it was for four of five. Such an edit beside its original is a right pair of labels, no slip.
_MAX_LEVELS = 9
_MAX_NAMES = 12


def thumbnail(square: ImageU8) -> npt.NDArray[np.uint8]:
    """Mean luminance of an (S, S, 3) uint8 square in (16, 16) cells."""
    grey = Image.fromarray(square).convert("L")
    return np.asarray(grey.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX))


def doubles(
    hashes: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int64],
    thumbnail_of: Callable[[int], npt.NDArray[np.uint8]],
) -> dict[int, int]:
    """The position of each picture that is found under the other label too -> that of a copy there.

    Args:
        hashes: (N,) perceptual hashes.
        labels: (N,) 0 real, 1 fake.
        thumbnail_of: the `thumbnail` of the picture at a position; asked for those whose hashes are near ones of the
            other label alone.
    """
    groups = group_near_duplicates(hashes)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    result: dict[int, int] = {}
    for group in members:
        reals, fakes = (group[labels[group] == label] for label in (REAL, FAKE))
        if not (len(reals) and len(fakes)):
            continue
        of_fakes = np.stack([thumbnail_of(int(fake)) for fake in fakes]).astype(np.int16)
        for real in reals:
            levels = np.abs(of_fakes - thumbnail_of(int(real)).astype(np.int16))
            for fake in fakes[np.max(levels, axis=(1, 2)) <= _MAX_LEVELS]:
                result.setdefault(int(real), int(fake))
                result.setdefault(int(fake), int(real))
    return result


def same_bytes(digests: Sequence[str], labels: Sequence[int]) -> dict[int, int]:
    """Like `doubles` for files of the same bytes alone; (N,) digests and labels."""
    first: dict[tuple[str, int], int] = {}
    for position, each in enumerate(zip(digests, labels, strict=True)):
        first.setdefault(each, position)
    pairs = enumerate(zip(digests, labels, strict=True))
    return {position: first[digest, 1 - label] for position, (digest, label) in pairs if (digest, 1 - label) in first}


def both_labels_words(double_of: Mapping[str, str]) -> str:
    """What is said of pictures under both labels: how many, and which."""
    # Of a pair once.
    pairs = [item for item in sorted(double_of.items()) if item[0] < item[1] or double_of[item[1]] != item[0]]
    names = [f"{name} as {other}" for name, other in pairs]
    rest = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return (
        f"{len(double_of):,} pictures lie under both labels, as copies or saved again: which label is right is not "
        f"known, so both are left out ({', '.join(names[:_MAX_NAMES])}{rest})"
    )
