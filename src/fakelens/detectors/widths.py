"""Numbers of channels: a network and stored weights in; the network with as many channels as the weights have out."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def fit_widths(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give every layer of `network` the size of its stored weights, whose values are not read.

    A network whose channels were pruned is rebuilt from the weights alone: their shapes say what was left.

    Raises:
        KeyError: when the weights of a layer are not among them.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | _BatchNorm):
            for key, own in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                own.data = own.new_empty(weights[f"{name}.{key}"].shape)
            _say_widths(module)


def _say_widths(module: nn.Module) -> None:
    """Let a layer's attributes agree with its weights."""
    if isinstance(module, nn.Conv2d):
        num_out, num_in_per_group = module.weight.shape[:2]
        if module.groups == module.in_channels:  # depthwise: a group for each channel
            module.groups = num_out
        module.out_channels, module.in_channels = num_out, num_in_per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm):
        module.num_features = len(module.weight)
