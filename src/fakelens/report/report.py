"""The report of a run: `report.md`, and the same as the self-contained page `index.html`."""

import base64
import html
import io
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template

from fakelens.core.artifacts import atomic_path, write_text
from fakelens.core.records import LATENCY_RUNS
from fakelens.core.run_folder import (
    ACCURACY,
    CONFUSION_MATRIX,
    LEARNING_RATE,
    LOSS,
    MISTAKES,
    PLOTS,
    PRECISION_RECALL,
    RELIABILITY,
    REPORT_PAGE,
    REPORT_TEXT,
    RISK_COVERAGE,
    ROBUSTNESS_PLOT,
    ROC,
    SAMPLES,
    TRADEOFF,
    RunFolder,
)
from fakelens.core.scoring import capital, percent
from fakelens.core.table import Table, plain
from fakelens.dataset.splits import TEST
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import DetectorSpec
from fakelens.evaluation.metrics import wilson_interval
from fakelens.evaluation.plots import plot_tradeoff
from fakelens.figure import DESCRIPTION
from fakelens.report.records import Entry, read_named_sets
from fakelens.report.tables import (
    SMALLEST_GROUP,
    calibration_table,
    comparison_table,
    comparisons_table,
    compression_table,
    data_table,
    environment_table,
    exports_table,
    groups_table,
    robustness_table,
    sets_table,
    summary_table,
    thresholds_table,
)

_TRAINING_PLOTS = {
    LOSS: "Loss by epoch",
    ACCURACY: "Accuracy by epoch",
    LEARNING_RATE: "Learning rate by epoch",
}
_TEST_PLOTS = {
    CONFUSION_MATRIX: "Confusion matrix, test split",
    ROC: "ROC curve",
    PRECISION_RECALL: "Precision–recall curve",
    RELIABILITY: "Reliability diagram",
    RISK_COVERAGE: "Risk–coverage curve",
}
_PICTURES = {
    SAMPLES: "Sample predictions, test split",
    MISTAKES: "Worst mistakes, test split",
}
_ROBUSTNESS = {ROBUSTNESS_PLOT: "Robustness: what degradations cost"}
_SHOW_PICTURES = {Path(name).stem for name in _PICTURES}
_FULL_WIDTH = _SHOW_PICTURES | {Path(name).stem for name in _ROBUSTNESS}
_DEMO = (
    "This is a demonstration on synthetic pictures made by fakelens itself. Its figures say that the pipeline works; "
    "they say nothing about real photographs or real AI-generated images."
)
_WEBP_QUALITY = 85  # of the page's images; the PNG files beside it are as they were drawn
_WEAKEST = 3  # generators and sources that everybody reads of
_NAMED = 10  # pictures that are named where many may have been left out
_FOLDED = "#### "  # headings of what the page shows only when it is asked for
_TEMPLATE = Path(__file__).with_name("report_template.html")


_GLOSSARY = (
    "Accuracy: the share of pictures that are judged rightly; balanced: the mean of both labels' shares.",
    "Precision: of the pictures called fake, the share that is. Recall: of the fakes, the share that is found. F1: the "
    "harmonic mean of these two.",
    "AUC: how often a fake scores higher than a photograph, whatever the threshold; 0.5 is a coin's, 1 perfect.",
    "Ships as: the form of the ONNX file. int8: numbers of eight bits in place of 32, smaller and faster; a gate "
    "compares it with the trained network on validation pictures.",
    "95 % interval: the test pictures are a sample; intervals made like this hold the true figure 19 times in 20.",
    "Calibration: whether a stated 80 % is right in 80 % of cases. Coverage: the share of pictures that get a verdict.",
    "McNemar's and DeLong's tests: how easily chance alone would make such a difference between two detectors; below "
    "0.05 is called significant.",
)


def write_report(workdir: Path, detectors: Sequence[DetectorSpec], recipe_yaml: str) -> Path:
    """Write the report of every detector given; returns the page's path.

    Raises:
        FakelensError: naming the stage that is missing.
    """
    data, entries = _loaded(workdir, detectors)
    folder = RunFolder(workdir).report
    points = [
        (e.spec.display_name, e.shipped.latency_ms, e.shipped.metrics.accuracy, e.shipped.size_bytes / 1e6)
        for e in entries
    ]
    plot_tradeoff(folder / PLOTS / TRADEOFF, points, data.subject("What ships"))
    _copy_plots(folder, entries)
    markdown = "\n\n".join(_blocks(workdir, data, entries, recipe_yaml)) + "\n"
    write_text(folder / REPORT_TEXT, markdown)
    write_text(folder / REPORT_PAGE, page_of(markdown, folder))
    return folder / REPORT_PAGE


