"""The command line: the only composition root, one command a stage, and the only place that prints.

Importing this module must stay cheap (`--help` answers at once): a stage is imported when its command runs.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fakelens.core.detector_spec import DetectorSpec
    from fakelens.recipes import Recipe

app = typer.Typer(
    help="Train, judge, export and deploy detectors of AI-generated images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130

RecipeOption = Annotated[str, typer.Option("--recipe", help="openfake, demo, smoke, or a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: data.num_images=3000 (repeatable)."),
]
WorkdirOption = Annotated[Path | None, typer.Option(help="Where results go (default: runs/RECIPE).")]
ForceOption = Annotated[bool, typer.Option("--force", help="Do it again even if nothing has changed.")]
NoPretrainedOption = Annotated[
    bool, typer.Option("--no-pretrained", help="Train from scratch, without the hub's weights.")
]
DetectorsOption = Annotated[str | None, typer.Option(help="Comma-separated names; `fakelens detectors` lists them.")]
DetectorArgument = Annotated[str, typer.Argument(metavar="DETECTOR", help="A name from `fakelens detectors`.")]
BundleOption = Annotated[Path | None, typer.Option(help="Deployment folder (default: the newest runs/*/bundle).")]


def main() -> None:
    """Run the command line; a user's mistake is one message and a status, never a trace."""
    try:
        status = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("fakelens"):
            raise
        print(f"error: {error.name} is not installed: pip install 'fakelens[train,app]'", file=sys.stderr)
        status = 1
    except Exception as error:
        # typer's own wrong-use errors know how to show themselves and carry exit status 2.
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        status = error.exit_code
    if status == _INTERRUPTED:  # which typer also makes of a Ctrl-C itself
        print("interrupted: run the same command again to go on", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


@app.command()
def run(
    recipe: RecipeOption = "openfake",
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    no_pretrained: NoPretrainedOption = False,
    force: ForceOption = False,
) -> None:
    """Everything, in order: prepare, train, evaluate, export, bundle, report."""
    from fakelens import pipeline
    from fakelens.evaluation.report import comparison

    chosen, folder = _setup(recipe, set_, workdir, no_pretrained)
    specs = _specs(detectors)
    with _reporter() as reporter:
        page = pipeline.run(folder, chosen, specs, force=force, reporter=reporter)
    table = comparison(folder, specs)
    _print_table(table.head, table.rows)
    if chosen.data.source == "synthetic":
        print("This was a demonstration on synthetic pictures: the figures say nothing about real images.")
    target = folder / "bundle"
    print(f"\nReport:         {page}\nBundle:         {target}\nStart the app:  {_own_command()} app --bundle {target}")


@app.command()
def prepare(
    recipe: RecipeOption = "openfake",
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check the prepared files against their hashes.")
    ] = False,
) -> None:
    """Choose, check, resize and split the images."""
    from fakelens import pipeline
    from fakelens.dataset.prepared import PreparedData

    chosen, folder = _setup(recipe, set_, workdir)
    if verify:
        PreparedData(folder / "data").verify()
        print(f"{folder / 'data'}: every file is as `prepare` wrote it")
        return
    with _reporter() as reporter:
        pipeline.prepare(folder, chosen, force=force, reporter=reporter)


def _stage_command(stage: str) -> Any:
    """One detector's stage as a command."""

    def command(
        detector: DetectorArgument,
        recipe: RecipeOption = "openfake",
        workdir: WorkdirOption = None,
        set_: SetOption = None,
        no_pretrained: NoPretrainedOption = False,
        force: ForceOption = False,
    ) -> None:
        from fakelens import pipeline

        chosen, folder = _setup(recipe, set_, workdir, no_pretrained)
        with _reporter() as reporter:
            getattr(pipeline, stage)(folder, chosen, _specs(detector)[0], force=force, reporter=reporter)

    return command


for _stage, _words in {
    "train": "Train one detector; goes on where an interrupted run stopped.",
    "evaluate": "Judge one trained detector on the held-out test split.",
    "export": "Write one detector's ONNX files, verify them and choose what ships.",
}.items():
    app.command(_stage, help=_words)(_stage_command(_stage))


@app.command()
def bundle(
    recipe: RecipeOption = "openfake",
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Write the deployment folder out of the exported detectors."""
    from fakelens import pipeline

    _, folder = _setup(recipe, set_, workdir)
    with _reporter() as reporter:
        pipeline.bundle(folder, _specs(detectors), reporter=reporter)


@app.command()
def report(
    recipe: RecipeOption = "openfake",
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Write the report of all detectors side by side."""
    from fakelens import pipeline

    chosen, folder = _setup(recipe, set_, workdir)
    with _reporter() as reporter:
        pipeline.report(folder, chosen, _specs(detectors), reporter=reporter)


@app.command()
def audit(recipe: RecipeOption = "openfake", workdir: WorkdirOption = None, set_: SetOption = None) -> None:
    """Say what format, size and compression alone give away: of the original files, and after preparation."""
    from fakelens.dataset.prepared import PreparedData

    _, folder = _setup(recipe, set_, workdir)
    for found in PreparedData(folder / "data").audits.values():
        print(f"{'WARNING: ' if found['warning'] else ''}{found['warning'] or found['sentence']}")


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Pictures, folders or globs.")],
    bundle: BundleOption = None,
    detector: Annotated[str | None, typer.Option(help="Detector of the bundle (default: its most accurate).")] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    csv_: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file.")] = None,
) -> None:
    """Judge pictures; a bad file is reported and the rest goes on (exit status 1)."""
    from fakelens.runtime.bundle import Bundle
    from fakelens.runtime.folder import Judgement, judge_files, picture_files

    opened = Bundle.open(bundle or _newest_bundle())
    name = detector or max(opened.models, key=lambda model: model.metrics.accuracy).name
    files = picture_files(paths)
    if opened.demo:
        print(
            "note: these detectors were trained on synthetic pictures; their verdicts mean nothing",
            file=sys.stderr,
        )
    judged: list[Judgement] = []
    with _reporter() as reporter, reporter.task("Judging pictures", len(files)) as task:
        for judgement in judge_files(opened.detector(name), name, files):
            judged.append(judgement)
            task.advance()
            if json_:
                print(json.dumps(judgement.as_dict(), ensure_ascii=False), flush=True)
    if csv_:
        _write_csv(csv_, judged)
    elif not json_:
        _print_verdicts(judged)
    if any(judgement.error for judgement in judged):
        raise typer.Exit(1)


