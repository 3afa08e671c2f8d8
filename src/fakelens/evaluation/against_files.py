"""What was found on a folder as files: `scores.csv`, `against.md`, plots, and last of all `against.json`."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fakelens.core.artifacts import read_json, sha256_json, write_json, write_text
from fakelens.core.errors import FakelensError
from fakelens.core.scoring import LABELS
from fakelens.evaluation.against import COLUMNS, Against, System
from fakelens.evaluation.against_tables import groups_table, main_table, pairs_note, pairs_table, points_table
from fakelens.evaluation.curves import plot_precision_recall, plot_reliability, plot_roc
from fakelens.evaluation.labelled_folder import Squares
from fakelens.evaluation.plots import plot_worst_mistakes
from fakelens.evaluation.scored_folder import ScoredFolder

_CURVES = {"roc.png": plot_roc, "precision_recall.png": plot_precision_recall, "reliability.png": plot_reliability}
_MAX_SLUG, _MAX_LABEL = 60, 20


def place_for(folder: Path, output: Path | None, workdir: Path) -> Path:
    """Where what is found on `folder` goes: `output`, or a place of the working folder that is no other folder's.

    Raises:
        FakelensError: when `output` holds the results of another folder, or cannot hold any. Before any work.
    """
    name = folder.resolve().name
    places = [output] if output else [workdir / "against" / name, workdir / "against" / f"{name}-{_place_hash(folder)}"]
    for place in places:
        if any(path.exists() and not path.is_dir() for path in (place, *place.parents)):
            raise FakelensError(f"{place} cannot be a folder, a file is in the way: choose another one with --output")
        record = place / "against.json"
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
    (output / "against.json").unlink(missing_ok=True)
    for path in (output / "plots").glob("mistakes_*.png"):
        path.unlink()  # of systems that may not be judged this time
    write_text(output / "scores.csv", _scores_csv(scored))
    plots = _plots(output / "plots", scored)
    page = output / "against.md"
    write_text(page, _markdown(found, [path.relative_to(output).as_posix() for path in plots]))
    write_json(output / "against.json", found.as_json())
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
