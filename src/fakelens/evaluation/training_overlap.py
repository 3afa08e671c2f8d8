"""Which pictures of a folder a model may have been trained on: manifests and perceptual hashes in, positions out."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import load_record
from fakelens.dataset.duplicates import near_any
from fakelens.dataset.manifest import ManifestRow, read_manifest

# Validation pictures chose the checkpoint, the temperature and the thresholds.
_SEEN_SPLITS = ("train", "val")
# A model lies in WORKDIR/bundle, WORKDIR/DETECTOR or WORKDIR/DETECTOR/onnx.
_LEVELS = 3


def manifests_near(workdir: Path, models: Iterable[Path]) -> tuple[Path, ...]:
    """Manifests of the working folder and of those that the models lie in: their runs may be others."""
    folders = [workdir, *(parent for path in models for parent in path.resolve().parents[:_LEVELS])]
    found = dict.fromkeys((folder / "data" / "manifest.parquet").resolve() for folder in folders)
    return tuple(path for path in found if path.is_file())


@dataclass(frozen=True)
class SeenInTraining:
    """What the runs at hand have trained and validated on."""

    manifests: tuple[Path, ...]
    """Empty where no run was found."""
    hashes: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, manifests: tuple[Path, ...]) -> "SeenInTraining":
        """Read the runs' manifests.

        Raises:
            ValueError: when one cannot be read.
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
    record = manifest.with_name("prepare.json")
    return read_manifest(load_record(record).output(manifest.name) if record.is_file() else manifest)
