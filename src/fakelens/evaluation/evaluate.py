"""The evaluate stage: a checkpoint and prepared data in; scores, metrics, temperature and plots out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from fakelens.core.artifacts import Stage, StageRecord, load_record, write_json
from fakelens.core.detector_spec import DetectorSpec
from fakelens.core.progress import SILENT, Reporter
from fakelens.dataset.prepared import PreparedData
from fakelens.detectors.checkpoint import TorchScorer, load_checkpoint
from fakelens.evaluation.calibration import calibrated, expected_calibration_error, fit_temperature
from fakelens.evaluation.metrics import compute_metrics
from fakelens.evaluation.plots import plot_confusion_matrix, plot_roc, plot_samples
from fakelens.evaluation.scores import Scores, joined, run_scorer, score_split, write_scores
from fakelens.evaluation.settings import EvaluationSettings

_VERSION = 2


def evaluate_stage(workdir: Path, spec: DetectorSpec, settings: EvaluationSettings) -> Stage:
    """The stage's folder, key and record."""
    return Stage(
        "evaluate",
        workdir / spec.name / "evaluation",
        version=_VERSION,
        settings=settings.model_dump(mode="json"),
        inputs={"train": load_record(workdir / spec.name / "train.json").digest},
    )


def evaluate(
    workdir: Path,
    spec: DetectorSpec,
    settings: EvaluationSettings,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> StageRecord:
    """Judge `best.safetensors` on the test split and the further test sets.

    The temperature comes from the validation split alone.

    Writes `scores.parquet`, `metrics.json`, `plots/` and `evaluate.json`.

    Raises:
        ValueError: when the detector or its data are missing or damaged.
    """
    stage = evaluate_stage(workdir, spec, settings)
    if not force and (record := stage.finished()):
        return record
    network, info = load_checkpoint(workdir / spec.name / "best.safetensors")
    data = PreparedData(workdir / "data")
    stage.begin()
    scorer = TorchScorer(network, info)
    splits = [data.split(name) for name in ("val", *data.test_sets)]
    parts = [
        score_split(split, run_scorer(scorer.logits, split, scorer.input_px, f"Scoring {split.name}", reporter))
        for split in splits
    ]
    scores = joined(parts)
    write_scores(stage.folder / "scores.parquet", scores)
    val = scores.of("val")
    temperature = fit_temperature(val.logit, val.label)
    metrics = {name: asdict(compute_metrics(*_judged(scores.of(name), temperature))) for name in data.test_sets}
    write_json(stage.folder / "metrics.json", metrics)
    title = data.title(spec.display_name)
    plots = _plots(stage.folder / "plots", scores.of("test"), temperature, data, title, info.seed)
    results = {
        "temperature": temperature,
        "threshold": asdict(settings.threshold),
        "val": asdict(compute_metrics(*_judged(val, temperature))),
        "calibration_error": _calibration_errors(scores.of("test"), temperature),
    }
    return stage.finish([stage.folder / "scores.parquet", stage.folder / "metrics.json", *plots], results)


def _judged(scores: Scores, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    return scores.label, calibrated(scores.logit, temperature)


def _calibration_errors(scores: Scores, temperature: float) -> dict[str, float]:
    return {
        name: expected_calibration_error(calibrated(scores.logit, value), scores.label)
        for name, value in (("before", 1.0), ("after", temperature))
    }


def _plots(folder: Path, test: Scores, temperature: float, data: PreparedData, title: str, seed: int) -> list[Path]:
    labels, probabilities = _judged(test, temperature)
    return [
        plot_confusion_matrix(folder / "confusion_matrix.png", compute_metrics(labels, probabilities), title),
        plot_roc(folder / "roc.png", labels, probabilities, title),
        plot_samples(folder / "samples.png", data.split("test").squares, labels, probabilities, title, seed),
    ]
