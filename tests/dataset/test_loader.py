"""Every random number is keyed by (seed, epoch, index): whatever the process, worker or label."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from fakelens.core.imaging import to_model_input
from fakelens.dataset.loader import EpochSampler, PlainImages, TrainingImages, make_loader
from fakelens.dataset.store import ManifestRow, SplitData
from fakelens.settings import AugmentationSettings

NUM, SIDE_PX, INPUT_PX = 10, 40, 32


def split(labels: list[int] | None = None) -> SplitData:
    labels = labels or [index % 2 for index in range(NUM)]
    squares = np.random.default_rng(0).integers(0, 256, (NUM, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    rows = tuple(
        ManifestRow("train", row, label, "g", f"k{row}", "", "", row, "PNG", SIDE_PX, SIDE_PX, 1, 0.0, 0.0)
        for row, label in enumerate(labels)
    )
    return SplitData("train", squares, rows)


def training(data: SplitData, seed: int = 0) -> TrainingImages:
    return TrainingImages(data, INPUT_PX, AugmentationSettings(), seed)


def epoch_of(epoch: int, **arguments: Any) -> list[tuple[int, int]]:
    settings: dict[str, Any] = {"num_images": NUM, "seed": 0, "shuffle": True} | arguments
    sampler = EpochSampler(settings.pop("num_images"), settings.pop("seed"), **settings)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(order) == len(sampler)
    return order


def test_an_epoch_shows_every_picture_once() -> None:
    order = epoch_of(3)
    assert {epoch for epoch, _ in order} == {3}
    assert sorted(index for _, index in order) == list(range(NUM))


def test_order_is_decided_by_seed_and_epoch() -> None:
    assert epoch_of(0) == epoch_of(0)
    orders = [[index for _, index in epoch_of(epoch, seed=seed)] for epoch in (0, 1) for seed in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_without_shuffling_the_order_is_that_of_the_split() -> None:
    assert epoch_of(2, shuffle=False) == [(2, index) for index in range(NUM)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("num_images", "num_processes"), [(10, 2), (10, 3), (10, 4), (3, 8), (1, 2)])
def test_processes_share_an_epoch_evenly(num_images: int, num_processes: int, shuffle: bool) -> None:
    shares = [
        epoch_of(5, num_images=num_images, shuffle=shuffle, rank=rank, num_processes=num_processes)
        for rank in range(num_processes)
    ]
    per_process = -(-num_images // num_processes)
    assert [len(share) for share in shares] == [per_process] * num_processes
    seen = Counter(index for share in shares for _, index in share)
    assert set(seen) == set(range(num_images))
    # Padding repeats pictures as evenly as it can.
    assert max(seen.values()) - min(seen.values()) <= 1


def test_training_pictures_are_keyed_by_seed_epoch_and_index() -> None:
    data = split()
    made = {
        (seed, epoch, index): training(data, seed)[epoch, index][0].numpy().tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for index in (0, 1)
    }
    assert len(set(made.values())) == 8
    assert made[1, 0, 1] == training(data, 1)[0, 1][0].numpy().tobytes()


def test_label_has_no_say_in_the_picture() -> None:
    labels = split().labels
    swapped = split((1 - labels).tolist())
    for index in range(NUM):
        image, label = training(split())[2, index]
        same, other = training(swapped)[2, index]
        assert torch.equal(image, same)
        assert (label.item(), other.item()) == (labels[index], 1 - labels[index])


def test_training_items_are_model_inputs() -> None:
    image, label = training(split())[0, 3]
    assert (tuple(image.shape), image.dtype) == ((3, INPUT_PX, INPUT_PX), torch.uint8)
    assert (label.item(), label.dtype) == (1.0, torch.float32)
    assert image.min() < image.max()


def test_plain_items_are_what_serving_sees() -> None:
    data = split()
    plain = PlainImages(data, INPUT_PX)
    assert len(plain) == len(training(data)) == NUM
    for index in (0, 7):
        image, label = plain[9, index]
        served = to_model_input(data.squares[index : index + 1], INPUT_PX)[0]
        assert np.array_equal(image.float().div_(255).numpy(), served)  # bit for bit, as training turns it to float
        assert label.item() == index % 2


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_loader_batches_in_the_samplers_order(drop_last: bool, sizes: list[int]) -> None:
    data = split()
    sampler = EpochSampler(NUM, 0, shuffle=True)
    sampler.set_epoch(1)
    batches = list(make_loader(training(data), 4, sampler, 0, drop_last=drop_last))
    assert [len(labels) for _, labels in batches] == sizes
    expected = [training(data)[key][0] for key in sampler][: sum(sizes)]
    assert torch.equal(torch.cat([images for images, _ in batches]), torch.stack(expected))


def test_loader_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    list(make_loader(training(split()), 4, EpochSampler(NUM, 0, shuffle=True), 0))
    assert torch.equal(before, torch.random.get_rng_state())