def summary(workdir: Path, detectors: Sequence[DetectorSpec]) -> tuple[Table, str]:
    """Table of what ships, a row for each detector, and what it says of all."""
    data, entries = _loaded(workdir, detectors)
    words = [
        f"Held-out test split, n={entries[0].test.num_images}, half of them fake, as shipped; in brackets Wilson's "
        f"95 % intervals. {capital(_nulls_words(data))}",
        *(f"{e.spec.display_name}: {e.exported.why}." for e in entries),
    ]
    if data.is_demo:
        words.append(
            "This was a demonstration on synthetic pictures: the figures say nothing about real images. With real ones "
            "(`fakelens run`, OpenFake) expect hours on a GPU, accuracies well below these, and less on new generators."
        )
    return summary_table(entries), "\n".join(words)


def _nulls_words(data: PreparedData) -> str:
    """What classifiers reach that look at no content, beside which every figure must be read."""
    file, *pixels = (percent(audit.random_split, 1) for audit in data.results.audits.values())
    also = f", one of fine-grain pixel statistics {pixels[0]}" if pixels else ""
    return f"a classifier of the files' metadata alone reaches {file}{also}."


def _loaded(workdir: Path, detectors: Sequence[DetectorSpec]) -> tuple[PreparedData, list[Entry]]:
    entries = [Entry.load(workdir, spec) for spec in detectors]
    return PreparedData(RunFolder(workdir).data), sorted(entries, key=Entry.rank, reverse=True)


def _blocks(workdir: Path, data: PreparedData, entries: Sequence[Entry], recipe_yaml: str) -> Iterator[str]:
    """Blocks of Markdown, from what everybody reads to what few look up."""
    yield "# fakelens report"
    if data.is_demo:
        yield f"> **{_DEMO}**"
    else:
        # On synthetic pictures nobody can act on these: the table of the data says them.
        yield from (f"> **{audit.warning}**" for audit in data.results.audits.values() if audit.warning)
    yield " ".join(_conclusion(data, entries))
    yield _bullets(_next_steps(workdir, data))
    yield "## Comparison"
    yield comparison_table(data, entries).markdown()
    yield _bullets([*_comparison_notes(data, entries), *_named_set_notes(workdir, entries)])
    yield f"![Accuracy of what ships against time and size]({PLOTS}/{TRADEOFF})"
    yield f"{_FOLDED}How to read these figures"
    yield _bullets(_GLOSSARY)
    for entry in entries:
        yield from _detector(entry)
    yield from _side_by_side(entries)
    yield from ("## Data", data_table(data).markdown())
    yield from ("## How it was made", environment_table(data, entries).markdown())
    yield from (f"{_FOLDED}The complete recipe", f"```yaml\n{recipe_yaml}\n```")


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _conclusion(data: PreparedData, entries: Sequence[Entry]) -> Iterator[str]:
    """Three sentences: which detector, how far to trust it, what ships. The best is chosen on validation."""
    best = entries[0]
    shipped = best.shipped.metrics
    low, high = wilson_interval(round(shipped.accuracy * shipped.num_images), shipped.num_images)
    several = "the most accurate on validation pictures, as it ships"
    equal = [entry.spec.display_name for entry in entries[1:] if entry.rank()[0] == best.rank()[0]]
    if equal:
        lead = ", and leads by AUC" if best.rank() > entries[1].rank() else ""
        several = f"as accurate on validation pictures as {' and '.join(equal)}, as they ship{lead}"
    chosen = f"{best.spec.display_name} is {several if len(entries) > 1 else 'the detector of this run'}"
    yield (
        f"**{chosen}: it judges {percent(shipped.accuracy, 1)} of {shipped.num_images:,} held-out test pictures "
        f"rightly (95 % interval {percent(low, 1)} to {percent(high, 1)}"
        f"{', which includes mere chance' if low <= 0.5 else ''}).**"
    )
    others = [f"{percent(block.accuracy, 1)} on `{name}`" for name, block in best.metrics.items() if name != TEST]
    unseen = f"On pictures of other origins its checkpoint is right in {' and '.join(others)}; " if others else (
        "No set of unseen generators was judged: expect less there; "
    )  # fmt: skip
    yield unseen + _nulls_words(data)
    size_mb = sum(entry.shipped.size_bytes for entry in entries) / 1e6
    slowest = max(entry.shipped.latency_ms for entry in entries)
    yield (
        f"The shipped files total {size_mb:.1f} MB; each takes at most {slowest:.1f} ms a picture on one CPU thread."
    )


