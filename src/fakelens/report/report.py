"""The report of a run: `report.md`, and the same as the self-contained page `index.html`."""

import base64
import html
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from fakelens.core.artifacts import atomic_path, write_text
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
from fakelens.core.table import Table
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import DetectorSpec
from fakelens.evaluation.plots import plot_tradeoff
from fakelens.report.records import Entry
from fakelens.report.tables import (
    comparisons_table,
    compression_table,
    data_table,
    groups_table,
    robustness_table,
    sets_table,
    thresholds_table,
)

_PLOTS = {
    f"{PLOTS}/{LOSS}": "Loss",
    f"{PLOTS}/{ACCURACY}": "Accuracy",
    f"{PLOTS}/{LEARNING_RATE}": "Learning rate",
    f"evaluation/{PLOTS}/{CONFUSION_MATRIX}": "Confusion matrix, test split",
    f"evaluation/{PLOTS}/{ROC}": "ROC curve",
    f"evaluation/{PLOTS}/{PRECISION_RECALL}": "Precision–recall curve",
    f"evaluation/{PLOTS}/{RELIABILITY}": "Reliability diagram",
    f"evaluation/{PLOTS}/{RISK_COVERAGE}": "Risk–coverage curve",
    f"evaluation/{PLOTS}/{ROBUSTNESS_PLOT}": "Robustness: what degradations cost",
    f"evaluation/{PLOTS}/{SAMPLES}": "Sample predictions, test split",
    f"evaluation/{PLOTS}/{MISTAKES}": "Worst mistakes, test split",
}


_FULL_WIDTH = {"samples", "mistakes", "robustness"}


# What scores without looking at content, beside which every figure must be read.
_NULLS = {
    "container": "Original files' metadata alone (no pixels)",
    "pixels": "Prepared pixels' statistics alone (no content)",
}


_DEMO = (
    "This is a demonstration on synthetic pictures made by fakelens itself. Its figures say that the pipeline works; "
    "they say nothing about real photographs or real AI-generated images."
)


_RECIPE = "Recipe"
_FOLDED = {
    "All generators and sources": "Every generator's recall and every source's specificity",
    _RECIPE: "The complete recipe",
}
_TEMPLATE = Path(__file__).with_name("report_template.html")


def write_report(workdir: Path, detectors: Sequence[DetectorSpec], recipe_yaml: str) -> Path:
    """Write the report of every detector given; returns the page's path.

    Raises:
        ValueError: naming the stage that is missing.
    """
    data = PreparedData(RunFolder(workdir).data)
    entries = [Entry.load(workdir, spec) for spec in detectors]
    folder = RunFolder(workdir).report
    tradeoff = folder / PLOTS / TRADEOFF
    points = [
        (
            e.spec.display_name,
            e.shipped.latency_ms,
            e.shipped.metrics.accuracy,
            e.shipped.size_bytes / 1e6,
        )
        for e in entries
    ]
    plot_tradeoff(tradeoff, points, data.subject("What ships"))
    _copy_plots(folder, entries)
    parts = _parts(data, entries)
    markdown = _markdown(parts, entries, recipe_yaml)
    write_text(folder / REPORT_TEXT, markdown)
    page = folder / REPORT_PAGE
    write_text(page, _page(markdown, folder))
    return page


def comparison(workdir: Path, detectors: Sequence[DetectorSpec]) -> Table:
    """The report's first table: every detector's figures, and what the files' metadata alone would score."""
    data = PreparedData(RunFolder(workdir).data)
    return _comparison(data, [Entry.load(workdir, spec) for spec in detectors])


@dataclass(frozen=True)
class _Parts:
    """The report's content before it is Markdown or HTML."""

    notices: tuple[str, ...]
    comparison: Table
    comparison_notes: tuple[str, ...]
    judgement: dict[str, tuple[str, Table]]
    """Title -> what the table says, and the table."""
    all_groups: Table
    exports: Table
    data: Table
    environment: Table


def _parts(data: PreparedData, entries: Sequence[Entry]) -> _Parts:
    notices = [_DEMO] if data.is_demo else []
    notices += [audit.warning for audit in data.results.audits.values() if audit.warning]
    return _Parts(
        notices=tuple(notices),
        comparison=_comparison(data, entries),
        comparison_notes=_comparison_notes(data, entries),
        judgement=_judgement(data, entries),
        all_groups=groups_table(entries),
        exports=_exports(entries),
        data=data_table(data),
        environment=_environment(data, entries),
    )


