"""Pictures that lie under both labels: hashes, thumbnails and labels in, each such picture's double out."""

from collections.abc import Mapping

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


def thumbnail(square: ImageU8) -> npt.NDArray[np.uint8]:
    """Mean luminance of an (S, S, 3) uint8 square in (16, 16) cells."""
    grey = Image.fromarray(square).convert("L")
    return np.asarray(grey.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX))


def doubles(
    hashes: npt.NDArray[np.uint64], thumbnails: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> Mapping[int, int]:
    """The position of each picture that is found under the other label too -> that of a copy there.

    Args:
        hashes: (N,) perceptual hashes.
        thumbnails: (N, 16, 16), of `thumbnail`.
        labels: (N,) 0 real, 1 fake.
    """
    groups = group_near_duplicates(hashes)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    result: dict[int, int] = {}
    for group in members:
        reals, fakes = (group[labels[group] == label] for label in (REAL, FAKE))
        for real in reals if len(fakes) else ():
            levels = np.abs(thumbnails[fakes].astype(np.int16) - thumbnails[real].astype(np.int16))
            for fake in fakes[np.max(levels, axis=(1, 2)) <= _MAX_LEVELS]:
                result.setdefault(int(real), int(fake))
                result.setdefault(int(fake), int(real))
    return result