def _code(text: str) -> str:
    """A span of code, which ends at the same number of backticks that it began with."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}"


def _next_steps(workdir: Path, data: PreparedData) -> Iterator[str]:
    bundle = shlex.quote(str(RunFolder(workdir).bundle))
    yield f"Try it in the browser: {_code(f'fakelens app --bundle {bundle}')}"
    yield f"Judge pictures of your own: {_code(f'fakelens predict PICTURE… --bundle {bundle}')}"
    if data.is_demo:
        yield "Train on real pictures: `fakelens run` takes OpenFake: gigabytes to download, hours on a GPU"
        yield (
            "Or your own, here 1,000 photographs in `FOLDER/real` and as many fakes in `FOLDER/fake`: `fakelens run "
            "--set data.source=folder --set data.path=FOLDER --set data.num_images=2000 --workdir runs/mine`"
        )
    else:
        yield ("Evaluate them on labelled pictures of your own: `fakelens judge FOLDER` with `real/` and `fake/` in it")


def _comparison_notes(data: PreparedData, entries: Sequence[Entry]) -> Iterator[str]:
    yield (
        f"Held-out test split, n={entries[0].test.num_images}, half of them fake, verdicts at 0.5; data's seed "
        f"{data.settings.seed}, one training each ("
        + ", ".join(f"{e.spec.display_name}: seed {e.choice.seed}" for e in entries)
        + f"); {data.results.description}."
    )
    cpu = entries[0].export.environment.cpu
    yield f"Time: median of {LATENCY_RUNS} runs, one picture, one thread, onnxruntime on {cpu}."
    yield "Test pictures come from the generators and sources of the training pictures: on unseen ones expect less."
    for name, s in data.results.test_sets.items():
        also = plain(", ".join(s.generators_also_in_training))
        yield f"{name}: {s.description}, n={s.num_images}, half of them fake{also and f'; also in training: {also}'}."


def _named_set_notes(workdir: Path, entries: Sequence[Entry]) -> Iterator[str]:
    for named in read_named_sets(workdir):
        blocks = [e.named_sets[named.name] for e in entries if named.name in e.named_sets]
        if blocks:
            (real, wrong), (missed, fake) = blocks[0].confusion_matrix
            counts = f"{real + wrong} real and {missed + fake} fake pictures"
            where = _code(named.folder)
            yield f"{named.name}: {counts} of {where}, kept under this name by `fakelens judge --set-name`."
            yield from (f"{named.name}: {plain(warning)}" for warning in named.warnings)
            if named.left_out:
                some = "; ".join([*named.left_out[:_NAMED], *(["…"] if len(named.left_out) > _NAMED else [])])
                yield f"{named.name}: {len(named.left_out)} of its pictures left out: {plain(some)}"


def _detector(entry: Entry) -> Iterator[str]:
    yield f"## {entry.spec.display_name}"
    yield f"{entry.summary}. {entry.exported.why}."
    yield sets_table([entry]).markdown_of_one()
    (_, false_alarms), (missed, _) = entry.test.confusion_matrix
    yield _images(entry, _PICTURES if false_alarms + missed else {SAMPLES: _PICTURES[SAMPLES]})
    if not false_alarms + missed:
        yield "Worst mistakes: the test split has none at 0.5."
    yield _images(entry, _TEST_PLOTS)
    yield "### Weakest generators and sources"
    groups = [group for block in entry.metrics.values() for group in block.groups if group.num_images >= SMALLEST_GROUP]
    if groups and all(group.share_right == 1 for group in groups):
        yield f"None stands out: at 0.5 every picture of those with at least {SMALLEST_GROUP} is judged rightly."
    else:
        yield (
            f"In each set the {_WEAKEST} generators and the {_WEAKEST} sources of photographs that are judged worst at "
            f"0.5, of those with at least {SMALLEST_GROUP} pictures; with Wilson's 95 % intervals."
        )
        yield groups_table([entry], weakest=_WEAKEST).markdown_of_one()
    if entry.robustness:
        yield f"{_FOLDED}{entry.spec.display_name}: robustness"
        yield _robustness_words(entry)
        yield robustness_table([entry], worst=5).markdown_of_one()
        yield _images(entry, _ROBUSTNESS)
    yield f"{_FOLDED}{entry.spec.display_name}: training"
    yield _images(entry, _TRAINING_PLOTS)
    yield f"{_FOLDED}{entry.spec.display_name}: thresholds"
    yield "Chosen on validation photographs alone. Between its two thresholds a picture is called uncertain."
    yield thresholds_table([entry]).markdown_of_one()
    yield f"{_FOLDED}{entry.spec.display_name}: calibration"
    yield (
        "Expected calibration error over 15 bins, before and after temperature scaling (fitted on validation "
        "pictures); and the error that a perfectly calibrated detector shows by chance on as many pictures."
    )
    yield calibration_table([entry]).markdown_of_one()
    yield f"{_FOLDED}{entry.spec.display_name}: exported files"
    yield exports_table([entry]).markdown_of_one()
    if (every := groups_table([entry])) != groups_table([entry], weakest=_WEAKEST):
        yield f"{_FOLDED}{entry.spec.display_name}: all generators and sources"
        yield every.markdown_of_one()


def _robustness_words(entry: Entry) -> str:
    return (
        f"{entry.robustness[0].num_images} test pictures, half of them fake, degraded and judged again; the table "
        "shows the five degradations that flip most verdicts. One-class control: share of the photographs called "
        "AI-generated when they alone are degraded."
    )


def _side_by_side(entries: Sequence[Entry]) -> Iterator[str]:
    if len(entries) > 1:
        yield "## Differences between detectors"
        yield (
            "On the same pictures: McNemar's exact test of the verdicts at 0.5 and DeLong's test of the AUCs. No "
            "correction for the number of tests."
        )
        yield comparisons_table(entries).markdown()
    if (compressed := compression_table(entries)).rows:
        yield "## Compression"
        yield (
            "Compact detectors beside the full ones of which they were made, by removing channels and training on. "
            "Accuracy and AUC are the checkpoints', verdicts at 0.5."
        )
        yield compressed.markdown()


def _images(entry: Entry, names: dict[str, str]) -> str:
    return "\n".join(
        f"![{entry.spec.display_name}: {words}]({PLOTS}/{entry.spec.name}/{name})" for name, words in names.items()
    )


def _copy_plots(folder: Path, entries: Sequence[Entry]) -> None:
    """Copy the detectors' plots, each compared with the hash that its stage wrote."""
    for entry in entries:
        evaluated = [*_TEST_PLOTS, *_PICTURES, *(_ROBUSTNESS if entry.robustness else ())]
        for record, names in ((entry.train, _TRAINING_PLOTS), (entry.evaluate, evaluated)):
            for name in names:
                with atomic_path(folder / PLOTS / entry.spec.name / name) as temporary:
                    shutil.copyfile(record.output(f"{PLOTS}/{name}"), temporary)


