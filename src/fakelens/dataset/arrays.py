"""The parts' squares in, one array for each split and test set out, in the manifest's order."""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fakelens.core.artifacts import atomic_path
from fakelens.core.imaging import ImageU8
from fakelens.dataset.manifest import ManifestRow
from fakelens.dataset.parts import Picture


def write_arrays(folder: Path, parts: Path, rows: Sequence[tuple[ManifestRow, Picture]], side_px: int) -> list[Path]:
    """Write `SPLIT.npy`, uint8 (N, side_px, side_px, 3), for each split of the manifest; all appear together.

    Each part is opened once, so any number of parts can be joined in little memory.
    """
    counts: dict[str, int] = {}
    for row, _ in rows:
        counts[row.split] = counts.get(row.split, 0) + 1
    with contextlib.ExitStack() as stack:
        targets = {name: folder / f"{name}.npy" for name in counts}
        arrays: dict[str, ImageU8] = {}
        for name, target in targets.items():
            temporary = stack.enter_context(atomic_path(target))
            arrays[name] = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(counts[name], side_px, side_px, 3)
            )
        by_part = sorted(rows, key=lambda item: (item[1].part, item[1].slot))
        for part, members in itertools.groupby(by_part, key=lambda item: item[1].part):
            squares = np.load(parts / f"{part}.npy", mmap_mode="r")
            for row, picture in members:
                arrays[row.split][row.row] = squares[picture.slot]
        for array in arrays.values():
            array.flush()  # type: ignore[attr-defined]  # a memory map
    return list(targets.values())