@app.command("app")
def serve(bundle: BundleOption = None, port: Annotated[int, typer.Option(help="Port of the page.")] = 8501) -> None:
    """Start the app of a bundle on this machine."""
    from fakelens.runtime.bundle import Bundle

    folder = (bundle or _newest_bundle()).resolve()
    Bundle.open(folder)
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.port", str(port)]
    raise typer.Exit(subprocess.run(command, cwd=folder, check=False).returncode)


@app.command()
def benchmark(
    recipe: RecipeOption = "openfake",
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Time every exported file on this machine's CPU, one thread, one picture."""
    from fakelens.export.benchmark import median_latencies_ms
    from fakelens.runtime.detector import OnnxDetector

    _, folder = _setup(recipe, set_, workdir)
    files = {
        f"{spec.name}/{path.stem}": path
        for spec in _specs(detectors)
        for path in sorted((folder / spec.name / "onnx").glob("*.onnx"))
    }
    if not files:
        raise ValueError(f"nothing is exported in {folder}: run `fakelens run` or `fakelens export DETECTOR` first")
    latencies = median_latencies_ms({name: OnnxDetector(path, num_threads=1) for name, path in files.items()})
    rows = [(name, f"{files[name].stat().st_size / 1e6:.2f}", f"{ms:.2f}") for name, ms in latencies.items()]
    _print_table(("File", "Size (MB)", "Median time (ms)"), rows)


@app.command()
def detectors(
    name: Annotated[str | None, typer.Argument(help="Show this detector's settings.")] = None,
) -> None:
    """List the detectors, or one detector's settings."""
    from fakelens.core.config import to_commented_yaml
    from fakelens.detectors.discovery import discover, find

    if name:
        print(to_commented_yaml(find(name).defaults))
        return
    rows = [(spec.name, spec.display_name, spec.weights or "none", spec.summary) for spec in discover().values()]
    _print_table(("Name", "", "Pretrained weights", ""), rows)


@app.command()
def config(recipe: RecipeOption = "openfake", set_: SetOption = None) -> None:
    """Print the complete recipe as commented YAML, ready to be edited and given to --recipe."""
    from fakelens.core.config import to_commented_yaml
    from fakelens.recipes import load_recipe

    print(to_commented_yaml(load_recipe(recipe, set_ or [])))


def _setup(
    recipe: str, overrides: list[str] | None, workdir: Path | None, no_pretrained: bool = False
) -> "tuple[Recipe, Path]":
    from fakelens.recipes import load_recipe

    changes = [*(["train.pretrained=false"] if no_pretrained else []), *(overrides or [])]
    chosen = load_recipe(recipe, changes)
    return chosen, workdir or Path("runs") / chosen.name


def _specs(names: str | None) -> "list[DetectorSpec]":
    from fakelens.detectors.discovery import discover, find

    if names is None:
        return [spec for spec in discover().values() if spec.runs_by_default]
    return [find(name.strip()) for name in names.split(",")]


def _newest_bundle() -> Path:
    found = sorted(Path("runs").glob("*/bundle/bundle.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError("no bundle found in runs/*/bundle: give one with --bundle, or make one with `fakelens run`")
    return found[-1].parent


def _own_command() -> str:
    """How this program was started, so that a printed command can be pasted."""
    started = Path(sys.argv[0])
    if started.name == "fakelens" and str(started.parent) not in os.environ.get("PATH", "").split(os.pathsep):
        return os.path.relpath(started)
    return "fakelens"


class _RichReporter:
    """Draws progress on a terminal (on stderr); elsewhere only prints what is said."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> "_RichReporter":
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, total: float) -> Iterator["_RichTask"]:
        number = self._progress.add_task(title, total=total, note="")
        try:
            yield _RichTask(self._progress, number)
        finally:
            self._progress.remove_task(number)


class _RichTask:
    def __init__(self, progress: Any, number: Any) -> None:
        self._progress, self._number = progress, number

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._progress.update(self._number, advance=steps, note=note)


_reporter = _RichReporter


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table, highlight=False)


def _print_verdicts(judged: list[Any]) -> None:
    from fakelens.core.scoring import VERDICT_WORDS

    rows = [
        (
            str(j.path),
            j.error or VERDICT_WORDS[j.verdict],
            "" if j.probability is None else f"{j.probability:.1%}",
        )
        for j in judged
    ]
    _print_table(("Picture", "Verdict", "Probability of AI"), rows)


def _write_csv(path: Path, judged: list[Any]) -> None:
    import io

    from fakelens.core.artifacts import write_text

    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "detector", "probability", "verdict", "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(judgement.as_dict() for judgement in judged)
    write_text(path, text.getvalue())
