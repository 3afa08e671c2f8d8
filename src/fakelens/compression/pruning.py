"""Structured pruning: a network in; the same network with fewer channels out, the least important ones gone."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_MOST = 0.95
_NUM_RATIOS = 190
_CAUTION = 0.75
# What the static INT8 file holds for each output channel beside its weights: scale (4 bytes) and zero point (1) of the
# weights, and the bias (4) with a scale (4) and a zero point (4).
_BYTES_PER_CHANNEL = 17


def int8_bytes(network: nn.Module) -> int:
    """Bytes of the network's weights in a static INT8 file, without the graph itself."""
    return sum(layer.weight.numel() + _BYTES_PER_CHANNEL * len(layer.weight) for layer in _layers(network))


def prune_until(
    network: nn.Module,
    size_of: Callable[[nn.Module], float],
    size: float,
    input_px: int,
    round_to: int,
) -> None:
    """Remove the same share of every layer's channels until `size_of(network)` is at most `size`; in place.

    Which ones: those with the smallest weights, over all layers that must lose the same channel together (Fang et al.
    2023, arXiv 2301.12900). If `size` cannot be reached, 95 % of the channels are gone, or all but `round_to`.

    Args:
        network: (N, 3, S, S) to logits.
        size_of: falls as channels go.
        size: to be reached; 0 removes all that can be removed.
        input_px: S.
        round_to: what is left of a layer is a multiple of this many channels; one that has no more keeps all.
    """
    import torch_pruning

    ratios = [_MOST * n / _NUM_RATIOS for n in range(_NUM_RATIOS + 1)]
    pruner: Any = torch_pruning.BasePruner(
        network.eval(),
        torch.zeros(1, 3, input_px, input_px),
        torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=_MOST,
        # A layer that would be left with none would lose none at all.
        pruning_ratio_dict={layer: max(0.0, 1 - (round_to + 0.5) / len(layer.weight)) for layer in _layers(network)},
        iterative_steps=_NUM_RATIOS,
        iterative_pruning_ratio_scheduler=lambda most, _: [min(ratio, most) for ratio in ratios],
        round_to=round_to,
        # The defaults are dictionaries that all pruners of a process share.
        in_channel_groups={},
        out_channel_groups={},
    )
    while (now := size_of(network)) > size and pruner.current_step < _NUM_RATIOS:
        # Size falls about with the square of the width: most of the way at once, the rest in small steps.
        width = 1 - ratios[pruner.current_step]
        ahead = _CAUTION * width * (1 - math.sqrt(size / now)) if size else 1.0
        pruner.current_step = min(pruner.current_step + int(ahead * _NUM_RATIOS / _MOST), _NUM_RATIOS - 1)
        pruner.step()


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
