"""The files of a judgement: results and scores in, `scores.csv`, `against.md`, plots and, last, `against.json` out."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fakelens.core.artifacts import read_json, sha256_json, write_json, write_text
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import PRECISION_RECALL, RELIABILITY, ROC, JudgementFolder, RunFolder
from fakelens.core.scoring import LABELS, label_of
from fakelens.core.table import Table
from fakelens.evaluation.plots import plot_precision_recall, plot_reliability, plot_roc, plot_worst_mistakes
from fakelens.judging.folder import Squares
from fakelens.judging.judge import COLUMNS, JudgeResults, SystemResults
from fakelens.judging.scores import FolderScores
from fakelens.report.tables import (
    COMPARISON_COLUMNS,
    POINT_COLUMNS,
    comparison_cells,
    point_cells,
    share_words,
    with_interval,
)

_CURVES = {ROC: plot_roc, PRECISION_RECALL: plot_precision_recall, RELIABILITY: plot_reliability}
_MISTAKES = "mistakes_{}.png"
_MAX_SLUG, _MAX_LABEL = 60, 20


def output_folder(folder: Path, output: Path | None, workdir: Path) -> JudgementFolder:
    """Where the results on `folder` go: `output`, or a place of the working folder that is no other folder's.

    Raises:
        FakelensError: when `output` holds the results of another folder, or cannot hold any. Before any work.
    """
    run, name = RunFolder(workdir), folder.resolve().name
    own_name = f"{name}-{sha256_json(str(folder.resolve()))[:8]}"
    places = [JudgementFolder(output)] if output else [run.judgement(name), run.judgement(own_name)]
    for place in places:
        if _is_judged(place.path.resolve(), folder.resolve(), anywhere=output is not None):
            raise FakelensError(
                f"{place.path} lies in the folder that is judged, where plots would count as pictures: choose another "
                "place with --output"
            )
        if any(path.exists() and not path.is_dir() for path in (place.path, *place.path.parents)):
            raise FakelensError(
                f"{place.path} cannot be a folder, a file is in the way: choose another one with --output"
            )
        if not place.record.exists() or Path(read_json(place.record)["folder"]).resolve() == folder.resolve():
            return place
    raise FakelensError(f"{places[-1].path} holds the results of another folder: choose another one with --output")


def _is_judged(place: Path, folder: Path, *, anywhere: bool) -> bool:
    """Whether pictures at `place` would be of the folder's: below one of its labels, or `anywhere` in it."""
    if not place.is_relative_to(folder):
        return False
    below = place.relative_to(folder).parts
    return anywhere or not below or label_of(below[0]) is not None


def write_results(place: JudgementFolder, results: JudgeResults, scored: FolderScores) -> Path:
    """Write everything into `place`, each file whole or not at all; returns the page's path.

    Raises:
        FakelensError: when a picture has changed since it was judged.
    """
    # The record is withdrawn first and written last, so that its presence means that all the rest belongs to it.
    place.record.unlink(missing_ok=True)
    for path in place.plots.glob(_MISTAKES.format("*")):
        path.unlink()  # of systems that may not be judged this time
    write_text(place.scores, _scores_csv(scored))
    plots = _plots(place.plots, scored)
    write_text(place.page, _markdown(results, [path.relative_to(place.path).as_posix() for path in plots]))
    write_json(place.record, results.as_json())
    return place.page


def _scores_csv(scored: FolderScores) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(system.name for system in scored.systems)])
    pictures = scored.pictures
    for index, key in enumerate(pictures.keys):
        values = [f"{system.probabilities[index]:.6f}" for system in scored.systems]
        writer.writerow([key, LABELS[pictures.labels[index]], pictures.groups[index], *values])
    return text.getvalue()


def _plots(folder: Path, scored: FolderScores) -> list[Path]:
    pictures = scored.pictures
    title = _plot_text(pictures.root.resolve().name)
    names = _different([_plot_text(system.name) for system in scored.systems])
    sets = {name: (pictures.labels, system.probabilities) for name, system in zip(names, scored.systems, strict=True)}
    written = [plot(folder / file, sets, title) for file, plot in _CURVES.items()]
    groups = [_plot_text(group) for group in pictures.groups]
    slugs = _different([_slug(system.name) for system in scored.systems])
    for slug, (name, (labels, probabilities)) in zip(slugs, sets.items(), strict=True):
        path = folder / _MISTAKES.format(slug)
        written.append(
            plot_worst_mistakes(path, Squares(pictures), labels, probabilities, groups, f"{name} on {title}")
        )
    return written


