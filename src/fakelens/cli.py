"""The command line: the only composition root, one command a stage, and the only place that prints.

Importing this module must stay cheap (`--help` answers at once): a stage is imported when its command runs.
"""

import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fakelens import __version__
from fakelens.core.run_folder import RunFolder, newest_bundle
from fakelens.terminal import (
    TerminalReporter,
    escape_what_cannot_be_printed,
    json_line,
    own_command,
    print_judgement,
    print_table,
    print_verdicts,
    status_of,
)

if TYPE_CHECKING:
    from fakelens.detectors.spec import DetectorSpec
    from fakelens.recipes import Recipe

app = typer.Typer(
    help="Train, judge, export and deploy detectors of AI-generated images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_INTERRUPTED = 130


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fakelens {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before a command; they do their work in their callbacks."""


RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help="openfake, demo, smoke, plan, or a YAML file (default: the working folder's own, else openfake).",
    ),
]
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
_DETECTOR_HELP = "A name from `fakelens detectors`."
DetectorArgument = Annotated[str, typer.Argument(metavar="DETECTOR", help=_DETECTOR_HELP)]
_PLACE = "Bundle: a folder or hf://ORG/NAME[@REVISION] (default: the newest runs/*/bundle)."
BundleOption = Annotated[str | None, typer.Option(metavar="PLACE", help=_PLACE)]


def main() -> None:
    """Run the command line: what a user can mend is one message and a status, a bug keeps its trace."""
    escape_what_cannot_be_printed()
    try:
        _refuse_empty_words(sys.argv[1:])
        status = app(standalone_mode=False)
        if status == _INTERRUPTED:  # which typer makes of a KeyboardInterrupt itself
            raise KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted: run the same command again to go on", file=sys.stderr)
        status = _INTERRUPTED
    except Exception as error:
        status = status_of(error)
    sys.exit(status if isinstance(status, int) else 0)


def _refuse_empty_words(words: list[str]) -> None:
    for before, word in zip(["fakelens", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            raise typer.BadParameter(f"nothing is given after {word or before}: give a value (an unset variable?)")


@app.command()
def run(
    recipe: RecipeOption = None,
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    no_pretrained: NoPretrainedOption = False,
    force: ForceOption = False,
) -> None:
    """Everything, in order: prepare, train, compress, evaluate, export, bundle, report."""
    from fakelens import pipeline
    from fakelens.recipes import shown
    from fakelens.report.report import summary

    names = [] if detectors is None else [f"only=[{detectors}]"]
    chosen, folder = _setup(recipe, [*names, *(set_ or [])], workdir, no_pretrained)
    specs = _specs(None, chosen)
    with TerminalReporter() as reporter:
        page = pipeline.run(folder, chosen, specs, force=force, reporter=reporter)
    table, words = summary(folder, shown(specs, chosen))
    print_table(table.head, table.rows)
    for line in pipeline.float_that_ships(folder, chosen, specs):
        print(f"WARNING: {line}")
    target, command = shlex.quote(str(RunFolder(folder).bundle)), own_command()
    print(f"{words}\n\nReport:          {shlex.quote(str(page))}\nBundle:          {target}")
    print(f"Start the app:   {command} app --bundle {target}")
    print(f"Judge pictures:  {command} predict PICTURE… --bundle {target}")


@app.command()
def prepare(
    recipe: RecipeOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check the prepared files against their hashes.")
    ] = False,
) -> None:
    """Choose, check, resize and split the images."""
    from fakelens import pipeline

    chosen, folder = _setup(recipe, set_, workdir)
    if verify:
        pipeline.prepared(folder).verify()
        print(f"{RunFolder(folder).data}: every file is as `prepare` wrote it")
        return
    with TerminalReporter() as reporter:
        pipeline.prepare(folder, chosen, force=force, reporter=reporter)


def _stage_command(stage: str) -> Any:
    """One detector's stage as a command."""

    def command(
        detector: DetectorArgument,
        recipe: RecipeOption = None,
        workdir: WorkdirOption = None,
        set_: SetOption = None,
        no_pretrained: NoPretrainedOption = False,
        force: ForceOption = False,
    ) -> None:
        from fakelens import pipeline

        chosen, folder = _setup(recipe, set_, workdir, no_pretrained)
        with TerminalReporter() as reporter:
            getattr(pipeline, stage)(folder, chosen, _specs(detector)[0], force=force, reporter=reporter)

    return command


app.command("train", help="Train one detector; goes on where an interrupted run stopped.")(_stage_command("train"))


@app.command()
def compress(
    detector: DetectorArgument,
    target_mb: Annotated[
        float | None,
        typer.Option("--target-mb", metavar="MB", help="Maximum size of the INT8 file (default: the detector's own)."),
    ] = None,
    recipe: RecipeOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    force: ForceOption = False,
) -> None:
    """Make DETECTOR_compact of a trained detector: fewer channels, taught by it, until its INT8 file fits."""
    changes = [*(set_ or []), *([] if target_mb is None else [f"compress.target_mb={target_mb}"])]
    _stage_command("compress")(detector, recipe, workdir, changes, False, force)


@app.command()
def evaluate(
    detector: Annotated[str | None, typer.Argument(metavar="DETECTOR", help=_DETECTOR_HELP)] = None,
    recipe: RecipeOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    no_pretrained: NoPretrainedOption = False,
    force: ForceOption = False,
    against: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Judge one trained detector on the held-out test split and the further test sets."""
    if against is not None:
        raise typer.BadParameter(f"--against is a command of its own now: `fakelens judge {against}`")
    if detector is None:
        raise typer.BadParameter("name a DETECTOR; pictures of your own are judged by `fakelens judge FOLDER`")
    _stage_command("evaluate")(detector, recipe, workdir, set_, no_pretrained, force)


@app.command()
def judge(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders with real/ and fake/ in them.")],
    detector: Annotated[
        str | None, typer.Option(metavar="NAME", help="Judge with this detector's checkpoint in the working folder.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A .safetensors or .onnx file or a bundle to judge with (repeatable)."),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="CSV (image, score) of another system, for the same tables (repeatable)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where tables and plots go (default: WORKDIR/against/FOLDER).")
    ] = None,
    set_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Keep the folder as a set of this name for every later report.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print against.json instead of tables.")] = False,
    recipe: RecipeOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Judge any systems on folders of labelled pictures, side by side (default: every detector of a bundle)."""
    if detector and model:
        raise typer.BadParameter("name what to judge with --detector or with --model, not both")
    chosen, workdir_ = _setup(recipe, set_, workdir)
    from fakelens import pipeline

    models = model or pipeline.models_to_judge(workdir_, detector, others=bool(scores), own=workdir is not None)
    beside = RunFolder(models[0].parent) if len(models) == 1 and not (workdir or detector) else None
    if beside and beside.bundle == models[0] and (beside.recipe.is_file() or not model):
        workdir_ = models[0].parent  # the run of the bundle that is judged with
    with TerminalReporter() as reporter:
        judgements = pipeline.judge(
            workdir_, chosen, folders, models, scores or [], output, set_name=set_name, reporter=reporter
        )
    for judgement, page in judgements:
        print_judgement(judgement, page, as_json=json_)
    if any(judgement.excluded for judgement, _ in judgements):
        raise typer.Exit(1)


app.command("export", help="Write one detector's ONNX files, verify them and choose what ships.")(
    _stage_command("export")
)


@app.command()
def bundle(
    recipe: RecipeOption = None,
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Write the deployment folder out of the exported detectors."""
    from fakelens import pipeline

    chosen, folder = _setup(recipe, set_, workdir)
    with TerminalReporter() as reporter:
        pipeline.bundle(folder, chosen, _specs(detectors, chosen), reporter=reporter)


@app.command()
def report(
    recipe: RecipeOption = None,
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
) -> None:
    """Write the report of all detectors side by side."""
    from fakelens import pipeline

    chosen, folder = _setup(recipe, set_, workdir)
    with TerminalReporter() as reporter:
        pipeline.report(folder, chosen, _specs(detectors, chosen), reporter=reporter)


@app.command()
def audit(recipe: RecipeOption = None, workdir: WorkdirOption = None, set_: SetOption = None) -> None:
    """Report how well format, size and compression alone predict the label, before and after preparation."""
    from fakelens import pipeline

    chosen, folder = _setup(recipe, set_, workdir)
    for one in pipeline.prepared(folder).results.audits.values():
        print(f"WARNING: {one.warning}" if one.warning and chosen.data.source != "synthetic" else one.sentence)


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Pictures, folders or globs.")],
    bundle: BundleOption = None,
    detector: Annotated[str | None, typer.Option(help="Detector of the bundle (default: its most accurate).")] = None,
    max_fpr: Annotated[
        float | None,
        typer.Option(
            "--max-fpr", metavar="RATE", help="Largest share of false alarms, one that the bundle has, such as 0.05."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    csv_: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a CSV file, over an earlier one of `predict`.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep an audit record of each verdict: JSON and a page to print.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Pictures judged at the same time (default: one for each CPU allowed).")
    ] = None,
) -> None:
    """Judge pictures; a bad file is reported and the rest goes on (exit status 1)."""
    from fakelens.runtime.answers import check_outputs, write_outputs
    from fakelens.runtime.cautions import DEMO
    from fakelens.runtime.folder import judge_files, picture_files
    from fakelens.runtime.judgement import Answer, Refusal
    from fakelens.sharing import open_bundle

    models = open_bundle(bundle or newest_bundle())
    files, notes = picture_files(paths)
    if models.demo:
        notes.insert(0, DEMO.words)
    model = models.detector(models.model(detector).name)
    point = models.operating_point(model.name, max_fpr)
    notes += [point.caution] if point.caution else []
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    check_outputs(csv_, report)
    answers: list[Answer] = []
    stream = judge_files(model, files, point.threshold, num_workers=threads)
    with closing(stream), TerminalReporter(quiet_s=2) as reporter, reporter.task("Judging", len(files)) as task:
        for answer in stream:
            answers.append(answer)
            task.advance()
            if json_:
                print(json_line(answer.as_dict()), flush=True)
    is_shown = not (json_ or csv_)
    try:
        write_outputs(answers, models, csv_, report)
    except OSError:
        is_shown = not json_  # what was judged is not lost with its file
        raise
    finally:
        if is_shown:
            print_verdicts(model.name, point.threshold, answers)
    for place in filter(None, (csv_, report)):
        print(f"note: written to {place}", file=sys.stderr)
    if any(isinstance(answer, Refusal) for answer in answers):
        raise typer.Exit(1)


@app.command("app")
def serve(
    bundle: BundleOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the page.")] = 8501,
) -> None:
    """Start the app of a bundle on this machine."""
    from fakelens.app import server
    from fakelens.sharing import bundle_folder, is_on_hub

    place = bundle or newest_bundle()
    raise typer.Exit(server.serve(bundle_folder(place).resolve(), host, port, own_code=not is_on_hub(place)))


@app.command()
def push(
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Made where there is none.")],
    bundle: Annotated[Path | None, typer.Option(help="Deployment folder (default: the newest runs/*/bundle).")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make it private; fail if it is public.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, made where there is none (default: main).")] = None,
) -> None:
    """Bring a bundle and its model cards to the Hugging Face hub."""
    from fakelens import sharing

    address = sharing.push(repository, bundle or newest_bundle(), private=private, revision=revision)
    print(f"Judge pictures:  {own_command()} predict PICTURE… --bundle {address}")


@app.command()
def benchmark(
    recipe: RecipeOption = None,
    detectors: DetectorsOption = None,
    workdir: WorkdirOption = None,
    set_: SetOption = None,
    bundle: Annotated[Path | None, typer.Option(help="Time a bundle's models instead of a working folder's.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where record and plot go (default: WORKDIR/benchmark).")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few rounds.")] = False,
    max_minutes: Annotated[
        float | None, typer.Option(help="No further round begins after this time (default: 10, with --quick 2).")
    ] = None,
) -> None:
    """Time every exported file on this machine's CPU: latency, images per second, size, memory, beside PyTorch."""
    from dataclasses import replace

    from fakelens.core.outputs import check_folder
    from fakelens.export import benchmark as benchmarks

    _, folder = _setup(recipe, set_, workdir)
    effort = benchmarks.QUICK if quick else benchmarks.Effort()
    if max_minutes is not None:
        effort = replace(effort, limit_s=60 * max_minutes)
    names = [spec.name for spec in _specs(detectors)] if detectors else None
    files = benchmarks.bundled_files(bundle) if bundle else benchmarks.exported_files(folder, names)
    place = output or RunFolder(bundle.resolve().parent if bundle else folder).benchmark
    check_folder(place, "--output")
    with TerminalReporter() as reporter:
        result = benchmarks.run_benchmark(files, effort, reporter=reporter)
    record = benchmarks.write_benchmark(place, result)
    print(f"{benchmarks.cpu_words()}; {result.image}")
    for table in (benchmarks.main_table(result.measured), benchmarks.image_table(result.measured)):
        print_table(table.head, table.rows)
    print(f"\nEverything: {record}")


@app.command()
def detectors(
    name: Annotated[str | None, typer.Argument(help="Show this detector's settings.")] = None,
) -> None:
    """List the detectors, or one detector's settings."""
    from fakelens.config import to_commented_yaml
    from fakelens.detectors.spec import discover, find

    if name:
        print(to_commented_yaml(find(name).defaults))
        return
    rows = [(spec.name, spec.display_name, spec.weights or "none", spec.summary) for spec in discover().values()]
    print_table(("Name", "Detector", "Pretrained weights", "What it is"), rows)


@app.command()
def config(recipe: RecipeOption = None, set_: SetOption = None) -> None:
    """Print the complete recipe as commented YAML, ready to be edited and given to --recipe."""
    from fakelens.config import to_commented_yaml
    from fakelens.recipes import load_recipe

    print(to_commented_yaml(load_recipe(recipe or "openfake", set_ or [])))


def _setup(
    recipe: str | None, overrides: list[str] | None, workdir: Path | None, no_pretrained: bool = False
) -> "tuple[Recipe, Path]":
    from fakelens.recipes import recipe_for

    return recipe_for(recipe, workdir, [*(["train.pretrained=false"] if no_pretrained else []), *(overrides or [])])


def _specs(names: str | None, recipe: "Recipe | None" = None) -> "list[DetectorSpec]":
    from fakelens.recipes import named_detectors

    return named_detectors(names, recipe)
