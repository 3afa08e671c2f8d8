"""YAML header of a card for the Hugging Face hub: licence, task, data set, and the figures on the test split."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from fakelens.dataset.store import PreparedData
from fakelens.report.records import Entry

_TASK = "image-classification"
# By the hub's names for them.
_METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "f1", "roc_auc": "auc"}
_DIGITS = 4
_KNOWN_LICENCE = re.compile(r"CC0-1\.0\b|CC-BY(-NC)?(-SA|-ND)?-[1-4]\.0\b", re.IGNORECASE)
# Of a repository with the Docker SDK, a Space: the port is the one that the bundle's Dockerfile serves.
SPACE = {"title": "fakelens", "sdk": "docker", "app_port": 7860}


def hub_header(entries: Sequence[Entry], data: PreparedData, **more: Any) -> str:
    """The header of a card of these detectors and the empty line behind it; `more` are further keys, which come first.

    The figures are those of the files that ship.
    """
    from_hub = data.settings.source == "openfake"
    values = {
        **more,
        **_licence(data.results.licence),
        "library_name": "fakelens",
        "pipeline_tag": _TASK,
        "tags": ["onnx", "ai-generated-image-detection"],
        **({"datasets": [data.settings.repository]} if from_hub else {}),
        "metrics": list(_METRICS),
        "model-index": [{"name": entry.spec.name, "results": [_result(entry, data)]} for entry in entries],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)}---\n\n"


def _licence(sentence: str) -> dict[str, str]:
    """The hub's identifier of the licence of the data, which the detectors are passed on under."""
    known = _KNOWN_LICENCE.match(sentence)
    return {"license": known[0].lower()} if known else {"license": "other", "license_name": sentence}


def _result(entry: Entry, data: PreparedData) -> dict[str, Any]:
    settings, figures = data.settings, entry.shipped.metrics
    dataset = {"type": data.results.source, "name": data.results.description, "split": "test"}
    if settings.source == "openfake":
        dataset |= {"type": settings.repository, "config": settings.config, "revision": str(data.results.revision)}
    metrics = [{"type": kind, "value": round(getattr(figures, name), _DIGITS)} for kind, name in _METRICS.items()]
    return {"task": {"type": _TASK, "name": "real or AI-generated"}, "dataset": dataset, "metrics": metrics}
