"""The prepare stage: a source in; balanced, leak-checked arrays, a manifest and an audit out."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from fakelens.core.artifacts import Stage, StageRecord, atomic_path
from fakelens.core.imaging import STORED_PX, Container, ImageRefused, ImageU8, decode, to_square
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset.audit import audit_container
from fakelens.dataset.duplicates import group_near_duplicates, perceptual_hash
from fakelens.dataset.manifest import ManifestRow, write_manifest
from fakelens.dataset.selection import Pool
from fakelens.dataset.splits import SPLITS, grouped_split, split_sizes
from fakelens.sources.base import Candidate, Source, SourceSettings
from fakelens.sources.catalogue import open_source

_VERSION = 1
_DECODE_THREADS = 2  # Pillow decodes and resizes outside the interpreter lock
_DECODES_IN_FLIGHT = 16

T = TypeVar("T")
R = TypeVar("R")


class DataSettings(SourceSettings):
    """Which images, how many, and how they are stored."""

    num_images: int = Field(12_000, ge=14)
    """Images in all, half of them fake; split 70/15/15 into train, val and test."""
    stored_px: int = Field(STORED_PX, ge=32, le=1024)
    """Short side and crop of the stored squares; training takes random crops of the input size out of them."""
    min_side_px: int = Field(128, ge=1)
    """Images with a smaller short side are refused: enlarging them leaves traces."""


@dataclass(frozen=True)
class _Decoded:
    """What one image became, or why it was refused."""

    candidate: Candidate
    square: ImageU8 | None
    container: Container | None
    sha256: str
    phash: int
    refused: str | None = None


def prepare_stage(workdir: Path, settings: DataSettings) -> Stage:
    """The stage's folder, key and record."""
    return Stage(
        "prepare",
        workdir / "data",
        version=_VERSION,
        settings=settings.model_dump(mode="json"),
        inputs=_folder_state(settings),
    )


def prepare(workdir: Path, settings: DataSettings, *, force: bool = False, reporter: Reporter = SILENT) -> StageRecord:
    """Write `data/{train,val,test}.npy` (uint8, N × S × S × 3), `data/manifest.parquet` and `data/prepare.json`.

    Raises:
        ValueError: when the source cannot give the number asked for (says how many it has), or cannot be read.
    """
    stage = prepare_stage(workdir, settings)
    if not force and (record := stage.finished()):
        return record
    split_sizes(settings.num_images)  # a wrong number is found before anything is read
    source = open_source(settings)
    stage.begin()
    pool_path = stage.folder / ".pool.npy"
    try:
        squares = np.lib.format.open_memmap(
            pool_path,
            mode="w+",
            dtype=np.uint8,
            shape=(settings.num_images, settings.stored_px, settings.stored_px, 3),
        )
        images, refused = _collect(source, settings, squares, reporter)
        rows = _assign(images, settings.seed)
        outputs = _write_splits(stage.folder, squares, rows)
        del squares
    finally:
        pool_path.unlink(missing_ok=True)
    manifest = stage.folder / "manifest.parquet"
    write_manifest(manifest, [row for row, _ in rows])
    return stage.finish([*outputs, manifest], _results(source, [row for row, _ in rows], refused, settings.seed))


def _folder_state(settings: DataSettings) -> dict[str, str]:
    """A folder source has no revision: names, sizes and times of the files that it would read stand for one."""
    if settings.source != "folder":
        return {}
    keys = sorted(candidate.key for candidate in open_source(settings).catalogue())
    root = Path(settings.path or "").expanduser()
    return {key: _file_state(root / key) for key in keys}


def _file_state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"  # a broken link, say: the source gives no bytes for it, and they are refused
    return f"{status.st_size}-{status.st_mtime_ns}"


def _collect(
    source: Source, settings: DataSettings, squares: ImageU8, reporter: Reporter
) -> tuple[list[_Decoded], Counter[str]]:
    """Draw, decode and keep images until both labels are complete; refused ones are replaced by further draws."""
    reporter.say(f"Choosing from {source.description}")
    pool = Pool(source.catalogue())
    quota = settings.num_images // 2
    kept: list[_Decoded] = []
    seen: set[str] = set()
    refused: Counter[str] = Counter()
    accepted: dict[int, Counter[str]] = {REAL: Counter(), FAKE: Counter()}
    with reporter.task("Preparing images", settings.num_images) as task:
        while wanted := {label: quota - n.total() for label, n in accepted.items() if n.total() < quota}:
            drawn = pool.draw(wanted, accepted)
            missing = {label: count - sum(c.label == label for c in drawn) for label, count in wanted.items()}
            if any(missing.values()):
                raise ValueError(_not_enough(missing, refused, settings))
            for image in _decoded(source, drawn, settings):
                reason = image.refused or ("exact_duplicate" if image.sha256 in seen else None)
                if reason or image.square is None:
                    refused[reason or "unreadable"] += 1
                    continue
                seen.add(image.sha256)
                squares[len(kept)] = image.square
                kept.append(_without_pixels(image))
                accepted[image.candidate.label][image.candidate.generator] += 1
                task.advance(1, f"{refused.total()} refused" if refused else "")
    return kept, refused


