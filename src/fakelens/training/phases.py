"""Phases of fine-tuning: which parameters train, for how long and at which learning rate."""

import math
from dataclasses import dataclass

from torch import nn

from fakelens.settings import DetectorSettings

_FINAL_FRACTION = 0.01


@dataclass(frozen=True)
class Phase:
    """A run of epochs with one set of trainable parameters."""

    name: str
    head_only: bool
    first_epoch: int
    num_epochs: int
    learning_rate: float
    warmup_fraction: float


def plan_phases(settings: DetectorSettings, max_epochs: int | None = None) -> list[Phase]:
    """Head first, then all layers; without pretrained weights there is nothing to protect, and no head phase.

    `max_epochs` caps the sum; of a capped sum the head gets at most a third.
    """
    head = settings.head_epochs if settings.pretrained else 0
    everything = settings.epochs
    if max_epochs is not None and head + everything > max_epochs:
        head = min(head, max_epochs // 3)
        everything = min(everything, max_epochs - head)
    phases = []
    if head:
        phases.append(Phase("head", True, 0, head, settings.head_learning_rate, 0.0))
    phases.append(Phase("all", False, head, everything, settings.learning_rate, settings.warmup_fraction))
    return phases


def learning_rate_factor(step: int, num_steps: int, phase: Phase, scheduler: str) -> float:
    """Fraction of the phase's peak rate at optimiser step `step`: linear warm-up, then cosine down to 1 %."""
    warmup = round(num_steps * phase.warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    if scheduler == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    return _FINAL_FRACTION + (1 - _FINAL_FRACTION) * 0.5 * (1 + math.cos(math.pi * progress))


def freeze(network: nn.Module, head_prefix: str, phase: Phase) -> None:
    """Set which parameters train in this phase."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not phase.head_only or name.startswith(head_prefix)


def set_modes(network: nn.Module, head_prefix: str, phase: Phase) -> None:
    """Training mode for what trains; a frozen backbone stays in evaluation mode: its BatchNorm statistics rest.

    The dropout in front of the head is part of what trains: a child of the network itself, or (timm) a function that
    asks the network's own mode.
    """
    network.train()
    if phase.head_only:
        for name, module in network.named_modules():
            outermost = name.count(".") <= 1 and isinstance(module, nn.Dropout)
            if not (f"{name}.".startswith(head_prefix) or name in ("", "network") or outermost):
                module.training = False
