"""What the training loss adds to binary cross-entropy: mixed pictures and weights for hard ones. Pure."""

import numpy as np
import torch
import torch.nn.functional as F


def mix(
    images_nchw: torch.Tensor, targets: torch.Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each picture of a batch with another, and their targets in the same ratio.

    Mixup (Zhang et al. 2018, arXiv 1710.09412) blends the pictures, CutMix (Yun et al. 2019, arXiv 1905.04899) puts a
    rectangle of one into the other.

    Args:
        images_nchw: (N, 3, H, W).
        targets: (N,) in [0, 1].
        mixup: alpha of the Beta distribution of the ratio; 0 for none.
        cutmix: the same for CutMix; with both, either is chosen with equal probability.
        rng: decides everything.
    """
    ways = [(name, alpha) for name, alpha in (("mixup", mixup), ("cutmix", cutmix)) if alpha]
    if not ways:
        return images_nchw, targets
    way, alpha = ways[int(rng.integers(len(ways)))]
    kept = float(rng.beta(alpha, alpha))
    other = torch.from_numpy(rng.permutation(len(targets))).to(targets.device)
    if way == "mixup":
        mixed = torch.lerp(images_nchw[other], images_nchw, kept)
    else:
        top, bottom, left, right = _rectangle(images_nchw.shape[2], images_nchw.shape[3], 1 - kept, rng)
        mixed = images_nchw.clone()
        mixed[:, :, top:bottom, left:right] = images_nchw[other][:, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (images_nchw.shape[2] * images_nchw.shape[3])
    return mixed, torch.lerp(targets[other], targets, kept)


def _rectangle(height: int, width: int, area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of this share of the area and the picture's shape, wholly inside it."""
    tall, wide = round(height * area**0.5), round(width * area**0.5)
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    return top, top + tall, left, left + wide


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """Mean binary cross-entropy, each picture weighed by (1 - p)^gamma, p what its target is given (arXiv 1708.02002).

    `targets` may be anything in [0, 1]; `gamma` 0 is plain cross-entropy.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma:
        distance = (logits.detach().sigmoid() - targets).abs()
        losses = losses * distance**gamma
    return losses.mean()
