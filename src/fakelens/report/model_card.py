"""Model card of one detector (Mitchell et al. 2019, arXiv 1810.03993) as Markdown that the hub reads, and its gist."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from fakelens.config import to_commented_yaml
from fakelens.core.records import Metrics
from fakelens.core.scoring import percent
from fakelens.core.table import Table, plain
from fakelens.dataset.splits import TEST
from fakelens.dataset.store import PreparedData
from fakelens.report.records import Entry
from fakelens.report.tables import (
    SMALLEST_GROUP,
    data_table,
    groups_table,
    robustness_table,
    sets_table,
    thresholds_table,
)

_SET_WORDS = {
    "test": "pictures from the sources it was trained on",
    "ood": "generators and photographs from sources it was not trained on",
    "wild": "pictures collected from the web",
}
_USE = """\
**For:** a first, statistical opinion on whether a whole picture came out of an image generator, beside other evidence:
moderation queues, teaching, research.

**Not for:** accusing anybody, deciding automatically against a person, proving that a photograph is genuine, finding
edited regions, faces swapped in videos, or pictures that a person drew."""

_NUM_WORST = 3
_LIMITS = (
    "It sees the central square of a picture, shrunk to {input_px} px: what is outside, and finer detail, is lost.",
    "Generators that appeared after its training data were collected may go unnoticed: see the unseen ones below.",
    "Verdicts change with recompression, resizing and screenshots by as much as the robustness table says.",
    "The stated probability holds for a half-and-half mixture; where fakes are rare, most alarms are false alarms.",
    "Intervals say how sure a figure is on these pictures; they do not cover other pictures or another training run.",
)


def model_card(entry: Entry, data: PreparedData) -> str:
    """Model card: use, data, training, figures on every test set, thresholds, weak spots, robustness and limits."""
    parts = [
        f"# Model card: {entry.spec.display_name}",
        "> **A demonstration, trained on synthetic pictures: its verdicts on real pictures mean nothing.**"
        if data.is_demo
        else "",
        "\n".join(f"- {plain(sentence)}" for sentence in gist(entry, data)),
        f"## Use\n\n{_USE}",
        f"## Model\n\n{_model_table(entry).markdown()}",
        f"## Data\n\n{data_table(data).markdown()}",
        "## Figures\n\nOf the checkpoint; verdicts at 0.5; in brackets 95 % intervals: Wilson's of accuracy, bootstrap "
        f"of AUC, none where it is 1.\n\n{sets_table([entry]).markdown_of_one()}",
        f"## Thresholds\n\nChosen on validation photographs alone.\n\n{thresholds_table([entry]).markdown_of_one()}",
        f"## Weakest generators and sources\n\n{groups_table([entry], weakest=5).markdown_of_one()}",
        f"## Robustness\n\n{_robustness(entry)}",
        "## Limits",
        "\n".join(f"- {limit.format(input_px=entry.choice.settings.input_px)}" for limit in _LIMITS),
        f"## Training settings\n\n```yaml\n{to_commented_yaml(entry.choice.settings)}\n```",
        f"## All generators and sources\n\n{groups_table([entry]).markdown_of_one()}",
    ]
    return hub_header([entry], data) + "\n\n".join(part for part in parts if part) + "\n"


def gist(entry: Entry, data: PreparedData) -> tuple[str, ...]:
    """Gist of the card: a few sentences for a page that has little room."""
    # The test split was judged by the file that ships, the other sets by the checkpoint that it was made of.
    blocks: dict[str, Metrics] = {**entry.metrics, TEST: entry.shipped.metrics}
    sentences = [_set_sentence(name, block) for name, block in blocks.items()]
    null = data.results.audit.random_split
    sentences.append(f"For comparison, a classifier of the original files' metadata alone scores {percent(null, 0)}.")
    missed = [group for block in entry.metrics.values() for group in block.groups if group.num_images >= SMALLEST_GROUP]
    for label, words in ((1, "It most often misses"), (0, "It most often accuses")):
        worst = sorted((g for g in missed if g.label == label), key=lambda g: g.share_right)[:_NUM_WORST]
        num_wrong = {g.name: round((1 - g.share_right) * g.num_images) for g in worst}
        wrong = [f"{g.name} ({num_wrong[g.name]} of {g.num_images})" for g in worst if num_wrong[g.name]]
        if wrong:
            sentences.append(f"{words}: {', '.join(wrong)}.")
    if entry.robustness:
        step = max(entry.robustness, key=lambda step: step.flips)
        sentences.append(
            f"What changes verdicts most, of the degradations that were tried, is {step.family}, {step.label}: "
            f"{round(step.flips * step.num_images)} of {step.num_images} pictures get another one, and it then finds "
            f"{percent(step.recall)} of the AI-generated ones and accuses {percent(step.false_positive_rate)} of the "
            "photographs."
        )
    return tuple(sentences)


def point_gist(entry: Entry) -> tuple[str, ...]:
    """Each operating point's figures on the test split, a sentence each, in their order."""
    return tuple(
        f"With these two lines the detector, before it was made into the file that ships, called "
        f"{percent(point.false_positive_rate)} of the photographs among {entry.test.num_images:,} test pictures "
        f"AI-generated, found {percent(point.recall)} of the AI-generated ones, and left "
        f"{percent(1 - point.abstaining.coverage)} of all uncertain."
        for point in entry.test.operating_points
    )


