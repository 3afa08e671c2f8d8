"""Mixing keeps pictures and targets in the same ratio; the focal weight is that of the paper."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fakelens.training.module import focal_loss, mix

IMAGES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
# Each picture's mean is its target, so that the ratio can be read from the picture.
FLAT = torch.linspace(0, 1, 8)[:, None, None, None].expand(8, 3, 16, 16).contiguous()
TARGETS = torch.linspace(0, 1, 8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_settings_nothing_is_mixed_or_drawn() -> None:
    stream = rng()
    images, targets = mix(IMAGES, TARGETS, 0, 0, stream)
    assert images is IMAGES
    assert targets is TARGETS
    assert stream.random() == rng().random()


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_pictures_and_targets_are_mixed_alike(mixup: float, cutmix: float) -> None:
    changed = 0
    for seed in range(12):
        images, targets = mix(FLAT, TARGETS, mixup, cutmix, rng(seed))
        torch.testing.assert_close(images.mean(dim=(1, 2, 3)), targets)
        changed += not torch.equal(images, FLAT)
    assert changed > 6
    assert torch.equal(FLAT[:, 0, 0, 0], TARGETS)


def test_the_same_stream_mixes_the_same() -> None:
    first, second = (mix(IMAGES, TARGETS, 0.2, 1.0, rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_cutmix_pastes_one_rectangle() -> None:
    images, _ = mix(FLAT, TARGETS, 0, 1.0, rng(5))
    other = (images != FLAT).any(dim=1)
    rows, columns = other.any(dim=(0, 2)).sum(), other.any(dim=(0, 1)).sum()
    assert other.any(dim=0).sum() == rows * columns > 0


def test_gamma_zero_is_cross_entropy_and_more_forgets_the_easy() -> None:
    logits, targets = torch.tensor([4.0, 0.1, -3.0]), torch.tensor([1.0, 1.0, 1.0])
    torch.testing.assert_close(focal_loss(logits, targets, 0), F.binary_cross_entropy_with_logits(logits, targets))
    p = logits.sigmoid()
    torch.testing.assert_close(focal_loss(logits, targets, 2), ((1 - p) ** 2 * -p.log()).mean())
