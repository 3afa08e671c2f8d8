"""Named sets: a labelled folder and a name in, every detector's figures on it, kept up to date for the report, out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from fakelens.core.artifacts import load_record, sha256_file, sha256_json, write_json
from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.run_folder import RunFolder
from fakelens.dataset.splits import SPLITS
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import DetectorSpec
from fakelens.judging.folder import LabelledFolder
from fakelens.judging.judge import judge_folder
from fakelens.report.records import NamedSet, NamedSetFigures, read_named_set, read_named_sets
from fakelens.settings import EvaluationSettings

_RESERVED = (*SPLITS, "ood", "wild")


def check_set_name(workdir: Path, name: str) -> None:
    """Refuse a name that cannot be a set's, before any work.

    Raises:
        FakelensError: when it is one of the run's own sets or cannot name a file, or there is no run.
    """
    run = RunFolder(workdir)
    is_run = run.prepare_record.is_file()
    own = {*_RESERVED, *(PreparedData(run.data).results.test_sets if is_run else ())}
    if name in own or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
        raise FakelensError(
            f"--set-name {name}: take a name of small letters, digits, - and _ that is none of {', '.join(sorted(own))}"
        )
    if not is_run:
        raise FakelensError(
            f"--set-name {name}: {workdir} is not a run whose report would show it, name one (--workdir)"
        )
    read_named_sets(workdir)  # a damaged one would be found when all is judged


def keep_set(workdir: Path, name: str, folder: Path, label_values: Mapping[str, str]) -> Path:
    """Keep a labelled folder under a name; returns its record's path. Another folder of that name is replaced."""
    path = RunFolder(workdir).named_set(name)
    known = read_named_set(path) if path.is_file() else None
    new = NamedSet(name, str(folder.resolve()), label_values=dict(label_values))
    if known is None or (known.folder, known.label_values) != (new.folder, new.label_values):
        write_json(path, asdict(new))
    return path


def judge_named_sets(
    workdir: Path,
    detectors: Sequence[DetectorSpec],
    *,
    settings: EvaluationSettings,
    seed: int,
    reporter: Reporter = SILENT,
) -> None:
    """Judge each named set by the detectors' checkpoints, where these or the pictures are others than last time.

    Raises:
        FakelensError: naming the remedy, when a set's folder is gone or cannot be judged.
    """
    run, sets = RunFolder(workdir), read_named_sets(workdir)
    if not sets:
        return
    digests = {spec.name: load_record(run.detector(spec.name).evaluate_record).digest for spec in detectors}
    for named in sets:
        pictures = _hash_of(named, run.named_set(named.name))
        current = {name: figures.evaluation for name, figures in named.figures.items()}
        if pictures == named.pictures and digests.items() <= current.items():
            continue
        models = [run.detector(name).best for name in digests]
        results, _ = judge_folder(
            Path(named.folder), models, [], workdir=workdir, settings=settings, seed=seed,
            label_values=named.label_values, reporter=reporter,
        )  # fmt: skip
        figures = {
            name: NamedSetFigures(digest, system.metrics)
            for (name, digest), system in zip(digests.items(), results.systems, strict=True)
        }
        left_out = tuple(f"{picture.image}: {picture.reason}" for picture in results.excluded)
        for words in left_out:
            reporter.say(f"{named.name}: left out {words}")
        judged = replace(named, pictures=pictures, warnings=results.warnings, left_out=left_out, figures=figures)
        write_json(run.named_set(named.name), asdict(judged))


def _hash_of(named: NamedSet, record: Path) -> str:
    root = Path(named.folder)
    if not root.is_dir():
        raise FakelensError(
            f"the pictures of the set {named.name} are gone from {root}: put them back, judge them where they are now "
            f"with --set-name {named.name}, or delete {record} to leave the set out"
        )
    return sha256_json({key: sha256_file(root / key) for key in LabelledFolder.open(root, named.label_values).keys})