def page_of(markdown: str, folder: Path) -> str:
    """The Markdown as one HTML page that holds its images, with contents and folded details."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.add_render_rule(
        "image", lambda _, tokens, i, *__: _image(folder, tokens[i].attrs["src"], tokens[i].content)
    )
    renderer.add_render_rule("table_open", lambda *_: "<div class=wide><table>")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>")
    body = str(renderer.render(markdown))
    body = re.sub(
        r"<h4>(.*?)</h4>(.*?)(?=<h[1-4]>|\Z)",
        r"<details><summary>\1</summary>\2</details>",
        body,
        flags=re.DOTALL,
    )
    titles = re.findall(r"<h2>(.*?)</h2>", body)
    for number, title in enumerate(titles):
        body = body.replace(f"<h2>{title}</h2>", f'<h2 id="section-{number}">{title}</h2>', 1)
    contents = " ".join(f'<a href="#section-{number}">{title}</a>' for number, title in enumerate(titles))
    body = body.replace("</h1>", f"</h1>\n<nav>{contents}</nav>", 1)
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(body=body)


def _image(folder: Path, source: str, words: str) -> str:
    """One plot, its bytes in the page; nothing else is opened, whatever a name may look like."""
    from PIL import Image

    path = folder / source
    if path not in (folder / PLOTS).rglob("*.png"):
        return html.escape(words)
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "WEBP", quality=_WEBP_QUALITY)
        size = f"width={image.width} height={image.height}"
        reading = html.escape(image.info.get(DESCRIPTION, ""))
    encoded = base64.b64encode(buffer.getvalue()).decode()
    img = f'<img {size} src="data:image/webp;base64,{encoded}" alt="{html.escape(words)}. {reading}">'
    if path.stem not in _SHOW_PICTURES and path.name != ROBUSTNESS_PLOT:  # whose colours mean something
        img = img.replace("<img", "<img class=plot")
    # On a telephone a wide one scrolls, and what stands beneath it would be cut.
    return f"<span class=full>{img}</span><small>{reading}</small>" if path.stem in _FULL_WIDTH else img
