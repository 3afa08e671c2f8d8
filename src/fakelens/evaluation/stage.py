"""The evaluate stage: scores, thresholds, temperature, metrics and figures of one trained detector."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fakelens.core.artifacts import Stage, StageRecord, load_record, write_json
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.records import Inputs
from fakelens.core.run_folder import (
    BEST,
    CONFUSION_MATRIX,
    METRICS,
    MISTAKES,
    PLOTS,
    PRECISION_RECALL,
    RELIABILITY,
    RISK_COVERAGE,
    ROBUSTNESS,
    ROBUSTNESS_PLOT,
    ROBUSTNESS_SCORES,
    ROC,
    SAMPLES,
    SCORES,
    RunFolder,
)
from fakelens.core.scoring import OperatingPoint, point_at
from fakelens.dataset.splits import TEST, VAL
from fakelens.dataset.store import PreparedData
from fakelens.detectors.checkpoint import CheckpointInfo, TorchScorer, load_checkpoint
from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import DetectorSpec
from fakelens.evaluation import plots, robustness
from fakelens.evaluation.calibration import calibrated, expected_calibration_error, fit_temperature, temperature_warning
from fakelens.evaluation.metrics import CalibrationChange, EvaluateResults, SetMetrics, summarise
from fakelens.evaluation.scores import Scores, score_split
from fakelens.evaluation.thresholds import operating_points
from fakelens.settings import EvaluationSettings

_VERSION = 6


def trained_on(workdir: Path, spec: DetectorSpec) -> tuple[StageRecord, PreparedData]:
    """A detector's record of training and the working folder's data, which must be what it was trained on.

    Raises:
        OtherDataError: when they are not.
        FakelensError: when one is missing or damaged.
    """
    trained = load_record(RunFolder(workdir).detector(spec.name).train_record)
    data = PreparedData(RunFolder(workdir).data)
    data.must_be_of(trained.made_of.data, spec.name)
    return trained, data


def begin(
    stage: Stage, trained: StageRecord, spec: DetectorSpec, reporter: Reporter
) -> tuple[LogitDetector, CheckpointInfo]:
    """Begin a stage of a trained detector; returns its checkpoint.

    A damaged checkpoint is refused first, so that an earlier result stays as it was.
    """
    checkpoint = load_checkpoint(trained.output(BEST))
    if changes := stage.changes():
        reporter.say(f"{stage.name} {spec.name}: again, because of {', '.join(changes)}")
    stage.begin()
    return checkpoint


def evaluate_stage(
    workdir: Path, spec: DetectorSpec, settings: EvaluationSettings, trained: StageRecord, data: PreparedData
) -> Stage:
    """The stage's folder, key and record."""
    return Stage(
        "evaluate",
        RunFolder(workdir).detector(spec.name).evaluation,
        version=_VERSION,
        settings=settings.model_dump(mode="json"),
        inputs=Inputs(data=data.record.digest, train=trained.digest).plain(),
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

    Temperature and thresholds come from the validation split alone.

    Writes `scores.parquet`, `metrics.json`, `plots/`, `robustness.parquet` and `robustness.json` (unless the sweep is
    left out) and `evaluate.json`.

    Raises:
        FakelensError: when the detector or its data are missing or damaged.
    """
    trained, data = trained_on(workdir, spec)
    stage = evaluate_stage(workdir, spec, settings, trained, data)
    if not force and (record := stage.finished()):
        return record
    network, info = begin(stage, trained, spec, reporter)
    scorer = TorchScorer(network, info)
    splits = [data.split(name) for name in (VAL, *data.test_sets)]
    scores = Scores.joined([score_split(scorer.logits, split, scorer.input_px, reporter) for split in splits])
    scores.write(stage.folder / SCORES)
    val = scores.of(VAL)
    temperature = fit_temperature(val.logit, val.label)
    judged = {name: _judged(scores.of(name), temperature) for name in (VAL, *data.test_sets)}
    points = operating_points(*judged[VAL], settings.false_positive_rates, settings.uncertain_band)
    metrics = {
        name: summarise(
            *judged[name], scores.of(name).generator, points, seed=info.seed, num_resamples=settings.num_resamples
        )
        for name in judged
    }
    write_json(stage.folder / METRICS, {name: asdict(metrics[name]) for name in data.test_sets})
    subject = data.subject(spec.display_name)
    written = [
        *(stage.folder / name for name in (SCORES, METRICS)),
        *_curves(stage.folder / PLOTS, judged, settings, subject),
        plots.plot_confusion_matrix(stage.folder / PLOTS / CONFUSION_MATRIX, metrics[TEST], subject),
        *_pictures(stage.folder / PLOTS, data, judged[TEST], scores.of(TEST), subject, info.seed),
        *_robustness(stage.folder, scorer, data, settings, info.seed, subject, reporter),
    ]
    results = _results(scores, metrics, points, temperature, settings, data)
    for warning in results.warnings:
        reporter.say(f"evaluate {spec.name}: WARNING: {warning}")
    images = [path for path in written if path.suffix == ".png"]
    return stage.finish([path for path in written if path not in images], asdict(results), aside=images)


def _results(
    scores: Scores,
    metrics: Mapping[str, SetMetrics],
    points: Sequence[OperatingPoint],
    temperature: float,
    settings: EvaluationSettings,
    data: PreparedData,
) -> EvaluateResults:
    warnings = [point.caution for point in points if point.caution]
    if warning := temperature_warning(temperature):
        warnings.append(warning)
    return EvaluateResults(
        warnings=tuple(warnings),
        temperature=temperature,
        threshold=point_at(points, settings.verdicts_at).threshold,
        operating_points=tuple(points),
        val=metrics[VAL],
        calibration_error={
            name: CalibrationChange(
                before=expected_calibration_error(calibrated(scores.of(name).logit, 1.0), scores.of(name).label),
                after=metrics[name].calibration_error,
            )
            for name in data.test_sets
        },
    )


def _judged(scores: Scores, temperature: float) -> plots.Scored:
    return scores.label, calibrated(scores.logit, temperature)


def _curves(folder: Path, judged: Mapping[str, plots.Scored], settings: EvaluationSettings, subject: str) -> list[Path]:
    tests = {name: pair for name, pair in judged.items() if name != VAL}
    return [
        plots.plot_roc(folder / ROC, tests, subject),
        plots.plot_precision_recall(folder / PRECISION_RECALL, tests, subject),
        plots.plot_reliability(folder / RELIABILITY, tests, subject),
        plots.plot_risk_coverage(folder / RISK_COVERAGE, tests, settings.uncertain_band, subject),
    ]


def _pictures(
    folder: Path, data: PreparedData, judged: plots.Scored, test: Scores, subject: str, seed: int
) -> list[Path]:
    squares = data.split(TEST).squares
    return [
        plots.plot_samples(folder / SAMPLES, squares, *judged, subject, seed),
        plots.plot_worst_mistakes(folder / MISTAKES, squares, *judged, test.generator, subject),
    ]


def _robustness(
    folder: Path,
    scorer: TorchScorer,
    data: PreparedData,
    settings: EvaluationSettings,
    seed: int,
    subject: str,
    reporter: Reporter,
) -> list[Path]:
    paths = [folder / ROBUSTNESS_SCORES, folder / ROBUSTNESS, folder / PLOTS / ROBUSTNESS_PLOT]
    if not settings.robustness_images:
        for path in paths:
            path.unlink(missing_ok=True)  # of an earlier run that had the sweep
        return []
    scores = robustness.sweep(
        scorer.logits, data.split(TEST), scorer.input_px, settings.robustness_images, seed, reporter
    )
    scores.write(paths[0])
    figures = robustness.summarise(scores)
    write_json(paths[1], [asdict(step) for step in figures])
    plots.plot_robustness(paths[2], figures, subject)
    return paths
