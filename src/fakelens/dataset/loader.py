"""Prepared splits as torch batches, every random number keyed by (seed, epoch, index)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from fakelens.core.imaging import centre_crops
from fakelens.dataset.augmentation import augment
from fakelens.dataset.store import SplitData
from fakelens.settings import AugmentationSettings

Item = tuple[torch.Tensor, torch.Tensor]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) in an order decided by seed and epoch, this process's share of it.

    The epoch travels with the index, so that workers started long ago still augment by the right epoch.
    """

    def __init__(
        self,
        num_images: int,
        seed: int,
        *,
        shuffle: bool,
        rank: int = 0,
        num_processes: int = 1,
        first_epoch: int = 0,
        num_done: int = 0,
    ) -> None:
        """The epochs of all phases are one sequence, of which the engine's epoch 0 is `first_epoch`.

        `num_done` of the phase's epochs lie behind: workers ask for the next one's pictures before the engine says
        which epoch it is.
        """
        self._num_images, self._seed, self._shuffle = num_images, seed, shuffle
        self._rank, self._num_processes = rank, num_processes
        self._first_epoch, self._epoch = first_epoch, first_epoch + num_done

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, with the number within the phase."""
        self._epoch = self._first_epoch + epoch

    def __len__(self) -> int:
        return -(-self._num_images // self._num_processes)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self._num_images)
        if self._shuffle:
            order = np.random.default_rng((self._seed, 4, self._epoch)).permutation(self._num_images)
        # Each process gets equally many: the first images stand in for the missing last ones.
        padded = np.resize(order, len(self) * self._num_processes)
        return iter([(self._epoch, int(index)) for index in padded[self._rank :: self._num_processes]])


class TrainingImages(Dataset[Item]):
    """Augmented crops with their labels; indexed by (epoch, index)."""

    def __init__(self, data: SplitData, input_px: int, settings: AugmentationSettings, seed: int) -> None:
        self._squares, self._labels = data.squares, data.labels
        self._input_px, self._settings, self._seed = input_px, settings, seed

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        rng = np.random.default_rng((self._seed, 5, epoch, index))
        crop = augment(self._squares[index], self._input_px, self._settings, rng)
        return _item(crop, self._labels[index], self._input_px)


class PlainImages(Dataset[Item]):
    """Centre crops with their labels, as evaluation and serving see them; indexed by (epoch, index)."""

    def __init__(self, data: SplitData, input_px: int) -> None:
        self._squares, self._labels, self._input_px = data.squares, data.labels, input_px

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        return _item(self._squares[key[1]], self._labels[key[1]], self._input_px)


def _item(square: Any, label: int, input_px: int) -> Item:
    """The centre crop as uint8 (3, input_px, input_px): a quarter of the bytes that floats would be on their way."""
    return torch.from_numpy(centre_crops(square[None], input_px)[0]), torch.tensor(float(label))


def make_loader(
    images: Dataset[Item],
    batch_size: int,
    sampler: EpochSampler,
    num_workers: int,
    *,
    drop_last: bool = False,
) -> DataLoader[Item]:
    """A DataLoader with a generator of its own, so that it takes nothing from torch's global random state."""
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=drop_last,
        generator=torch.Generator().manual_seed(0),
    )