def _comparison(data: PreparedData, entries: Sequence[Entry]) -> Table:
    further = list(data.results.test_sets)
    head = (
        "Detector", "Start", "Accuracy", "Precision", "Recall", "F1", "AUC",
        *(f"Accuracy / AUC on {name}" for name in further),
        "Ships as", "Accuracy as shipped", "ONNX size (MB)", "Time per picture (ms)", "Parameters",
    )  # fmt: skip
    rows = [
        (
            e.spec.display_name, e.start,
            *(f"{getattr(e.test, name):.3f}" for name in ("accuracy", "precision", "recall", "f1", "auc")),
            *(f"{e.metrics[name].accuracy:.3f} / {e.metrics[name].auc:.3f}" for name in further),
            e.exported.ships, f"{e.shipped.metrics.accuracy:.3f}",
            f"{e.shipped.size_bytes / 1e6:.2f}", f"{e.shipped.latency_ms:.1f}",
            f"{e.trained.num_parameters:,}",
        )
        for e in entries
    ]  # fmt: skip
    for evidence, name in _NULLS.items():
        null = f"{data.results.audits[evidence].random_split:.3f} (balanced)"
        rows.append((name, "—", null, *("—",) * (len(head) - 3)))
    # A column for each detector fits a page and a terminal, however many test sets there are.
    return Table(head, tuple(rows)).transposed()


def _comparison_notes(data: PreparedData, entries: Sequence[Entry]) -> tuple[str, ...]:
    environment = entries[0].export.environment
    return (
        f"Held-out test split, n={entries[0].test.num_images}, half of them fake, "
        f"data's seed {data.settings.seed}, one training each ("
        + ", ".join(f"{e.spec.display_name}: seed {e.seed}" for e in entries)
        + f"); {data.results.description}.",
        f"Time: median of 31 runs, one picture, one thread, onnxruntime on {environment['cpu']}.",
        *(audit.sentence for audit in data.results.audits.values()),
        "Test pictures come from the same generators and sources as the training pictures: on unseen ones expect less.",
        *(
            f"{name}: {s.description}, n={s.num_images}, half of them fake"
            + (f"; also in training: {', '.join(also)}." if (also := s.generators_also_in_training) else ".")
            for name, s in data.results.test_sets.items()
        ),
    )


def _judgement(data: PreparedData, entries: Sequence[Entry]) -> dict[str, tuple[str, Table]]:
    sections = {
        "Known, unseen and wild pictures": (
            "Verdicts at 0.5; in brackets 95 % bootstrap intervals (pictures drawn again within each label), which "
            "know nothing of another training run. Calibration: expected error of the stated probability over 15 bins, "
            "before and after the temperature fitted on validation pictures, and what chance alone makes of as many "
            "pictures, on average and in 95 % of draws, where every probability is exactly right. Metadata alone: "
            "balanced accuracy of a tree that sees no pixel of the original files.",
            sets_table(entries, data),
        ),
        "Thresholds": (
            "Chosen on validation photographs alone. Between its two lines a picture is called uncertain.",
            thresholds_table(entries),
        ),
        "Weakest generators and sources": (
            "At 0.5, the three weakest of at least five pictures in each set and label, with Wilson's 95 % intervals.",
            groups_table(entries, weakest=3),
        ),
    }
    if len(entries) > 1:
        sections["Differences between detectors"] = (
            "On the same pictures: McNemar's exact test of the verdicts at 0.5 and DeLong's test of the AUCs. "
            "No correction for the number of tests.",
            comparisons_table(entries),
        )
    if any(e.spec.full for e in entries):
        sections["Compression"] = (
            "Compact detectors beside the full ones of which they were made, by removing channels and training on with "
            "the full one as teacher. Accuracy and AUC are the checkpoints', verdicts at 0.5.",
            compression_table(entries),
        )
    if any(e.robustness for e in entries):
        count = max(step.num_images for e in entries for step in e.robustness)
        sections["Robustness"] = (
            f"{count} test pictures, half of them fake, degraded and served again. The last figure is the one-class "
            "control: when only the photographs are degraded, so many of them are called AI-generated.",
            robustness_table(entries),
        )
    return sections


