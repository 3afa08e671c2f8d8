"""The shape that every detector has: pictures in, one logit out, normalisation inside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fakelens.core.detector_spec import BuildOptions


class LogitDetector(nn.Module):
    """Wraps a network: float RGB (N, 3, H, W) in [0, 1] to logits (N,); positive means fake."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        options: BuildOptions,
        logits_of: Callable[[Any], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._logits_of = logits_of
        self.register_buffer("mean", torch.tensor(options.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(options.std).view(1, 3, 1, 1))

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """Logits (N,)."""
        output = self.network((images_nchw - self.mean) / self.std)
        logits: torch.Tensor = self._logits_of(output) if self._logits_of else output
        return logits.flatten()
