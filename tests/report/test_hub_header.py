"""What the hub reads of a card: its own parser takes it, and it says what the card says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fakelens.core.artifacts import read_json
from fakelens.dataset.store import PreparedData
from fakelens.report.model_card import hub_header
from fakelens.report.records import Entry
from fakelens.settings import DataSettings
from onnx_models import FIGURES

METRICS = {"accuracy": 0.913, "precision": 0.9274, "recall": 0.8961, "f1": 0.9115, "roc_auc": 0.9702}


def values(licence: str, **settings: Any) -> dict[str, Any]:
    results = SimpleNamespace(source="openfake", description="images", licence=licence, revision="c0" * 20)
    data = SimpleNamespace(settings=DataSettings(**settings), results=results)
    entry = SimpleNamespace(spec=SimpleNamespace(name="a_net"), shipped=SimpleNamespace(metrics=FIGURES))
    header = hub_header([cast(Entry, entry)], cast(PreparedData, data))
    assert header.startswith("---\n")
    assert header.endswith("\n---\n\n")
    return cast(dict[str, Any], yaml.safe_load(header.strip("-\n")))


def test_it_names_data_set_task_and_figures() -> None:
    read = ModelCardData(**values("CC-BY-NC-4.0 (non-commercial) as stated by the data set", repository="me/mirror"))
    assert (read.license, read.library_name, read.pipeline_tag) == ("cc-by-nc-4.0", "fakelens", "image-classification")
    assert (read.datasets, read.model_name, read.metrics) == (["me/mirror"], "a_net", list(METRICS))
    results = cast(list[EvalResult], read.eval_results)
    assert {result.metric_type: result.metric_value for result in results} == METRICS
    assert {(r.dataset_type, r.dataset_config, r.dataset_split, r.dataset_revision) for r in results} == {
        ("me/mirror", "core", "test", "c0" * 20)
    }


@pytest.mark.parametrize(
    ("sentence", "licence"),
    [
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("CC-BY-SA-4.0, or so", {"license": "cc-by-sa-4.0"}),
        ("CC-BY-NC-ND-4.0", {"license": "cc-by-nc-nd-4.0"}),
        ("your own: yours to know", {"license": "other", "license_name": "your own: yours to know"}),
    ],
)
def test_a_licence_is_the_hubs_identifier_or_other(sentence: str, licence: dict[str, str]) -> None:
    read = values(sentence, source="folder")
    assert {key: read[key] for key in read if key.startswith("license")} == licence
    assert "datasets" not in read


def test_cards_and_readme_of_a_run_are_read_by_the_hubs_client(finished_run: Path) -> None:
    bundle = finished_run / "bundle"
    models = read_json(bundle / "bundle.json")["models"]
    for model in models:
        card = ModelCard.load(bundle / model["card"])
        assert card.data.model_name == model["name"]
        figures = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert figures["roc_auc"] == round(model["metrics"]["auc"], 4)
        assert figures["accuracy"] == round(model["metrics"]["accuracy"], 4)
        assert card.text.lstrip().startswith("# Model card")
    readme = (bundle / "README.md").read_text(encoding="utf-8").split("---\n")
    header = yaml.safe_load(readme[1])
    assert [one["name"] for one in header["model-index"]] == [model["name"] for model in models]
    # What a Space asks for; the container's port is the same.
    assert (header["sdk"], header["app_port"]) == ("docker", 7860)
    assert "--server.port=7860" in (bundle / "Dockerfile").read_text(encoding="utf-8")
    assert readme[2].startswith("\n# fakelens")
