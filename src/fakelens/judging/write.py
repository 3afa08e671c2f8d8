"""The files of a judgement: `scores.csv`, `against.md`, plots and, last of all, `against.json`."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fakelens.core.artifacts import read_json, sha256_json, write_json, write_text
from fakelens.core.errors import FakelensError
from fakelens.core.records import Metrics
from fakelens.core.run_folder import JUDGEMENT, RunFolder
from fakelens.core.scoring import LABELS
from fakelens.core.table import Table
from fakelens.evaluation.metrics import GroupFigures, Interval
from fakelens.evaluation.plots import plot_precision_recall, plot_reliability, plot_roc, plot_worst_mistakes
from fakelens.judging.folder import Squares
from fakelens.judging.judge import COLUMNS, Against, ScoredFolder, System

_CURVES = {"roc.png": plot_roc, "precision_recall.png": plot_precision_recall, "reliability.png": plot_reliability}


_MAX_SLUG, _MAX_LABEL = 60, 20


def place_for(folder: Path, output: Path | None, workdir: Path) -> Path:
    """Where what is found on `folder` goes: `output`, or a place of the working folder that is no other folder's.

    Raises:
        FakelensError: when `output` holds the results of another folder, or cannot hold any. Before any work.
    """
    name = folder.resolve().name
    places = (
        [output]
        if output
        else [RunFolder(workdir).judgements / name, RunFolder(workdir).judgements / f"{name}-{_place_hash(folder)}"]
    )
    for place in places:
        if any(path.exists() and not path.is_dir() for path in (place, *place.parents)):
            raise FakelensError(f"{place} cannot be a folder, a file is in the way: choose another one with --output")
        record = place / JUDGEMENT
        if not record.exists() or Path(read_json(record)["folder"]).resolve() == folder.resolve():
            return place
    raise FakelensError(f"{places[-1]} holds the results of another folder: choose another one with --output")


def _place_hash(folder: Path) -> str:
    return sha256_json(str(folder.resolve()))[:8]


def write_against(output: Path, found: Against, scored: ScoredFolder) -> Path:
    """Write everything into `output`, each file whole or not at all; returns the page's path.

    Raises:
        ValueError: when a picture has changed since it was judged.
    """
    # The record is withdrawn first and written last, so that its presence means that all the rest belongs to it.
    (output / JUDGEMENT).unlink(missing_ok=True)
    for path in (output / "plots").glob("mistakes_*.png"):
        path.unlink()  # of systems that may not be judged this time
    write_text(output / "scores.csv", _scores_csv(scored))
    plots = _plots(output / "plots", scored)
    page = output / "against.md"
    write_text(page, _markdown(found, [path.relative_to(output).as_posix() for path in plots]))
    write_json(output / JUDGEMENT, found.as_json())
    return page


def _scores_csv(scored: ScoredFolder) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(system.name for system in scored.systems)])
    pictures = scored.pictures
    for index, key in enumerate(pictures.keys):
        values = [f"{system.probabilities[index]:.6f}" for system in scored.systems]
        writer.writerow([key, LABELS[pictures.labels[index]], pictures.groups[index], *values])
    return text.getvalue()


def _plots(folder: Path, scored: ScoredFolder) -> list[Path]:
    pictures = scored.pictures
    title = _plot_text(pictures.root.resolve().name)
    names = _different([_plot_text(system.name) for system in scored.systems])
    sets = {name: (pictures.labels, system.probabilities) for name, system in zip(names, scored.systems, strict=True)}
    written = [plot(folder / file, sets, title) for file, plot in _CURVES.items()]
    groups = [_plot_text(group) for group in pictures.groups]
    slugs = _different([_slug(system.name) for system in scored.systems])
    for slug, (name, (labels, probabilities)) in zip(slugs, sets.items(), strict=True):
        path = folder / f"mistakes_{slug}.png"
        written.append(
            plot_worst_mistakes(path, Squares(pictures), labels, probabilities, groups, f"{name} on {title}")
        )
    return written


def _markdown(found: Against, plots: Sequence[str]) -> str:
    parts = [
        f"# {Path(found.folder).resolve().name}, judged by {', '.join(system.name for system in found.systems)}",
        *(f"> **WARNING: {warning}**" for warning in found.warnings),
        f"{found.num_images} pictures of `{found.folder}`, {found.num_fake} of them fake. Verdicts are at a "
        "probability of 0.5 unless said otherwise. 95 % intervals: bootstrap within each label (percentiles), "
        "Wilson for shares of groups. Calibration error: mean distance between stated probability and observed share.",
        "\n".join(f"- {words}" for words in (*map(_about, found.systems), *found.notes)),
        "## Figures", main_table(found).markdown(), found.null_words,
        "## At the thresholds chosen on validation", points_table(found).markdown(), found.null_words,
        "## Generators and origins, the weakest first", groups_table(found).markdown(), found.null_words,
    ]  # fmt: skip
    if found.pairs:
        parts += ["## Which system is better?", pairs_table(found).markdown(), pairs_note(found), found.null_words]
    parts += ["## Plots", *(f"![{Path(plot).stem}]({plot})" for plot in plots)]
    if found.refused:
        parts += ["## Left out", "\n".join(f"- `{refused.image}`: {refused.reason}" for refused in found.refused)]
    if found.near_training:
        parts += ["## Near-duplicates of training pictures", "\n".join(f"- `{image}`" for image in found.near_training)]
    return "\n\n".join(parts) + "\n"


def _about(system: System) -> str:
    given = "scores as they were given" if system.temperature is None else f"temperature {system.temperature:.3g}"
    return f"{system.name}: `{system.origin}`, {given}"


def _slug(name: str) -> str:
    """A part of a file name that every file system takes."""
    return re.sub(r"[^a-z0-9.-]+", "_", name.lower())[-_MAX_SLUG:]


def _plot_text(text: str) -> str:
    """A name short enough for a plot; matplotlib reads $ as mathematics and hides a label that starts with _."""
    short = text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL // 2]}…{text[-_MAX_LABEL // 2 :]}"
    return re.sub(r"^_", " _", short.replace("$", r"\$"))


def _different(names: Sequence[str]) -> list[str]:
    """The names, numbered where two have become the same."""
    found: list[str] = []
    for name in names:
        tries = (name if number == 1 else f"{name}-{number}" for number in range(1, len(names) + 1))
        found.append(next(candidate for candidate in tries if candidate not in found))
    return found


_NONE = "—"


def main_table(found: Against) -> Table:
    """Each system's figures at 0.5, and what the files' metadata alone would score in the last row."""
    head = (
        "System", "n", "Accuracy (95 %)", "Balanced accuracy", "Precision", "Recall", "F1", "AUC (95 %)",
        "Calibration error", "False positives",
    )  # fmt: skip
    score = _NONE if found.null is None else f"{found.null.random_split:.3f}"
    null = ("metadata alone", str(found.num_images), _NONE, score, *(_NONE,) * (len(head) - 4))
    return Table(head, (*(_main_row(system) for system in found.systems), null))


def points_table(found: Against) -> Table:
    """What each system's thresholds, chosen on validation, do here."""
    head = (
        "System", "Thresholds chosen for", "Lower threshold", "Upper threshold", "False-positive rate", "Recall",
        "Gets a verdict", "Of those wrong",
    )  # fmt: skip
    rows = [
        (
            system.name, _wanted(point.false_positive_rate_on_validation),
            f"{point.threshold_real:.3f}", f"{point.threshold_fake:.3f}", f"{point.false_positive_rate:.3f}",
            f"{point.recall:.3f}", f"{point.abstaining.coverage:.3f}", f"{point.abstaining.risk:.3f}",
        )
        for system in found.systems
        for point in system.metrics.operating_points
    ]  # fmt: skip
    return Table(head, tuple(rows))