def _exports(entries: Sequence[Entry]) -> Table:
    head = (
        "Detector",
        "Variant",
        "Size (MB)",
        "Time (ms)",
        "Accuracy",
        "AUC",
        "Verdicts changed, test",
        "Verdicts changed, validation",
        "Largest difference",
        "Gate (validation)",
    )
    rows = [
        (
            e.spec.display_name, v.name, f"{v.size_bytes / 1e6:.2f}", f"{v.latency_ms:.1f}",
            f"{v.metrics.accuracy:.3f}", f"{v.metrics.auc:.3f}", f"{v.num_changed} of {v.num_images}",
            f"{v.val.num_changed} of {v.val.num_images}",
            f"{v.max_difference:.2g}", "passed" if v.passed else "refused: " + "; ".join(v.reasons),
        )
        for e in entries
        for v in e.exported.variants
    ]  # fmt: skip
    return Table(head, tuple(rows))


def _environment(data: PreparedData, entries: Sequence[Entry]) -> Table:
    rows = [("Seed of the data", str(data.settings.seed))]
    for e in entries:
        rows.append((f"{e.spec.display_name}: seed of the training", str(e.seed)))
        where = f"{e.trained.device}, {e.trained.num_threads} threads"
        stages = ", ".join(f"{r.stage} {r.seconds:.0f} s" for r in (e.train, e.evaluate, e.export))
        rows.append(
            (
                f"{e.spec.display_name}: stage times",
                f"{stages}; {e.trained.num_epochs} epochs on {where}",
            )
        )
    environment = entries[-1].export.environment
    rows += [
        ("prepare", f"{data.record.seconds:.0f} s"),
        ("Processor", f"{environment['cpu']}, {environment['num_cpus']} cores"),
        ("Source revision", str(environment["revision"])),
        (
            "Versions",
            f"python {environment['python']}, " + ", ".join(f"{k} {v}" for k, v in environment["versions"].items()),
        ),
    ]
    return Table(("", "How it was made"), tuple(rows))


def _copy_plots(folder: Path, entries: Sequence[Entry]) -> None:
    for entry in entries:
        for name in _plots(entry):
            with atomic_path(folder / PLOTS / entry.spec.name / Path(name).name) as temporary:
                shutil.copyfile(_checked_plot(entry, name), temporary)


def _checked_plot(entry: Entry, name: str) -> Path:
    """The plot's path, compared with the hash that its stage wrote."""
    record, own = (entry.evaluate, name.removeprefix("evaluation/")) if "/plots/" in name else (entry.train, name)
    return record.output(own)


def _plots(entry: Entry) -> dict[str, str]:
    """The detector's plots and what they show; the robustness plot only if there was a sweep."""
    return {name: words for name, words in _PLOTS.items() if entry.robustness or "robustness" not in name}


def _markdown(parts: _Parts, entries: Sequence[Entry], recipe_yaml: str) -> str:
    blocks = ["# fakelens report", *(f"> **{notice}**" for notice in parts.notices)]
    blocks += ["## Comparison", parts.comparison.markdown(), "\n".join(f"- {note}" for note in parts.comparison_notes)]
    blocks += ["![Accuracy against time and size of what ships](plots/tradeoff.png)"]
    for title, (words, table) in parts.judgement.items():
        blocks += [f"## {title}", words, table.markdown()]
    blocks += ["## Exported files", parts.exports.markdown()]
    for entry in entries:
        images = [
            f"![{entry.spec.display_name}: {words}](plots/{entry.spec.name}/{Path(name).name})"
            for name, words in _plots(entry).items()
        ]
        blocks += [f"## {entry.spec.display_name}", f"{entry.exported.why}.", "\n".join(images)]
    blocks += ["## Data", parts.data.markdown(), "## How it was made", parts.environment.markdown()]
    blocks += [
        "## All generators and sources",
        parts.all_groups.markdown(),
        f"## {_RECIPE}",
        f"```yaml\n{recipe_yaml}\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def _page(markdown: str, folder: Path) -> str:
    """The Markdown as one HTML page that holds its images."""
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.add_render_rule(
        "image", lambda _, tokens, i, *__: _image(folder / tokens[i].attrs["src"], tokens[i].content)
    )
    renderer.add_render_rule("table_open", lambda *_: "<div class=wide><table>")
    renderer.add_render_rule("table_close", lambda *_: "</table></div>")
    body = str(renderer.render(markdown))
    for title, words in _FOLDED.items():
        body = re.sub(
            rf"(<h2>{title}</h2>)(.*?)(?=<h2>|\Z)",
            rf"\1<details><summary>{words}</summary>\2</details>",
            body,
            flags=re.DOTALL,
        )
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(body=body)


def _image(path: Path, words: str) -> str:
    """One image, its bytes in the page."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    width = " class=full" if path.stem in _FULL_WIDTH else ""
    return f'<img{width} src="data:image/png;base64,{encoded}" alt="{html.escape(words)}">'
