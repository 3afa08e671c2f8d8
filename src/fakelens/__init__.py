"""fakelens: train, judge, export and deploy detectors of AI-generated images.

    bundle = fakelens.open_bundle("runs/openfake/bundle")
    judgement = bundle.judge("holiday.jpg")

The stages are functions of `fakelens.pipeline`. All names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fakelens.core.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    from fakelens import pipeline
    from fakelens.core.errors import FakelensError
    from fakelens.core.imaging import ImageRefused
    from fakelens.core.scoring import Verdict
    from fakelens.recipes import Recipe, load_recipe
    from fakelens.runtime.bundle import Bundle, BundleDamaged
    from fakelens.runtime.judgement import Answer, Judgement, Refusal
    from fakelens.sharing import open_bundle, push

__version__ = "0.2.0"
__all__ = [
    "Answer",
    "Bundle",
    "BundleDamaged",
    "FakelensError",
    "ImageRefused",
    "Judgement",
    "Recipe",
    "Refusal",
    "Verdict",
    "load_recipe",
    "open_bundle",
    "pipeline",
    "push",
]
_MODULES = {
    "Answer": "runtime.judgement",
    "Bundle": "runtime.bundle",
    "BundleDamaged": "runtime.bundle",
    "FakelensError": "core.errors",
    "ImageRefused": "core.imaging",
    "Judgement": "runtime.judgement",
    "Recipe": "recipes",
    "Refusal": "runtime.judgement",
    "Verdict": "core.scoring",
    "load_recipe": "recipes",
    "open_bundle": "sharing",
    "push": "sharing",
}

# Here, because it has to come before the first import of onnxruntime, whichever module asks for it.
switch_off_telemetry()

if not TYPE_CHECKING:  # which would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name == "pipeline":
            return import_module("fakelens.pipeline")
        if name not in _MODULES:
            raise AttributeError(f"module 'fakelens' has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(f"fakelens.{_MODULES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
