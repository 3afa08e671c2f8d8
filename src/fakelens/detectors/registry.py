"""Which detectors there are: the modules of this package that export DETECTOR."""

import importlib
import pkgutil
from functools import cache

import fakelens.detectors
from fakelens.core.errors import FakelensError
from fakelens.detectors.spec import COMPACT_SUFFIX, DetectorSpec


@cache
def discover() -> dict[str, DetectorSpec]:
    """All detectors by name, in alphabetical order."""
    detectors = {}
    for module in pkgutil.iter_modules(fakelens.detectors.__path__):
        spec = getattr(importlib.import_module(f"{fakelens.detectors.__name__}.{module.name}"), "DETECTOR", None)
        if isinstance(spec, DetectorSpec):
            detectors[spec.name] = spec
    return detectors


def find(name: str) -> DetectorSpec:
    """The detector of this name; `NAME_compact` is what `fakelens compress NAME` makes.

    Raises:
        ValueError: naming those that exist.
    """
    detectors = discover()
    full = name.removesuffix(COMPACT_SUFFIX)
    if full != name and full in detectors:
        return detectors[full].compact
    if name not in detectors:
        raise FakelensError(f"unknown detector {name!r}: there are {', '.join(detectors)}")
    return detectors[name]