def _markdown(results: JudgeResults, plots: Sequence[str]) -> str:
    parts = [
        f"# {Path(results.folder).resolve().name}, judged by {', '.join(system.name for system in results.systems)}",
        *(f"> **WARNING: {warning}**" for warning in results.warnings),
        f"{results.num_images} pictures of `{results.folder}`, {results.num_fake} of them fake. Verdicts are at a "
        "probability of 0.5 unless said otherwise. 95 % intervals: Wilson of accuracy, recall and shares of groups, "
        "bootstrap within each label (percentiles) of the others, none where no resample differs. Expected "
        "calibration error: mean distance between probability and observed "
        "share of fakes.",
        "\n".join(f"- {words}" for words in (*map(_about, results.systems), *results.notes)),
        "## Figures", main_table(results).markdown(), results.null_words,
        "## At the thresholds chosen on validation", points_table(results).markdown(), results.null_words,
        "## Generators and origins, the weakest first", groups_table(results).markdown(), results.null_words,
    ]  # fmt: skip
    if results.pairs:
        parts += ["## Comparison of systems", pairs_table(results).markdown(), pairs_note(results), results.null_words]
    parts += ["## Plots", *(f"![{Path(plot).stem}]({plot})" for plot in plots)]
    if results.excluded:
        parts += ["## Left out", "\n".join(f"- `{picture.image}`: {picture.reason}" for picture in results.excluded)]
    if results.near_training:
        parts += [
            "## Near-duplicates of training pictures",
            "\n".join(f"- `{image}`" for image in results.near_training),
        ]
    return "\n\n".join(parts) + "\n"


def _about(system: SystemResults) -> str:
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
    different: list[str] = []
    for name in names:
        tries = (name if number == 1 else f"{name}-{number}" for number in range(1, len(names) + 1))
        different.append(next(candidate for candidate in tries if candidate not in different))
    return different


_NONE = "—"


def main_table(results: JudgeResults) -> Table:
    """Each system's figures at 0.5, and last, where that is known, what the files' metadata alone would score."""
    head = (
        "System", "n", "Accuracy (95 %)", "Balanced accuracy", "Precision", "Recall", "F1", "AUC (95 %)",
        "Expected calibration error", "False-positive rate",
    )  # fmt: skip
    rows = [_main_row(system) for system in results.systems]
    if results.null is not None:
        score = f"{results.null.random_split:.3f}"
        rows.append(("metadata alone", str(results.num_images), _NONE, score, *(_NONE,) * (len(head) - 4)))
    return Table(head, tuple(rows))


def points_table(results: JudgeResults) -> Table:
    """Operating points chosen on validation, and what each does here."""
    rows = [
        (system.name, *point_cells(point)) for system in results.systems for point in system.metrics.operating_points
    ]
    return Table(("System", *POINT_COLUMNS), tuple(rows))


def groups_table(results: JudgeResults, at_most: int | None = None) -> Table:
    """Accuracy of every system on each generator and each origin, the weakest first."""
    head = ("Label", "Generator or origin", "n", *(f"{system.name}: accuracy (95 %)" for system in results.systems))
    own = [{(group.label, group.name): group for group in system.metrics.groups} for system in results.systems]
    weakest_first = sorted(own[0], key=lambda key: (sum(groups[key].share_right for groups in own), key))
    rows = [
        (LABELS[key[0]], key[1], str(own[0][key].num_images), *(share_words(groups[key]) for groups in own))
        for key in weakest_first[:at_most]
    ]
    return Table(head, tuple(rows))


def pairs_table(results: JudgeResults) -> Table:
    """Every two systems on the same pictures; differences are first minus second."""
    rows = [
        (
            pair.first,
            pair.second,
            f"{pair.comparison.accuracy_difference:+.3f}",
            *comparison_cells(pair.comparison),
        )
        for pair in results.pairs
    ]
    return Table(("First", "Second", "Accuracy difference", *COMPARISON_COLUMNS), tuple(rows))


def pairs_note(results: JudgeResults) -> str:
    """Reading help for `pairs_table`."""
    several = f", and {len(results.pairs)} tests are made here: they are not corrected for that" * (
        len(results.pairs) > 1
    )
    return (
        "Differences are first minus second, on the same pictures. McNemar tests the verdicts at 0.5, DeLong the AUCs; "
        f"p is how often chance alone would give such a difference{several}."
    )


def _main_row(system: SystemResults) -> tuple[str, ...]:
    metrics = system.metrics
    return (
        system.name,
        str(metrics.num_images),
        with_interval(metrics, "accuracy"),
        *(f"{value:.3f}" for value in (metrics.balanced_accuracy, metrics.precision, metrics.recall, metrics.f1)),
        with_interval(metrics, "auc"),
        f"{metrics.calibration_error:.3f}",
        f"{metrics.false_positive_rate:.3f}",
    )
