"""Named, complete configurations: `openfake` (the default), `demo`, `smoke` and `plan`, or a file of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fakelens.config import Settings, load_yaml, to_commented_yaml, with_overrides
from fakelens.core.artifacts import differences, write_text
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import RUNS, RunFolder
from fakelens.detectors.spec import DetectorSpec, discover, find
from fakelens.settings import (
    AugmentationSettings,
    CompressSettings,
    DataSettings,
    DetectorSettings,
    EvaluationSettings,
    ExportSettings,
    TrainSettings,
)


class Recipe(Settings):
    """Everything that decides the outcome of a run."""

    name: str = "openfake"
    """Names the default working folder, runs/NAME."""
    only: tuple[str, ...] | None = None
    """Detectors that `run`, `bundle` and `report` take; null for those that run by default."""
    data: DataSettings = DataSettings()
    """Which images."""
    base: Literal["defaults", "demo"] = "defaults"
    """Which of each detector's own settings to start from: for real data, or for the demonstration."""
    train: TrainSettings = TrainSettings()
    """How training runs."""
    detectors: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Per detector, settings over its own: detectors.NAME.KEY; `fakelens detectors NAME` lists the keys."""
    evaluate: EvaluationSettings = EvaluationSettings()
    """How scores become verdicts."""
    export: ExportSettings = ExportSettings()
    """How ONNX files are made."""
    compress: CompressSettings = CompressSettings()
    """How a detector that is too large is made smaller."""

    @property
    def training_seed(self) -> int:
        """The seed of every training: its own, or the data's."""
        return self.data.seed if self.train.seed is None else self.train.seed

    @model_validator(mode="after")
    def _detector_settings_fit(self) -> Self:
        for name in self.only or ():
            find(name)
        for name, values in self.detectors.items():
            try:
                _merged(find(name), self, values)
            except FakelensError as error:
                raise FakelensError(f"detectors.{name}: {error}") from error
        return self


RECIPES = {
    "openfake": Recipe(),
    "demo": Recipe(
        name="demo",
        base="demo",
        # Strong recompression would wipe the synthetic traces out; real ones are many and survive it.
        train=TrainSettings(
            augmentation=AugmentationSettings.checked(
                {"crop_scale": 1, "blur": 0, "jpeg": 0.3, "webp": 0, "avif": 0, "resize_jpeg": 0, "quality": (85, 95)}
            )
        ),
        # Of 75 photographs one is more than 1 %: a threshold for that rate could not be verified.
        evaluate=EvaluationSettings(robustness_images=20, false_positive_rates=(0.05,)),
        # The first way of static quantisation that passes the gate is enough, and ranges of a quarter of the pictures.
        export=ExportSettings(search_seconds=0, calibration_images=64),
        # At once and early: learning from scratch goes on in the compact detector, whose epochs take half the time, and
        # a teacher that has learnt for one epoch has little to teach. With the two others it has 13 of 15 MB.
        compress=CompressSettings(report_full=False, target_mb=9.5, steps=1, epochs=5, teacher_weight=0, round_to=16),
        # The size at which the detectors look: shrinking would wipe the traces out.
        data=DataSettings(source="synthetic", num_images=1000, stored_px=80, synthetic_px=80, min_side_px=64),
    ),
    "smoke": Recipe(
        name="smoke",
        base="demo",
        data=DataSettings(
            source="synthetic", num_images=80, stored_px=80, synthetic_px=80, min_side_px=64, num_workers=0
        ),
        train=TrainSettings(tiny=True, max_epochs=2, input_px=64),
        evaluate=EvaluationSettings(num_resamples=100, robustness_images=4),
        # The graph itself is most of a tiny network's file.
        compress=CompressSettings(target_mb=0.125, steps=2, epochs=1, round_to=2),
        # A detector that has seen 56 pictures has no opinion that quantisation could keep.
        export=ExportSettings.checked(
            {
                "calibration_images": 16,
                "gate": {"max_accuracy_drop": 1, "max_auc_drop": 1, "min_agreement": 0},
            }
        ),
    ),
}


