"""`fakelens run`: the stages in order. Reads as the story of the project."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakelens.config import read_as
from fakelens.core.artifacts import differences, load_record, read_json, write_bytes, write_text
from fakelens.core.errors import FakelensError
from fakelens.core.lock import PARENT, hold
from fakelens.core.outputs import check_folder
from fakelens.core.progress import POSITION, SILENT, Reporter, Steps, numbered_by_parent
from fakelens.core.records import ExportResults, Metrics, TrainResults
from fakelens.core.run_folder import RUNS, RunFolder, newest_bundle
from fakelens.core.stopping import Stopped, is_follower
from fakelens.detectors.spec import DetectorSpec, TrainingChoice, find
from fakelens.recipes import (
    RECIPES,
    Recipe,
    load_recipe,
    named_detectors,
    save_recipe,
    shipped,
    shown,
    training_settings,
)

if TYPE_CHECKING:
    from fakelens.dataset.store import PreparedData, PrepareResults
    from fakelens.judging.judge import JudgeResults

__all__ = ["bundle", "compress", "evaluate", "export", "judge", "prepare", "report", "run", "train"]

Place = str | Path
"""A path."""
Detector = DetectorSpec | str
"""A detector, or its name."""


def _chosen(detectors: Sequence[Detector] | None, recipe: Recipe) -> list[DetectorSpec]:
    if detectors is not None and (isinstance(detectors, str) or not detectors):
        raise FakelensError(f"detectors is {detectors!r}: give a list of names, or nothing for the recipe's own")
    return named_detectors(None, recipe) if detectors is None else [find(detector) for detector in detectors]


def run(
    workdir: Place,
    recipe: Recipe,
    detectors: Sequence[Detector] | None = None,
    *,
    force: bool = False,
    reporter: Reporter = SILENT,
) -> Path:
    """Prepare, then train, evaluate and export each detector, then bundle and report; returns the report's page.

    A detector that is too large to ship is compressed, and the compact one evaluated and exported as well. A stage that
    is complete and whose inputs are unchanged is left as it is; `force` does all of them again. Without `detectors` it
    takes the recipe's own.
    """
    if any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS")):
        raise FakelensError(
            "`fakelens run` was started in several processes: train each detector in them first (`fakelens train "
            "DETECTOR` in the place of `fakelens run`), then run `fakelens run` in one, which goes on from there"
        )
    workdir, detectors = Path(workdir), _chosen(detectors, recipe)
    rows = {spec: shown([spec], recipe) for spec in detectors}
    # Data, bundle and report are of all; each detector is trained, and each row evaluated and exported.
    num_compressed = sum(row.full is not None for own in rows.values() for row in own)
    total = 3 + len(detectors) + num_compressed + 2 * sum(map(len, rows.values()))
    with _working(workdir, recipe, reporter), Steps(reporter, total) as steps:
        prepare(workdir, recipe, force=force, reporter=next(steps))
        for spec, own in rows.items():
            step = next(steps)
            if _trains_in_several_processes(recipe) and (force or not _is_trained(workdir, recipe, spec)):
                _train_apart(workdir, spec, step.position, force=force)
            else:
                train(workdir, recipe, spec, force=force, reporter=step)
            for row in own:
                if row.full:
                    compress(workdir, recipe, row.full, force=force, reporter=next(steps))
                evaluate(workdir, recipe, row, force=force, reporter=next(steps))
                export(workdir, recipe, row, force=force, reporter=next(steps))
            if spec.compact_mb and not recipe.compress.in_run:
                reporter.say(f"compress {spec.name}: left out (compress.in_run=false), the full detector ships")
        bundle(workdir, recipe, detectors, reporter=next(steps))
        return report(workdir, recipe, detectors, reporter=next(steps))


def _trains_in_several_processes(recipe: Recipe) -> bool:
    if recipe.train.devices is not None or recipe.train.accelerator == "cpu":
        return (recipe.train.devices or 1) > 1
    import torch

    return torch.cuda.device_count() > 1


def _is_trained(workdir: Path, recipe: Recipe, spec: DetectorSpec) -> bool:
    """Whether nothing is left to train: a process for each device takes seconds to say so."""
    from fakelens.training.stage import train_stage

    settings = training_settings(spec, recipe)
    stage = train_stage(workdir, prepared(workdir), spec, settings, recipe.train, recipe.training_seed)
    return stage.finished() is not None


def _train_apart(workdir: Path, spec: DetectorSpec, position: str, *, force: bool) -> None:
    """Train in a process of its own, which the engine starts again for each further device.

    Otherwise each of them would go on with all later stages, in one folder.

    Raises:
        SystemExit: with its status, when it fails; it has said why.
        Stopped: when a signal killed it.
    """
    command = [sys.executable, "-m", "fakelens", "train", spec.name, "--workdir", str(workdir)]
    environment = os.environ | {PARENT: str(os.getpid()), POSITION: position}
    with subprocess.Popen([*command, *(["--force"] if force else [])], env=environment) as child:
        try:
            status = child.wait()
        except Stopped as stop:
            child.send_signal(stop.number)
            if child.wait() != stop.status:  # otherwise it has said so
                raise
            status = stop.status
        except BaseException:
            child.terminate()
            raise
    if status < 0:  # killed, perhaps for its memory: it could not say so
        raise Stopped(-status)
    if status:
        raise SystemExit(status)


@contextlib.contextmanager
def _working(workdir: Path, recipe: Recipe, reporter: Reporter, *, data: bool = False) -> Iterator[None]:
    """Hold the working folder for this process and make `recipe` its own; with `data`, only for the data it holds.

    Raises:
        FolderInUseError: when another process works there.
        FakelensError: with `data`, when the folder was prepared with other settings.
    """
    if data:
        prepared(workdir)
    if is_follower():  # of a training whose first process holds the folder
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with hold(workdir):
        if data:
            _check_data(workdir, recipe)
        path, record = RunFolder(workdir).recipe, RunFolder(workdir).prepare_record
        before = path.read_bytes() if path.is_file() else None
        data_before = record.read_bytes() if record.is_file() else None
        if changes := save_recipe(workdir, recipe):
            reporter.say(f"{path}: {', '.join(changes)}")
        try:
            yield
        except FakelensError:
            if before is not None:  # what was refused is not what later stages should start from
                write_bytes(path, before)
                if record.is_file() and record.read_bytes() != data_before:  # but the data are those asked for
                    with contextlib.suppress(FakelensError):  # a recipe that could not be read before either
                        save_recipe(workdir, load_recipe(str(path)).model_copy(update={"data": recipe.data}))
            raise


def prepared(workdir: Path) -> "PreparedData":
    """The prepared images of a working folder.

    Raises:
        FakelensError: naming the other working folders beside it that have them.
    """
    from fakelens.dataset.store import PreparedData

    if RunFolder(workdir).prepare_record.exists():
        return PreparedData(RunFolder(workdir).data)
    beside = sorted(path for path in workdir.parent.glob("*") if RunFolder(path).prepare_record.exists())
    # In its own place a recipe's name is enough.
    options = " or ".join(
        f"--recipe {path.name}"
        if path == RUNS / path.name and path.name in RECIPES
        else shlex.join(["--workdir", str(path)])
        for path in beside
    )
    remedy = "run `fakelens prepare` first, with the same --recipe and --workdir"
    others = f"add {options} to use those that are there, or " if beside else ""
    raise FakelensError(f"{workdir} holds no prepared images: {others}{remedy}")


def _check_data(workdir: Path, recipe: Recipe) -> None:
    record = load_record(RunFolder(workdir).prepare_record)
    if changes := differences(record.settings, recipe.data.decisive()):
        raise FakelensError(
            f"{RunFolder(workdir).data} was prepared with other settings than those asked for now "
            f"({', '.join(f'data.{change}' for change in changes)}): leave them out, or run `fakelens prepare` with "
            "them first, or name the recipe it was prepared with (--recipe)"
        )


def prepare(workdir: Place, recipe: Recipe, *, force: bool = False, reporter: Reporter = SILENT) -> "PrepareResults":
    """Write `data/`."""
    from fakelens.dataset.stage import prepare
    from fakelens.dataset.store import PrepareResults

    workdir = Path(workdir)
    with _working(workdir, recipe, reporter):
        record = prepare(workdir, recipe.data, force=force, reporter=reporter)
    results, folder = read_as(PrepareResults, record.results, record.folder), RunFolder(workdir).data
    reporter.say(f"prepare: {results.num_images} images in {folder} ({record.duration})")
    for audit in results.audits.values():
        # On synthetic pictures nobody can act on a warning.
        is_demo = recipe.data.source == "synthetic"
        reporter.say(f"audit: {audit.sentence if is_demo else audit.warning or audit.sentence}")
    return results


def train(
    workdir: Place, recipe: Recipe, detector: Detector, *, force: bool = False, reporter: Reporter = SILENT
) -> TrainResults:
    """Write `DETECTOR/best.safetensors` and what belongs to it."""
    from fakelens.training.stage import train

    workdir, spec = Path(workdir), find(detector)
    if spec.full:
        raise FakelensError(f"{spec.name} is not trained on its own: `fakelens compress {spec.full.name}` makes it")

    settings = training_settings(spec, recipe)
    reporter = numbered_by_parent(reporter)
    with _working(workdir, recipe, reporter, data=True):
        record = train(workdir, spec, settings, recipe.train, seed=recipe.training_seed, force=force, reporter=reporter)
    results = read_as(TrainResults, record.results, record.folder)
    start = f"from {results.pretrained}" if results.pretrained else "from scratch"
    reporter.say(
        f"train {spec.name}: {results.num_parameters:,} parameters, {start}, "
        f"{results.num_epochs} epoch{'s' * (results.num_epochs != 1)}, kept epoch {results.best.epoch + 1} (lowest "
        f"validation loss), AUC {results.best.val_auc:.3f} ({record.duration})"
    )
    return results


def compress(
    workdir: Place, recipe: Recipe, detector: Detector, *, force: bool = False, reporter: Reporter = SILENT
) -> TrainResults:
    """Write `DETECTOR_compact/best.safetensors` and what belongs to it."""
    from fakelens.compression.stage import compress

    workdir, spec = Path(workdir), find(detector)
    if spec.full:
        raise FakelensError(f"{spec.name} is compact already: compress {spec.full.name}, with another --target-mb")
    settings = recipe.compress.model_copy(update={"target_mb": recipe.compress.target_mb or spec.compact_mb})
    own = recipe.detectors.get(spec.compact.name, {})
    with _working(workdir, recipe, reporter, data=True):
        record = compress(workdir, spec, settings, own, recipe.train, force=force, reporter=reporter)
    results = read_as(TrainResults, record.results, record.folder)
    assert results.compression
    compression = results.compression
    reporter.say(
        f"compress {spec.name}: {results.num_parameters:,} of {compression.full_parameters:,} parameters, static INT8 "
        f"{compression.int8_bytes / 1e6:.2f} of {compression.full_int8_bytes / 1e6:.2f} MB, validation AUC "
        f"{results.best.val_auc:.3f} after {compression.full_best.val_auc:.3f} ({record.duration})"
    )
    return results


def evaluate(
    workdir: Place, recipe: Recipe, detector: Detector, *, force: bool = False, reporter: Reporter = SILENT
) -> dict[str, Metrics]:
    """Write `DETECTOR/evaluation/`."""
    from fakelens.evaluation.stage import evaluate

    workdir, spec = Path(workdir), find(detector)
    with _working(workdir, recipe, reporter, data=True):
        record = evaluate(workdir, spec, recipe.evaluate, force=force, reporter=reporter)
    path = RunFolder(workdir).detector(spec.name).metrics
    metrics = read_as(dict[str, Metrics], read_json(path), path)
    figures = (
        f"{name} accuracy {m.accuracy:.3f}, F1 {m.f1:.3f}, AUC {m.auc:.3f}, n={m.num_images}"
        for name, m in metrics.items()
    )
    reporter.say(f"evaluate {spec.name}: {'; '.join(figures)} ({record.duration})")
    return metrics


def export(
    workdir: Place, recipe: Recipe, detector: Detector, *, force: bool = False, reporter: Reporter = SILENT
) -> ExportResults:
    """Write `DETECTOR/onnx/`."""
    from fakelens.export.stage import export

    workdir, spec = Path(workdir), find(detector)
    with _working(workdir, recipe, reporter, data=True):
        record = export(workdir, spec, recipe.export, force=force, reporter=reporter)
    results = read_as(ExportResults, record.results, record.folder)
    shipped = results.shipped
    reporter.say(
        f"export {spec.name}: {shipped.name} ships, {shipped.size_bytes / 1e6:.1f} MB, "
        f"{shipped.latency_ms:.1f} ms; {results.why} ({record.duration})"
    )
    return results


def bundle(
    workdir: Place, recipe: Recipe, detectors: Sequence[Detector] | None = None, *, reporter: Reporter = SILENT
) -> Path:
    """Write `bundle/`, the deployment folder, out of the shipped ONNX files.

    The compact detector stands in for one that is too large.
    """
    workdir, specs = Path(workdir), _chosen(detectors, recipe)
    with _working(workdir, recipe, reporter, data=True):
        return _bundle(workdir, recipe, specs, reporter)


def _bundle(workdir: Path, recipe: Recipe, detectors: Sequence[DetectorSpec], reporter: Reporter) -> Path:
    from fakelens.bundle.writer import ModelEntry, write_bundle
    from fakelens.report.model_card import SPACE, gist, hub_header, model_card, point_gist
    from fakelens.report.records import Entry
    from fakelens.runtime.bundle import BundleAbout
    from fakelens.sources.synthetic import example_pictures

    data = prepared(workdir)
    entries = []
    # The most accurate on validation comes first: it judges where nobody chooses a detector.
    loaded = [Entry.load(workdir, spec) for spec in shipped(detectors, recipe)]
    loaded.sort(key=Entry.rank, reverse=True)
    for detector in loaded:
        card, ships = model_card(detector, data), detector.shipped
        write_text(detector.folder.model_card, card)
        entries.append(
            ModelEntry(
                detector.export.output(ships.file),
                detector.spec.display_name,
                detector.summary,
                ships.latency_ms,
                ships.metrics,
                card,
                gist(detector, data),
                point_gist(detector),
            )
        )
    results = data.results
    about = BundleAbout(results.description, results.licence, results.num_images, results.source)
    # Of the size that the demonstration's detectors know: shrinking would wipe out what tells the two kinds apart.
    examples = example_pictures(recipe.data.synthetic_px)
    header = hub_header(loaded, data, **SPACE)
    folder = write_bundle(RunFolder(workdir).bundle, entries, about, examples, header=header, reporter=reporter)
    size = sum(entry.onnx_path.stat().st_size for entry in entries) / 1e6
    reporter.say(
        f"bundle: {RunFolder(workdir).bundle} ({len(entries)} model{'s' * (len(entries) != 1)}, {size:.2f} MB together)"
    )
    return folder


def float_that_ships(workdir: Path, recipe: Recipe, detectors: Sequence[DetectorSpec]) -> list[str]:
    """A line for each detector of the bundle that ships in float, with its size and the reason."""
    lines = []
    for spec in shipped(detectors, recipe):
        record = load_record(RunFolder(workdir).detector(spec.name).export_record)
        results = read_as(ExportResults, record.results, record.folder)
        if results.ships == "fp32":
            size_mb = results.shipped.size_bytes / 1e6
            lines.append(f"{spec.display_name} ships in float, {size_mb:.1f} MB: {results.why}")
    return lines


def report(
    workdir: Place, recipe: Recipe, detectors: Sequence[Detector] | None = None, *, reporter: Reporter = SILENT
) -> Path:
    """Write `report/index.html` and `report/report.md`."""
    from fakelens.config import to_commented_yaml
    from fakelens.judging.named_sets import judge_named_sets
    from fakelens.report.report import write_report

    workdir, rows = Path(workdir), shown(_chosen(detectors, recipe), recipe)
    with _working(workdir, recipe, reporter, data=True):
        judge_named_sets(workdir, rows, settings=recipe.evaluate, seed=recipe.data.seed, reporter=reporter)
        page = write_report(workdir, rows, _other_settings(workdir, recipe, rows) + to_commented_yaml(recipe))
    reporter.say(f"report: {page}")
    return page


def judge(
    workdir: Place,
    recipe: Recipe,
    folders: Sequence[Place],
    models: Sequence[Place] = (),
    scores: Sequence[Place] = (),
    output: Place | None = None,
    *,
    set_name: str | None = None,
    reporter: Reporter = SILENT,
) -> "list[tuple[JudgeResults, Path]]":
    """Judge models and others' scores on each labelled folder; returns the results with the page's path.

    Results go to `output`, for a single folder, or to a place of the working folder for each. A `set_name` has the
    report show the (single) folder from then on, judged by the run's own detectors.
    """
    from fakelens.judging.judge import judge_folder
    from fakelens.judging.named_sets import check_set_name, keep_set
    from fakelens.judging.write import output_folder, write_results

    for value, name in ((folders, "folders"), (models, "models"), (scores, "scores")):
        if isinstance(value, str | Path):
            raise FakelensError(f"{name} are a list: give [{str(value)!r}] for one")
    if (output or set_name) and len(folders) > 1:
        raise FakelensError("--output and --set-name are for one folder: judge one FOLDER at a time")
    if not (models or scores):
        raise FakelensError("nothing to judge with: name models, or files of scores")
    workdir, output = Path(workdir), None if output is None else Path(output)
    places = {Path(folder): output_folder(Path(folder), output, workdir) for folder in folders}
    for place in places.values():
        check_folder(place.path, "--output" if output else "--workdir")
    judgements = []
    if set_name:
        check_set_name(workdir, set_name)
    if output is None:
        workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if output else hold(workdir):
        for folder, place in places.items():
            results, scored = judge_folder(
                folder, [*map(Path, models)], [*map(Path, scores)], workdir=workdir, settings=recipe.evaluate,
                seed=recipe.data.seed, label_values=recipe.data.label_values, reporter=reporter,
            )  # fmt: skip
            judgements.append((results, write_results(place, results, scored)))
    if set_name:
        record = keep_set(workdir, set_name, Path(folders[0]), recipe.data.label_values)
        reporter.say(f"kept as {set_name} for the report: {record}")
    return judgements


def models_to_judge(workdir: Path, detector: str | None, *, others: bool, own: bool) -> list[Path]:
    """The models that `judge` takes when none is named: the detector's checkpoint, a bundle, or `others` alone.

    A working folder that was named (`own`) means its own bundle, and never that of another run.
    """
    if detector:
        return [RunFolder(workdir).detector(find(detector).name).best]
    if others:
        return []
    if own and not (RunFolder(workdir).bundle_record).is_file():
        raise FakelensError(
            f"{workdir} has no bundle: name a --detector of it or a --model, or make one with `fakelens bundle`"
        )
    return [RunFolder(workdir).bundle] if own else [newest_bundle("--model")]


def _other_settings(workdir: Path, recipe: Recipe, rows: Sequence[DetectorSpec]) -> str:
    """Comments above the recipe: what each detector was trained with otherwise, before the recipe changed."""
    lines = []
    for spec in rows:
        trained = load_record(RunFolder(workdir).detector(spec.name).train_record)
        if spec.full is None:
            wanted = TrainingChoice(spec.name, recipe.training_seed, training_settings(spec, recipe)).plain()
            present = {name: trained.settings.get(name) for name in wanted}
            if changes := differences(wanted, present):
                lines.append(f"# {spec.display_name} was trained with other settings: {', '.join(changes)}\n")
    return "".join(lines)
