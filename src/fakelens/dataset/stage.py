"""The prepare stage: a source in; balanced, leak-checked arrays, further test sets, a manifest and an audit out."""

import difflib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.artifacts import Stage, StageRecord, differences, read_json, write_json
from fakelens.core.errors import FakelensError
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.records import ByLabel
from fakelens.core.run_folder import MANIFEST, PARTS, SPOOL, RunFolder, array_file
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset.audit import audit_container, audit_pixels
from fakelens.dataset.choice import SURPLUS, hashes_of, usable
from fakelens.dataset.collecting import (
    Collection,
    Collector,
    FurtherSet,
    FurtherSetPlan,
    further_sets,
    rows_where,
    rows_without,
)
from fakelens.dataset.duplicates import both_labels_words, group_near_duplicates
from fakelens.dataset.examine import Picture
from fakelens.dataset.splits import SPLITS, TRAIN, split_sizes
from fakelens.dataset.store import ManifestRow, PrepareResults, TestSetResults, columns_of, write_arrays, write_manifest
from fakelens.settings import DataSettings
from fakelens.sources import open_source
from fakelens.sources.base import Block, Row, Source

_VERSION = 4

# Parts and arrays are both there before the parts are removed; spares come on top.
_DISK_SHARE = 2.2
# Pictures are compared at this size: their hash looks at 32 pixels, and files decode fastest.
_COMPARED_PX = 64


def prepare_stage(workdir: Path, settings: DataSettings) -> Stage:
    """The stage's folder, key and record."""
    return Stage(
        "prepare",
        RunFolder(workdir).data,
        version=_VERSION,
        settings=settings.decisive(),
        inputs=_folder_state(settings),
    )


def prepare(workdir: Path, settings: DataSettings, *, force: bool = False, reporter: Reporter = SILENT) -> StageRecord:
    """Write `data/{train,val,test[,ood,wild]}.npy` (uint8, N × S × S × 3), `manifest.parquet` and `prepare.json`.

    Killed at any moment, a second call goes on from the parts that are whole, and ends with the same bytes.

    Raises:
        FakelensError: when the source cannot give the number asked for (says how many it has) or cannot be read.
        OSError: when the disk is full; a later call goes on.
    """
    stage = prepare_stage(workdir, settings)
    parts = stage.folder / PARTS
    if not force and (record := stage.finished()):
        shutil.rmtree(parts, ignore_errors=True)  # a kill may have come between the record and this
        return record
    split_sizes(settings.num_images)  # a wrong number is found before anything is read
    source = open_source(settings)
    reporter.say(f"Choosing from {source.description}")
    blocks = _eligible(source.catalogue(reporter), settings)
    if changes := stage.changes():
        reporter.say(f"prepare: {', '.join(changes)}; the images in {stage.folder} will be replaced")
    if force:
        stage.begin()
    identity = {"key": stage.key, "revision": source.revision, "settings": stage.settings}
    _open_journal(parts, identity, force=force, reporter=reporter)
    plan = _plan(source, settings)
    _check_disk(stage.folder, settings.num_images + sum(plan.num_images.values()), settings.stored_px)
    blocks, double_of = _without_doubles(blocks, parts, settings, reporter)
    own = rows_where(blocks, lambda _, row: row.generator not in settings.held_out_generators)
    main = Collector("images", parts, settings, reporter, double_of).collect(
        own, settings.num_images, split_seed=settings.seed
    )
    if num_surplus := main.refused[SURPLUS]:
        reporter.say(
            f"{num_surplus:,} near-duplicates are left out: each group of them, such as frames of one video, stays "
            "within one split, and the sizes of the splits are exact"
        )
    further = further_sets(source, blocks, main, plan, parts, settings, reporter)
    rows = _assign(main, further, settings.seed)
    stage.begin()  # without `force` only now: until here an older result stays as it was
    outputs = write_arrays(stage.folder, parts, rows, settings.stored_px)
    for older in set(stage.folder.glob(array_file("*"))) - set(outputs):
        older.unlink()  # a test set that is no longer asked for
    manifest = stage.folder / MANIFEST
    write_manifest(manifest, [row for row, _ in rows])
    reporter.say("Auditing what gives the label away without any content")
    results = _results(source, stage.folder, [row for row, _ in rows], main, further, settings.seed)
    record = stage.finish([*outputs, manifest], asdict(results))
    shutil.rmtree(parts)
    return record