def plan() -> Recipe:
    """The numbers that fakelens was asked for, as they were written; docs/plan.md holds the default against them."""
    # Not among RECIPES, because it takes every detector's file, and with them torch, to make it.
    detectors = {spec.name: dict(spec.plan) for spec in discover().values() if spec.plan}
    return Recipe(
        name="plan",
        only=tuple(detectors),
        data=DataSettings(num_images=12_000, stored_px=224),
        train=TrainSettings(input_px=224),
        detectors=detectors,
    )


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A named recipe or a YAML file, with `a.b=c` overrides applied.

    Raises:
        FakelensError: for an unknown name, an unreadable file, or settings that do not fit.
    """
    name_or_path = str(name_or_path)
    if name_or_path in RECIPES:
        recipe = RECIPES[name_or_path]
    elif name_or_path == "plan":
        recipe = plan()
    elif name_or_path.lower().endswith((".yaml", ".yml")):
        recipe = load_yaml(Path(name_or_path), Recipe, name=Path(name_or_path).stem)
    else:
        remedy = "a file's name must end in .yaml" if Path(name_or_path).is_file() else "or give a file.yaml"
        raise FakelensError(f"unknown recipe {name_or_path!r}: there are {', '.join(RECIPES)}, plan, {remedy}")
    return with_overrides(recipe, overrides)


def recipe_for(name_or_path: str | None, workdir: Path | None, overrides: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """The recipe and the working folder that a command means.

    Args:
        name_or_path: a named recipe or a YAML file; None for the working folder's own, or else `openfake`.
        workdir: the working folder; None for `runs/NAME` of the recipe.
        overrides: `a.b=c` settings over it.

    Raises:
        FakelensError: as `load_recipe`.
    """
    if name_or_path is None:
        own = RunFolder(workdir or RUNS / Recipe().name).recipe
        name_or_path = str(own) if own.is_file() else Recipe().name
    recipe = load_recipe(name_or_path, overrides)
    return recipe, workdir or RUNS / recipe.name


def save_recipe(workdir: Path, recipe: Recipe) -> list[str]:
    """Write the folder's own recipe; returns which settings are other ones than before."""
    path = RunFolder(workdir).recipe
    changes = []
    if path.is_file():
        try:
            before = load_recipe(str(path)).model_dump(mode="json")
            changes = differences(before, recipe.model_dump(mode="json"))
        except FakelensError as error:
            changes = [f"written anew, what was there could not be read ({error})"]
    write_text(path, to_commented_yaml(recipe) + "\n")
    return changes


def named_detectors(names: str | None, recipe: Recipe | None = None) -> list[DetectorSpec]:
    """The detectors of a comma-separated list, or else the recipe's own, or else those that run by default."""
    if names is not None:
        return [find(name.strip()) for name in names.split(",")]
    if recipe is not None and recipe.only is not None:
        return [find(name) for name in recipe.only]
    return [spec for spec in discover().values() if spec.runs_by_default]


def training_settings(spec: DetectorSpec, recipe: Recipe) -> DetectorSettings:
    """One detector's settings: its own, below what the recipe says for all, below what it says for this one."""
    return _merged(spec, recipe, recipe.detectors.get(spec.name, {}))


def target_mb(spec: DetectorSpec, recipe: Recipe) -> float | None:
    """Size to which `fakelens run` compresses a detector, to ship the compact one; None leaves it as it is."""
    if spec.compact_mb is None or not recipe.compress.in_run:
        return None
    return recipe.compress.target_mb or spec.compact_mb


def shown(detectors: Sequence[DetectorSpec], recipe: Recipe) -> list[DetectorSpec]:
    """The detectors that a run evaluates and exports: a compact one after the full one, or in its place."""
    rows = []
    for spec in detectors:
        compact = [spec.compact] if target_mb(spec, recipe) else []
        rows += [*([spec] if not compact or recipe.compress.report_full else []), *compact]
    return rows


def shipped(detectors: Sequence[DetectorSpec], recipe: Recipe) -> list[DetectorSpec]:
    """The detectors of a run's bundle: the compact one in the place of one that is too large."""
    return [spec.compact if target_mb(spec, recipe) else spec for spec in detectors]


def _merged(spec: DetectorSpec, recipe: Recipe, values: dict[str, Any]) -> DetectorSettings:
    own = spec.defaults if recipe.base == "defaults" else spec.demo
    common: dict[str, Any] = {} if recipe.train.input_px is None else {"input_px": recipe.train.input_px}
    if not recipe.train.pretrained or recipe.train.tiny or spec.weights is None:
        common["pretrained"] = False
    return DetectorSettings.checked({**own.model_dump(), **common, **values})