def _decoded(source: Source, drawn: Sequence[Candidate], settings: DataSettings) -> Iterator[_Decoded]:
    import hashlib

    def work(item: tuple[Candidate, bytes]) -> _Decoded:
        candidate, data = item
        digest = hashlib.sha256(data).hexdigest()
        try:
            picture, container = decode(data, short_side_px=settings.stored_px, min_side_px=settings.min_side_px)
        except ImageRefused as refusal:
            return _Decoded(candidate, None, None, digest, 0, refusal.reason)
        square = to_square(picture)
        return _Decoded(candidate, square, container, digest, perceptual_hash(square))

    return _map_in_order(work, source.fetch(drawn))


def _map_in_order(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map in threads with a bounded number in flight, results in order."""
    in_flight: deque[Future[R]] = deque()
    with ThreadPoolExecutor(_DECODE_THREADS) as pool:
        try:
            for item in items:
                in_flight.append(pool.submit(function, item))
                if len(in_flight) >= _DECODES_IN_FLIGHT:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _without_pixels(image: _Decoded) -> _Decoded:
    return _Decoded(image.candidate, None, image.container, image.sha256, image.phash)


def _not_enough(missing: dict[int, int], refused: Counter[str], settings: DataSettings) -> str:
    has = {label: settings.num_images // 2 - missing.get(label, 0) for label in (REAL, FAKE)}
    told = "; ".join(f"{count} refused as {reason}" for reason, count in refused.most_common())
    most = 2 * min(has.values())
    return (
        f"the source cannot give {settings.num_images} balanced images: it has {has[REAL]} usable photographs and "
        f"{has[FAKE]} usable fakes{f' ({told})' if told else ''}. Ask for at most --set data.num_images={most}"
        + (", or read more of it with --set data.num_shards=…" if settings.source == "openfake" else "")
    )


def _assign(images: Sequence[_Decoded], seed: int) -> list[tuple[ManifestRow, int]]:
    """Split the images; returns manifest rows in (split, row) order, each with its position in the pool."""
    groups = group_near_duplicates(np.array([image.phash for image in images], dtype=np.uint64))
    labels = np.array([image.candidate.label for image in images])
    splits = grouped_split(labels, [image.candidate.generator for image in images], groups, seed)
    order = np.random.default_rng((seed, 3)).permutation(len(images))
    rows: list[tuple[ManifestRow, int]] = []
    for number, split in enumerate(SPLITS):
        for row, position in enumerate(order[splits[order] == number]):
            rows.append((_manifest_row(images[position], split, row, int(groups[position])), int(position)))
    return rows


def _manifest_row(image: _Decoded, split: str, row: int, group: int) -> ManifestRow:
    assert image.container is not None
    candidate = image.candidate
    return ManifestRow(
        split=split, row=row, label=candidate.label, generator=candidate.generator, key=candidate.key,
        sha256=image.sha256, phash=f"{image.phash:016x}", group=group, **asdict(image.container),
    )  # fmt: skip


def _write_splits(folder: Path, squares: ImageU8, rows: Sequence[tuple[ManifestRow, int]]) -> list[Path]:
    outputs = []
    for split, members in itertools.groupby(rows, key=lambda item: item[0].split):
        positions = [position for _, position in members]
        target = folder / f"{split}.npy"
        with atomic_path(target) as temporary:
            array = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(len(positions), *squares.shape[1:])
            )
            for row, position in enumerate(positions):
                array[row] = squares[position]
            array.flush()
            del array
        outputs.append(target)
    return outputs


def _results(source: Source, rows: Sequence[ManifestRow], refused: Counter[str], seed: int) -> dict[str, Any]:
    columns = {name: [getattr(row, name) for row in rows] for name in ManifestRow.__dataclass_fields__}
    audit = audit_container(columns, seed)
    counts = Counter((row.split, LABELS[row.label]) for row in rows)
    return {
        "source": source.name,
        "description": source.description,
        "licence": source.licence,
        "revision": source.revision,
        "demo": source.is_demo,
        "num_images": len(rows),
        "splits": {split: {label: counts[split, label] for label in LABELS} for split in SPLITS},
        "generators": {
            label: dict(Counter(row.generator for row in rows if LABELS[row.label] == label).most_common())
            for label in LABELS
        },
        "refused": dict(refused.most_common()),
        "num_near_duplicates": len(rows) - len({row.group for row in rows}),
        "audit": {**asdict(audit), "sentence": audit.sentence},
    }
