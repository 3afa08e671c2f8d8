"""Specification of a detector: how to build it, how to train it, what its head is called."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import fakelens.detectors
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import COMPACT
from fakelens.settings import DetectorSettings

if TYPE_CHECKING:
    from torch import nn


IMAGENET: Mapping[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Mean and standard deviation of ImageNet's training pictures, as settings."""
PLAN_OF_PRETRAINED: Mapping[str, Any] = {
    **IMAGENET,
    "optimizer": "adamw",
    "scheduler": "cosine",
    "warmup_fraction": 0.0,
    "head_epochs": 5,
    "min_epochs": 10,
    "epochs": 15,
    "label_smoothing": 0.1,
    "gradient_clip": 0.0,
    "ema_decay": 0.0,
    "precision": "auto",
}
"""What the recipe `plan` says of every detector that starts from published weights."""


@dataclass(frozen=True)
class BuildOptions:
    """Arguments of a detector's `build`."""

    pretrained: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dropout: float
    tiny: bool = False
    """The same code path with under 100,000 parameters, for tests."""


@dataclass(frozen=True)
class DetectorSpec:
    """One detector; `detectors/NAME.py` exports it as DETECTOR and no other file names it."""

    name: str
    display_name: str
    summary: str
    build: "Callable[[BuildOptions], nn.Module]"
    """Returns a module from float RGB (N, 3, H, W) in [0, 1] to logits (N,), normalisation inside."""
    head_prefix: str
    """Parameters whose name starts with this are the head: what phase 1 trains."""
    defaults: DetectorSettings
    demo: DetectorSettings
    """Settings for the demonstration: from scratch on small synthetic pictures, minutes on two CPU cores."""
    plan: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What the recipe `plan` says over `defaults`; empty for a detector that the plan does not have."""
    runs_by_default: bool = True
    """Whether `fakelens run` trains it without being asked."""
    weights: str | None = None
    """Repository of the published weights on the Hugging Face hub, None if there are none."""
    licence: str | None = None
    """Licence of the published weights."""
    compact_mb: float | None = None
    """Size of the static INT8 file in MB to which `fakelens run` compresses it, to ship that in its place; None ships
    it as it is."""
    full: "DetectorSpec | None" = None
    """What a compact detector was pruned from; None for all others."""

    @property
    def compact(self) -> "DetectorSpec":
        """The detector that `fakelens compress` makes of this one: the same network with fewer channels."""
        return replace(
            self,
            name=f"{self.name}{COMPACT}",
            display_name=f"{self.display_name} (compact)",
            summary=f"{self.summary}, compressed by removing channels",
            runs_by_default=False,
            compact_mb=None,
            full=self,
        )


@cache
def discover() -> dict[str, DetectorSpec]:
    """All detectors by name, in alphabetical order."""
    detectors = {}
    for module in pkgutil.iter_modules(fakelens.detectors.__path__):
        spec = getattr(importlib.import_module(f"{fakelens.detectors.__name__}.{module.name}"), "DETECTOR", None)
        if isinstance(spec, DetectorSpec):
            detectors[spec.name] = spec
    return detectors


def find(name: str | DetectorSpec) -> DetectorSpec:
    """The detector of this name; `NAME_compact` is what `fakelens compress NAME` makes.

    Raises:
        FakelensError: naming those that exist.
    """
    if isinstance(name, DetectorSpec):
        return name
    detectors = discover()
    full = str(name).removesuffix(COMPACT)  # a wrong kind is an unknown name
    if full != name and full in detectors:
        return detectors[full].compact
    if name not in detectors:
        raise FakelensError(f"unknown detector {name!r}: there are {', '.join(detectors)}")
    return detectors[name]


@dataclass(frozen=True)
class TrainingChoice:
    """One detector's own part of what a training depends on, as its record holds it."""

    detector: str
    seed: int
    settings: DetectorSettings

    def plain(self) -> dict[str, Any]:
        """Among the record's settings."""
        return {"detector": self.detector, "seed": self.seed, **self.settings.model_dump(mode="json")}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "TrainingChoice":
        """Out of the record's settings."""
        own = DetectorSettings.checked({name: plain[name] for name in DetectorSettings.model_fields})
        return cls(plain["detector"], plain["seed"], own)
