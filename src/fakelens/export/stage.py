"""The export stage: a judged checkpoint in; verified ONNX variants and the choice of the one that ships out."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fakelens.config import read_as
from fakelens.core.artifacts import Stage, StageRecord, atomic_path, load_record, sha256_json
from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import ExportResults, GateResult, Inputs, Variant
from fakelens.core.run_folder import SCORES, RunFolder, array_file, onnx_file
from fakelens.dataset.splits import TEST, TRAIN, VAL
from fakelens.dataset.store import PreparedData
from fakelens.detectors.checkpoint import CheckpointInfo
from fakelens.detectors.spec import DetectorSpec
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.metrics import EvaluateResults
from fakelens.evaluation.scores import Scores
from fakelens.evaluation.stage import begin, trained_on
from fakelens.export.benchmark import median_latencies_ms
from fakelens.export.gate import judge
from fakelens.export.isolated import IsolatedScores, isolated_scores
from fakelens.export.onnx import check_opset, export_onnx, write_metadata
from fakelens.export.quantize import StaticQuantizer, calibration_images, quantize_dynamic
from fakelens.export.search import Search, Tried
from fakelens.runtime.detector import OnnxDetector, OnnxMetadata
from fakelens.settings import ExportSettings, GateSettings

_VERSION = 5
FP32, DYNAMIC, STATIC, MIXED = "fp32", "int8-dynamic", "int8-static", "int8-mixed"
_SPLITS = (VAL, TEST)


def export_stage(
    workdir: Path, spec: DetectorSpec, settings: ExportSettings, trained: StageRecord, judged: StageRecord
) -> Stage:
    """The stage's folder, key and record."""
    # They are written into the files, and another choice of them leaves scores and metrics as they are.
    results = asdict(read_as(EvaluateResults, judged.results, judged.folder))
    metadata = {name: results[name] for name in ("temperature", "threshold", "operating_points")}
    return Stage(
        "export",
        RunFolder(workdir).detector(spec.name).onnx,
        version=_VERSION,
        settings=settings.model_dump(mode="json"),
        inputs=Inputs(
            data=trained.made_of.data, train=trained.digest, evaluate=sha256_json([judged.digest, metadata])
        ).plain(),
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

    How static INT8 is made is searched on the validation split. Where that split shows no margin, `int8-mixed.onnx`
    keeps the nodes in float that cost most. The fastest INT8 file that passes its gate ships; where none does, fp32
    does, and the record says why.

    Raises:
        FakelensError: when an input is missing, or the fp32 file itself does not agree with the checkpoint.
    """
    trained, data = trained_on(workdir, spec)
    evaluated = load_record(RunFolder(workdir).detector(spec.name).evaluate_record)
    if evaluated.made_of.train != trained.digest:
        raise FakelensError(
            f"{spec.name} was retrained since its last evaluation: run `fakelens evaluate {spec.name}` first"
        )
    stage = export_stage(workdir, spec, settings, trained, evaluated)
    if not force and (record := stage.finished()):
        return record
    network, info = begin(stage, trained, spec, reporter)
    (stage.folder / onnx_file(MIXED)).unlink(missing_ok=True)  # of an earlier export that needed it
    squares = {split: data.record.output(array_file(split)) for split in _SPLITS}
    judged = read_as(EvaluateResults, evaluated.results, evaluated.folder)
    gate = _Gate(settings.gate, info, judged, Scores.read(evaluated.output(SCORES)), squares)
    paths = {name: stage.folder / onnx_file(name) for name in (FP32, DYNAMIC, STATIC)}
    with reporter.task(f"Exporting {spec.display_name}", 4) as task:
        export_onnx(paths[FP32], network.cpu(), info.settings.input_px, judged.temperature)
        gate.describe(paths[FP32], FP32)
        task.advance(1, "fp32")
        quantize_dynamic(paths[FP32], paths[DYNAMIC])
        gate.describe(paths[DYNAMIC], DYNAMIC)
        task.advance(1, "dynamic INT8")
        search = _quantize(paths, data, info, settings, gate, task)
        task.advance(1, "verifying")
        results = gate.judge(paths, _SPLITS)
    return stage.finish(list(paths.values()), asdict(_results(paths, results, search)))


def _quantize(
    paths: dict[str, Path],
    data: PreparedData,
    info: CheckpointInfo,
    settings: ExportSettings,
    gate: "_Gate",
    task: Task,
) -> list[Tried]:
    """Write static INT8 and, if need be, mixed; `paths` gets the latter. Returns what was tried."""
    train = data.split(TRAIN)
    images = calibration_images(
        train.squares, train.labels, info.settings.input_px, settings.calibration_images, info.seed
    )
    # Half of what the gate allows: other pictures are another sample than the one that was searched on.
    enough = (1 + settings.gate.min_agreement) / 2
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        quantizer = StaticQuantizer(paths[FP32], images, Path(folder))

        def judged(path: Path) -> GateResult:
            gate.describe(path, STATIC)
            return gate.judge({STATIC: path}, [VAL])[STATIC][VAL]

        def keep(tried: Tried, variant: str) -> None:
            with atomic_path(paths[variant]) as temporary:
                shutil.copyfile(search.file_of(tried), temporary)
            gate.describe(paths[variant], variant)

        search = Search(quantizer, judged, Path(folder), settings.search_seconds, task)
        best = search.static(enough)
        keep(best, STATIC)
        task.advance(1, "static INT8")
        if not best.passed or (best.agreement < enough and search.has_time):
            paths[MIXED] = paths[STATIC].with_name(onnx_file(MIXED))
            keep(search.mixed(best.candidate, paths[FP32], images, enough), MIXED)
    return search.tried


@dataclass(frozen=True)
class _Gate:
    """The reference that an exported file is compared with, and what travels in it."""

    settings: GateSettings
    info: CheckpointInfo
    judged: EvaluateResults
    scores: Scores
    """The checkpoint's."""
    squares: Mapping[str, Path]
    """The file of each split's pictures."""

    def describe(self, path: Path, variant: str) -> None:
        """Put into the file what the runtime must know."""
        info, judged = self.info, self.judged
        metadata = OnnxMetadata(
            info.detector, variant, info.settings.input_px, info.stored_px, judged.threshold, judged.operating_points,
            judged.temperature, info.demo, info.data_licence,
        )  # fmt: skip
        write_metadata(path, metadata)
        check_opset(path)

    def judge(self, paths: Mapping[str, Path], splits: Sequence[str]) -> dict[str, dict[str, GateResult]]:
        """Load the files in a process without torch and compare their probabilities with the checkpoint's, by split."""
        scores = isolated_scores(list(paths.values()), [self.squares[name] for name in splits])
        return {
            variant: {split: self._judged(variant, split, one) for split, one in zip(splits, own, strict=True)}
            for variant, own in zip(paths, scores, strict=True)
        }

    def _judged(self, variant: str, split: str, own: IsolatedScores) -> GateResult:
        expected = self.scores.of(split)
        return judge(
            calibrated(expected.logit, self.judged.temperature), own.probability, expected.label,
            own.batch_difference, self.settings, exact=variant == FP32,
        )  # fmt: skip


def _results(
    paths: Mapping[str, Path], results: Mapping[str, Mapping[str, GateResult]], search: list[Tried]
) -> ExportResults:
    """Time the files and choose what ships."""
    # What ships is chosen on validation alone, and the test split reports; that fp32 is the checkpoint in another form
    # is no choice but a check of the exporter, on all that there is.
    refusals = {
        name: [
            f"{split}: {reason}"
            for split, result in by_split.items()
            if split == VAL or name == FP32
            for reason in result.reasons
        ]
        for name, by_split in results.items()
    }
    if refusals[FP32]:
        raise FakelensError(
            f"the exported {paths[FP32]} does not agree with its checkpoint: {'; '.join(refusals[FP32])}"
        )
    latencies = median_latencies_ms({name: OnnxDetector(path, num_threads=1) for name, path in paths.items()})
    passed = [name for name in paths if name != FP32 and not refusals[name]]
    # Of equally fast ones the smaller.
    ships = min(passed, key=lambda name: (round(latencies[name], 1), paths[name].stat().st_size), default=FP32)
    words = f"on validation {results[STATIC]['val'].words}"
    static = (
        f"Static INT8 passed its gate ({words})"
        if STATIC in passed
        else f"Static INT8 was refused: {refusals[STATIC][0]}"
    )
    why = static if ships in (STATIC, FP32) else f"{ships} is the fastest that passed its gate. {static}"
    variants = tuple(
        Variant(
            name=name,
            file=path.name,
            size_bytes=path.stat().st_size,
            latency_ms=latencies[name],
            passed=not refusals[name],
            **{**vars(results[name][TEST]), "reasons": tuple(refusals[name])},
            val=results[name][VAL],
        )
        for name, path in paths.items()
    )
    return ExportResults(ships, why, variants, search=tuple(one.as_dict() for one in search))