def groups_table(found: Against, at_most: int | None = None) -> Table:
    """Share of each generator's and each origin's pictures that every system judges rightly, the weakest first."""
    head = ("Label", "Generator or origin", "n", *(f"{system.name}: right (95 %)" for system in found.systems))
    own = [{(group.label, group.name): group for group in system.metrics.groups} for system in found.systems]
    weakest_first = sorted(own[0], key=lambda key: (sum(groups[key].share_right for groups in own), key))
    rows = [
        (LABELS[key[0]], key[1], str(own[0][key].num_images), *(_share(groups[key]) for groups in own))
        for key in weakest_first[:at_most]
    ]
    return Table(head, tuple(rows))


def pairs_table(found: Against) -> Table:
    """Every two systems on the same pictures; differences are first minus second."""
    head = (
        "First", "Second", "Accuracy difference", "Only first right", "Only second right", "McNemar p",
        "AUC difference (95 %)", "DeLong p",
    )  # fmt: skip
    rows = [
        (
            pair.first, pair.second, f"{c.accuracy_difference:+.3f}", str(c.only_first_right),
            str(c.only_second_right), _p(c.mcnemar_p),
            f"{c.auc_difference:+.3f} ({c.auc_interval[0]:+.3f} to {c.auc_interval[1]:+.3f})", _p(c.delong_p),
        )
        for pair, c in ((pair, pair.comparison) for pair in found.pairs)
    ]  # fmt: skip
    return Table(head, tuple(rows))


def pairs_note(found: Against) -> str:
    """How to read `pairs_table`."""
    several = f", and {len(found.pairs)} tests are made here: they are not corrected for that" * (len(found.pairs) > 1)
    return (
        "Differences are first minus second, on the same pictures. McNemar tests the verdicts at 0.5, DeLong the AUCs; "
        f"p is how often chance alone would give such a difference{several}."
    )


def _main_row(system: System) -> tuple[str, ...]:
    metrics, intervals = system.metrics, system.metrics.intervals
    return (
        system.name,
        str(metrics.num_images),
        _with(metrics.accuracy, intervals["accuracy"]),
        *(f"{value:.3f}" for value in (metrics.balanced_accuracy, metrics.precision, metrics.recall, metrics.f1)),
        _with(metrics.auc, intervals["auc"]),
        f"{metrics.calibration_error:.3f}",
        f"{_false_positive_rate(metrics):.3f}",
    )


def _false_positive_rate(metrics: Metrics) -> float:
    right, wrong = metrics.confusion_matrix[0]
    return wrong / (right + wrong)


def _share(group: GroupFigures) -> str:
    return _with(group.share_right, group.interval)


def _with(value: float, interval: Interval) -> str:
    return f"{value:.3f} ({interval[0]:.3f}–{interval[1]:.3f})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _wanted(rate: float | None) -> str:
    return "0.5" if rate is None else f"{100 * rate:g} % false alarms"
