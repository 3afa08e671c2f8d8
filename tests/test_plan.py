"""The recipe `plan` and the default are what docs/plan.md says of them, number by number."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakelens import pipeline
from fakelens.config import to_commented_yaml
from fakelens.dataset.splits import split_sizes
from fakelens.detectors.spec import discover, find
from fakelens.export.onnx import OPSET
from fakelens.recipes import Recipe, load_recipe, training_settings

pytestmark = pytest.mark.usefixtures("undrawn")
PAGE = (Path(__file__).parents[1] / "docs" / "plan.md").read_text(encoding="utf-8")
PLAN, DEFAULT = load_recipe("plan"), load_recipe("openfake")
Pair = tuple[Any, Any]


def value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def tables() -> tuple[dict[str, Pair], dict[str, str]]:
    """What the page says of each setting: its values in `plan` and in the default, and why they differ."""
    pairs, why, columns = {}, {}, [""]
    for line in PAGE.splitlines():
        name, *cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if name == "setting":
            columns = ["" if column == "value" else f"{column}." for column in cells[:-1]]
        elif line.startswith("| `"):
            for column, cell in zip(columns, cells, strict=False):
                planned, _, ours = cell.partition(" → ")
                pairs[column + name] = value(planned), value(ours or planned)
                why[column + name] = cells[-1] if ours else ""
    return {name: pair for name, pair in pairs.items() if pair[0] != "–"}, why


def settings(recipe: Recipe) -> dict[str, Any]:
    """Every number of a recipe: what it says for all, and for each detector of the plan what holds for it."""
    plain = recipe.model_dump(mode="json", exclude={"name", "only", "detectors", "base"})
    plain["train"].pop("input_px")  # holds through each detector's own
    common = {f"{part}.{name}": each for part, values in plain.items() for name, each in values.items()}
    own = {
        f"{name}.{key}": each
        for name in PLAN.detectors
        for key, each in training_settings(find(name), recipe).model_dump(mode="json").items()
    }
    return common | own | {"splits": list(split_sizes(recipe.data.num_images)), "opset": OPSET}


PAIRS, WHY = tables()


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_a_number_is_what_the_page_says(name: str) -> None:
    assert (settings(PLAN)[name], settings(DEFAULT)[name]) == PAIRS[name]


def test_the_page_names_every_difference_from_the_default_and_its_reason() -> None:
    planned, ours = settings(PLAN), settings(DEFAULT)
    differences = {name for name in planned if planned[name] != ours[name]}
    assert differences == {name for name, (plan, default) in PAIRS.items() if plan != default}
    notes = set(re.findall(r"^(\d+)\. ", PAGE, re.M))
    assert differences
    assert all(set(WHY[name].split(", ")) <= notes for name in differences)


def test_the_page_names_everything_that_the_plan_says_of_a_detector() -> None:
    said = {f"{name}.{key}" for name, values in PLAN.detectors.items() for key in values}
    assert said <= set(PAIRS)


@pytest.mark.parametrize("fastest", ["int8-static", "int8-dynamic"])
def test_of_the_int8_files_that_pass_the_fastest_ships_as_the_page_says(
    fastest: str, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fakelens.export.stage.median_latencies_ms", lambda files: {name: 6.0 - (name == fastest) for name in files}
    )
    recipe = load_recipe("smoke")  # whose gate lets all pass
    exported = pipeline.export(own_run, recipe, next(iter(discover().values())), force=True)
    assert {variant.name for variant in exported.variants if variant.passed} >= {"fp32", "int8-dynamic", "int8-static"}
    assert exported.ships == fastest
    said = "" if fastest == "int8-static" else f"{fastest} is the fastest that passed its gate. "
    assert exported.why.startswith(f"{said}Static INT8 passed its gate")
    assert "the fastest INT8 file that passes" in " ".join(PAGE.split())


def test_experiments_that_the_page_names_are_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert [link for link in links if not (Path(__file__).parents[1] / "docs" / link).is_file()] == []


def test_the_plan_is_a_recipe_that_can_be_edited_and_given_back(tmp_path: Path) -> None:
    text = to_commented_yaml(PLAN)
    (tmp_path / "mine.yaml").write_text(text)
    assert yaml.safe_load(text) == PLAN.model_dump(mode="json")
    assert load_recipe(str(tmp_path / "mine.yaml")).model_dump(mode="json") == PLAN.model_dump(mode="json")


@pytest.mark.slow
def test_the_plan_trains_its_detectors_on_small_data(tmp_path: Path) -> None:
    small = ["data.source=synthetic", "data.num_images=80", "data.stored_px=64", "data.synthetic_px=80"]
    small += ["data.min_side_px=64", "data.num_workers=0", "train.tiny=true", "train.input_px=64", "train.max_epochs=3"]
    recipe = load_recipe("plan", small)
    pipeline.prepare(tmp_path, recipe)
    for name in recipe.only or ():
        assert pipeline.train(tmp_path, recipe, find(name)).num_epochs == 3
    assert set(recipe.only or ()) == {spec.name for spec in discover().values() if spec.runs_by_default}
