"""The export stage: a judged checkpoint in; verified ONNX variants and the choice of the one that ships out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.artifacts import Stage, StageRecord, load_record, sha256_json
from fakelens.core.detector_spec import DetectorSpec
from fakelens.core.imaging import to_model_input
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import Threshold, points_of
from fakelens.dataset.prepared import PreparedData
from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.columns import read_columns
from fakelens.evaluation.scores import Scores, run_scorer
from fakelens.export.benchmark import median_latencies_ms
from fakelens.export.onnx import check_opset, describe, export_onnx, write_metadata
from fakelens.export.parity import BATCHES, GateResult, GateSettings, batch_difference, judge
from fakelens.export.quantize import calibration_images, quantize_dynamic, quantize_static
from fakelens.export.settings import ExportSettings
from fakelens.runtime.detector import OnnxDetector

_VERSION = 3
FP32, DYNAMIC, STATIC = "fp32", "int8-dynamic", "int8-static"


def export_stage(workdir: Path, spec: DetectorSpec, settings: ExportSettings) -> Stage:
    """The stage's folder, key and record."""
    folder = workdir / spec.name
    judged = load_record(folder / "evaluation" / "evaluate.json")
    # They are written into the files, and another choice of them leaves scores and metrics as they are.
    told = {name: judged.results[name] for name in ("temperature", "threshold", "operating_points")}
    return Stage(
        "export",
        folder / "onnx",
        version=_VERSION,
        settings=settings.model_dump(mode="json"),
        inputs={
            "train": load_record(folder / "train.json").digest,
            "evaluate": sha256_json([judged.digest, told]),
        },
    )


def export(
    workdir: Path,
    spec: DetectorSpec,
    settings: ExportSettings,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> StageRecord:
    """Write `fp32.onnx`, `int8-dynamic.onnx`, `int8-static.onnx` and `export.json`, each file verified.

    The static INT8 file ships; where it fails its gate, fp32 does, and the record says why.

    Raises:
        ValueError: when an input is missing, or the fp32 file itself does not agree with the checkpoint.
    """
    stage = export_stage(workdir, spec, settings)
    if not force and (record := stage.finished()):
        return record
    network, info = load_checkpoint(workdir / spec.name / "best.safetensors")
    judged = load_record(workdir / spec.name / "evaluation" / "evaluate.json").results
    data = PreparedData(workdir / "data")
    stage.begin()
    paths = {name: stage.folder / f"{name}.onnx" for name in (FP32, DYNAMIC, STATIC)}
    with reporter.task(f"Exporting {spec.display_name}", len(paths)) as task:
        export_onnx(paths[FP32], network.cpu(), info.settings.input_px, judged["temperature"])
        task.advance(1, "fp32")
        quantize_dynamic(paths[FP32], paths[DYNAMIC])
        task.advance(1, "dynamic INT8")
        train = data.split("train")
        images = calibration_images(
            train.squares, train.labels, info.settings.input_px, settings.calibration_images, info.seed
        )
        quantize_static(
            paths[FP32], paths[STATIC], images,
            method=settings.calibration_method, reduce_range=settings.reduce_range, float_ops=spec.float_ops,
        )  # fmt: skip
        task.advance(1, "static INT8")
    points = points_of(judged["operating_points"])
    for name, path in paths.items():
        threshold = Threshold(**judged["threshold"])
        write_metadata(path, describe(info, name, threshold, points, judged["temperature"]))
        check_opset(path)
    results = _verify(workdir, spec, paths, judged["temperature"], data, settings.gate, reporter)
    return stage.finish(list(paths.values()), results)


def _verify(
    workdir: Path,
    spec: DetectorSpec,
    paths: dict[str, Path],
    temperature: float,
    data: PreparedData,
    gate: GateSettings,
    reporter: Reporter,
) -> dict[str, Any]:
    """Load every file anew, compare it with the checkpoint's scores, time it, and choose what ships."""
    test = data.split("test")
    scores = read_columns(workdir / spec.name / "evaluation" / "scores.parquet", Scores).of("test")
    expected = calibrated(scores.logit, temperature)
    detectors = {name: OnnxDetector(path) for name, path in paths.items()}
    results: dict[str, GateResult] = {}
    for name, detector in detectors.items():
        found = run_scorer(detector.score, test, detector.input_px, f"Verifying {name}", reporter)
        first = to_model_input(np.asarray(test.squares[: max(BATCHES)]), detector.input_px)
        difference = batch_difference(detector.score, first)
        results[name] = judge(expected, found, scores.label, difference, gate, exact=name == FP32)
    if not results[FP32].passed:
        raise ValueError(
            f"the exported {spec.name} does not agree with its checkpoint: {'; '.join(results[FP32].reasons)}"
        )
    latencies = median_latencies_ms({name: OnnxDetector(path, num_threads=1) for name, path in paths.items()})
    ships = STATIC if results[STATIC].passed else FP32
    refused = "; ".join(results[STATIC].reasons)
    return {
        "ships": ships,
        "why": "Static INT8 passed its gate" if ships == STATIC else f"Static INT8 was refused: {refused}",
        "variants": [
            {
                "name": name,
                "file": path.name,
                "size_bytes": path.stat().st_size,
                "latency_ms": latencies[name],
                "passed": results[name].passed,
                **asdict(results[name]),
            }
            for name, path in paths.items()
        ],
    }