def _set_sentence(name: str, block: Metrics) -> str:
    when = "On" if name == TEST else "Before it was made into the file that ships, on"
    return (
        f"{when} {block.num_images:,} {_SET_WORDS.get(name, f'pictures of the set {name}')}: it judges "
        f"{percent(block.accuracy)} correctly, finds {percent(block.recall)} of the AI-generated pictures and calls "
        f"{percent(block.false_positive_rate)} of the photographs AI-generated."
    )


def _model_table(entry: Entry) -> Table:
    trained, shipped, spec = entry.trained, entry.shipped, entry.spec
    px = entry.choice.settings.input_px
    start = f"{entry.start} (licence {spec.licence})" if trained.pretrained else entry.start
    rows = (
        ("What it is", entry.summary),
        ("Parameters", f"{trained.num_parameters:,}"),
        ("Started from", start),
        ("Trained", f"{trained.num_epochs} epochs, {trained.training_seconds:.0f} s on {trained.device}"),
        ("Input", f"float32 RGB in [0, 1], N×3×{px}×{px}, named `image`"),
        ("Output", "calibrated probability of being AI-generated, (N,), named `probability`"),
        ("Temperature", f"{entry.temperature:.3f}, fitted on validation pictures, inside the file"),
        ("Ships as", f"{shipped.name}, {shipped.size_bytes / 1e6:.2f} MB, {shipped.latency_ms:.1f} ms"),
        ("After export", f"{percent(shipped.agreement, 1)} same verdicts, AUC {0.0 - shipped.auc_drop:+.4f}"),
        ("Source revision", str(entry.train.environment.revision)),
    )  # fmt: skip
    return Table(("", "Model"), rows)


def _robustness(entry: Entry) -> str:
    if not entry.robustness:
        return "Not measured in this run."
    count = entry.robustness[0].num_images
    return (
        f"{count} test pictures, half of them fake. The last column is the one-class control: the share of photographs "
        f"called AI-generated when they alone are degraded.\n\n{robustness_table([entry]).markdown_of_one()}"
    )


_TASK = "image-classification"
# By the hub's names for them.
_METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "f1", "roc_auc": "auc"}
_DIGITS = 4
_KNOWN_LICENCE = re.compile(r"CC0-1\.0\b|CC-BY(-NC)?(-SA|-ND)?-[1-4]\.0\b", re.IGNORECASE)
# Of a repository with the Docker SDK, a Space: the port is the one that the bundle's Dockerfile serves.
SPACE = {"title": "fakelens", "sdk": "docker", "app_port": 7860}


def hub_header(entries: Sequence[Entry], data: PreparedData, **more: Any) -> str:
    """The header of a card of these detectors and the empty line behind it; `more` are further keys, which come first.

    The figures are those of the files that ship.
    """
    from_hub = data.settings.source == "openfake"
    values = {
        **more,
        **_licence(data.results.licence),
        "library_name": "fakelens",
        "pipeline_tag": _TASK,
        "tags": ["onnx", "ai-generated-image-detection"],
        **({"datasets": [data.settings.repository]} if from_hub else {}),
        "metrics": list(_METRICS),
        "model-index": [{"name": entry.spec.name, "results": [_result(entry, data)]} for entry in entries],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)}---\n\n"


def _licence(sentence: str) -> dict[str, str]:
    """The hub's identifier of the licence of the data, which the detectors are passed on under."""
    known = _KNOWN_LICENCE.match(sentence)
    return {"license": known[0].lower()} if known else {"license": "other", "license_name": sentence}


def _result(entry: Entry, data: PreparedData) -> dict[str, Any]:
    settings, figures = data.settings, entry.shipped.metrics
    dataset = {"type": data.results.source, "name": data.results.description, "split": "test"}
    if settings.source == "openfake":
        dataset |= {"type": settings.repository, "config": settings.config, "revision": str(data.results.revision)}
    metrics = [{"type": kind, "value": round(getattr(figures, name), _DIGITS)} for kind, name in _METRICS.items()]
    return {"task": {"type": _TASK, "name": "real or AI-generated"}, "dataset": dataset, "metrics": metrics}