def _folder_state(settings: DataSettings) -> dict[str, str]:
    """A folder source has no revision: names, sizes and times of the files that it would read stand for one."""
    if settings.source != "folder":
        return {}
    keys = sorted(block.reader.key(row.position) for block in open_source(settings).catalogue() for row in block.rows)
    root = Path(settings.path or "").expanduser()
    return {key: _file_state(root / key) for key in keys}


def _file_state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"  # a broken link, say: the source gives no bytes for it, and they are refused
    return f"{status.st_size}-{status.st_mtime_ns}"


def _eligible(blocks: Sequence[Block], settings: DataSettings) -> list[Block]:
    """The blocks that the settings allow.

    Raises:
        FakelensError: when a generator to include or to hold out is not among the source's.
    """
    names = {row.generator for block in blocks for row in block.rows if row.label == FAKE}
    for key in ("include_generators", "held_out_generators"):
        for name in set(getattr(settings, key)) - names:
            near = difflib.get_close_matches(name, names, n=3) or sorted(names)
            raise FakelensError(
                f"data.{key}: there is no generator {name!r} in this choice; there are {', '.join(near)}"
            )
    included = {*settings.include_generators, *settings.held_out_generators} if settings.include_generators else names

    def eligible(_: Block, row: Row) -> bool:
        return row.generator not in settings.exclude_generators and (row.label != FAKE or row.generator in included)

    return rows_where(blocks, eligible)


def _without_doubles(
    blocks: list[Block], parts: Path, settings: DataSettings, reporter: Reporter
) -> tuple[list[Block], Mapping[str, str]]:
    """The blocks without pictures that lie under both labels, and these, each with a copy of it.

    In a folder, which people sorted, all pictures are compared. Of a hub's, which would have to be downloaded, the
    examined ones are (`choice.usable`).
    """
    if settings.source != "folder":
        return blocks, {}
    small = settings.model_copy(update={"stored_px": _COMPARED_PX, "min_side_px": 1})
    examined = Collector("labels", parts, small, reporter).examine(blocks, "Comparing both labels")
    double_of = usable(examined, parts, keep_reconstructions=settings.keep_reconstructions).under_both_labels
    if double_of:
        reporter.say(both_labels_words(double_of))
    gone = {(picture.block, picture.position) for picture in examined if picture.key in double_of}
    return rows_without(blocks, gone), double_of


def _open_journal(parts: Path, identity: dict[str, Any], *, force: bool, reporter: Reporter) -> None:
    """Keep the parts of an interrupted call if they answer to the same settings and revision.

    Those of other settings are moved beside, where a call with them finds them again; those of another revision are
    dropped.
    """
    path = parts / "journal.json"
    if path.exists() and (left := read_json(path))["key"] != identity["key"]:
        place = _beside(parts, left)
        changes = ", ".join(differences(left.get("settings", {}), identity["settings"])) or "another version"
        reporter.say(
            f"prepare: {changes}; what an interrupted call has read is kept in {place} and taken up again with the "
            "former settings"
        )
        shutil.rmtree(place, ignore_errors=True)
        parts.rename(place)
    if not parts.exists() and _beside(parts, identity).exists():
        _beside(parts, identity).rename(parts)
    left = read_json(path) if path.exists() else None
    if left and left["revision"] != identity["revision"]:
        reporter.say(f"prepare: the source has another revision, {identity['revision']}: everything is read again")
    if force or left != identity:
        shutil.rmtree(parts, ignore_errors=True)
        write_json(path, identity)
    for spool in parts.glob(f"*{SPOOL}"):
        shutil.rmtree(spool)
    for temporary in (*parts.glob(".*.tmp"), *parts.parent.glob(".*.tmp")):
        temporary.unlink()


def _beside(parts: Path, identity: Mapping[str, Any]) -> Path:
    return parts.with_name(f"{parts.name}-{identity['key'][:12]}")


def _plan(source: Source, settings: DataSettings) -> FurtherSetPlan:
    there = {*source.test_sets(), *(("ood",) if settings.held_out_generators else ())}
    wanted = {"ood": settings.num_ood_images, "wild": settings.num_wild_images}
    return FurtherSetPlan({name: n for name, n in wanted.items() if name in there}, settings.held_out_generators)


def _check_disk(folder: Path, num_images: int, stored_px: int) -> None:
    needed = int(num_images * stored_px**2 * 3 * _DISK_SHARE)
    there = sum(path.stat().st_size for path in (folder / PARTS).glob(array_file("*")))
    free = shutil.disk_usage(folder).free
    if free + there < needed:
        raise FakelensError(
            f"preparing {num_images:,} images needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are "
            "free: make room, or choose another disk with --workdir"
        )


def _assign(main: Collection, further: Sequence[FurtherSet], seed: int) -> list[tuple[ManifestRow, Picture]]:
    """Manifest rows with their pictures, in (split, row) order: the splits' first, then the further test sets'."""
    images = [*main.pictures, *(picture for test_set in further for picture in test_set.collection.pictures)]
    groups = group_near_duplicates(hashes_of(images))
    num = len(main.pictures)
    splits = np.array(main.splits)
    order = np.random.default_rng((seed, 3)).permutation(num)
    members = {split: order[splits[order] == number] for number, split in enumerate(SPLITS)}
    for test_set in further:
        members[test_set.name] = np.arange(num, num := num + len(test_set.collection.pictures))
    return [
        (_manifest_row(images[position], split, row, int(groups[position])), images[position])
        for split, positions in members.items()
        for row, position in enumerate(positions)
    ]


def _manifest_row(image: Picture, split: str, row: int, group: int) -> ManifestRow:
    assert image.container is not None
    return ManifestRow(
        split=split, row=row, label=image.label, generator=image.generator, key=image.key,
        sha256=image.sha256, phash=f"{image.phash:016x}", group=group, **asdict(image.container),
    )  # fmt: skip


def _results(
    source: Source,
    folder: Path,
    rows: Sequence[ManifestRow],
    main: Collection,
    further: Sequence[FurtherSet],
    seed: int,
) -> PrepareResults:
    own = [row for row in rows if row.split in SPLITS]
    in_training = [row for row in own if row.split == TRAIN]
    squares = np.load(folder / array_file(TRAIN), mmap_mode="r")
    after = (audit for audit in audit_pixels(squares, columns_of(in_training), seed) if audit)
    counts = Counter((row.split, LABELS[row.label]) for row in rows)
    seen = {row.generator for row in own}
    return PrepareResults(
        source=source.name,
        description=source.description,
        licence=source.licence,
        revision=source.revision,
        demo=source.is_demo,
        num_images=len(own),
        splits={split: ByLabel(*(counts[split, label] for label in LABELS)) for split in SPLITS},
        test_sets={
            test_set.name: TestSetResults(
                description=test_set.description,
                num_images=len(test_set.collection.pictures),
                generators=_generators(test_set.collection),
                generators_also_in_training=tuple(
                    sorted(seen & {picture.generator for picture in test_set.collection.pictures})
                ),
                refused=dict(test_set.collection.refused.most_common()),
            )
            for test_set in further
        },
        generators=_generators(main),
        refused=dict(main.refused.most_common()),
        under_both_labels=dict(sorted(main.under_both_labels.items())),
        num_near_duplicates=len(own) - len({row.group for row in own}),
        audit=audit_container(columns_of(own), seed),
        audit_after_preparation={audit.evidence: audit for audit in after},
    )


def _generators(collection: Collection) -> ByLabel[dict[str, int]]:
    counts = (Counter(p.generator for p in collection.pictures if p.label == label) for label in (REAL, FAKE))
    return ByLabel(*(dict(count.most_common()) for count in counts))
