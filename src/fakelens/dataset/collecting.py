"""The collection of exactly as many good images as are wanted, each label and generator at its quota."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError
from fakelens.core.progress import Reporter, Task
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset.both_labels import doubles, thumbnail
from fakelens.dataset.duplicates import group_near_duplicates, near_any
from fakelens.dataset.examine import Outcome, Picture, Work, run_here, run_on_ray
from fakelens.dataset.selection import Kind, choose_blocks, choose_rows, equal_shares, generator_caps
from fakelens.settings import CollectSettings
from fakelens.sources.base import Block, Row, Source

# Some are always refused. Spares out of blocks that are read anyway cost no download, so that a second round, which
# would read further blocks, is seldom needed.
_SPARE = 0.15


Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Collection:
    """The images of one purpose: the splits together, or one test set."""

    pictures: tuple[Picture, ...]
    """In the order of the source's ranks."""
    refused: Counter[str]
    under_both_labels: tuple[str, ...] = ()
    """Keys of the images that stood under both labels, and of their near-duplicates: all of them are refused."""


class NotEnoughError(FakelensError):
    """The source cannot fill the quota."""


@dataclass(frozen=True)
class Collector:
    """Examines blocks of one purpose until its quota is met; what was examined before is not examined again."""

    name: str
    folder: Path
    settings: CollectSettings
    reporter: Reporter

    def collect(
        self,
        blocks: Sequence[Block],
        num_images: int,
        *,
        keep_out: Hashes | None = None,
        at_most: bool = False,
        examine_all: bool = False,
        all_there_is: bool = False,
    ) -> Collection:
        """Half of `num_images` of each label.

        Args:
            blocks: what may be chosen from.
            num_images: in all, even.
            keep_out: perceptual hashes; images near one of them are refused.
            at_most: take the largest balanced number where there are fewer.
            examine_all: look at everything before choosing, so that no copy under the other label goes unseen.
            all_there_is: then examine all that is left, and return every good image, `num_images` at least.

        Raises:
            NotEnoughError: when there are fewer, saying how many there are.
        """
        quota = dict.fromkeys((REAL, FAKE), num_images // 2)
        examined: list[Picture] = []
        unread = list(blocks)
        if examine_all:
            examined, unread = self._examine(unread, 0), []
        for number in itertools.count(1):
            good, refused, under_both = _usable(examined, keep_out, self.folder)
            available = Counter(p.kind for p in good) + Counter((r.label, r.generator) for b in unread for r in b.rows)
            caps = generator_caps(available, quota, self.settings.cap_per_generator)
            quota = self._possible(quota, _capped(available, caps), refused, at_most)
            have = _capped(Counter(p.kind for p in good), caps)
            if all(_of_label(have, label) >= wanted for label, wanted in quota.items()):
                if not all_there_is:
                    return Collection(_picked(good, quota, caps), refused, under_both)
                if not unread:
                    return Collection(tuple(good), refused, under_both)
                examined += self._examine(unread, number)
                unread = []
                continue
            chosen = choose_blocks(unread, quota, caps, have)
            missing = {label: max(0, wanted - _of_label(have, label)) for label, wanted in quota.items()}
            spares = {label: n + int(n * _SPARE) + 1 for label, n in missing.items() if n}
            read = choose_rows(chosen, spares, caps, have)
            examined += self._examine(read, number)
            gone = {(block.rank, row.position) for block in read for row in block.rows}
            left = (replace(b, rows=tuple(r for r in b.rows if (b.rank, r.position) not in gone)) for b in unread)
            unread = [block for block in left if block.rows]
        raise AssertionError("rounds end when the quota is met or the source is exhausted")

    def _possible(
        self, quota: dict[int, int], available: Mapping[Kind, int], refused: Counter[str], at_most: bool
    ) -> dict[int, int]:
        most = {label: min(wanted, _of_label(available, label)) for label, wanted in quota.items()}
        if at_most or most == quota:
            return dict.fromkeys(quota, min(most.values()))
        raise NotEnoughError(_not_enough(most, quota, refused, self.settings))

    def _examine(self, blocks: Sequence[Block], number: int) -> list[Picture]:
        settings = self.settings
        works = [
            Work(f"{self.name}-{number}-{block.rank:06d}", block, self.folder, settings.stored_px, settings.min_side_px)
            for block in blocks
        ]
        title = f"Preparing {self.name}" + (f", round {number} for the refused" if number > 1 else "")
        with self.reporter.task(title, sum(len(block.rows) for block in blocks)) as task:
            progress = _Progress(task)
            done = {work.name: pictures for work in works if (pictures := work.done()) is not None}
            for pictures in done.values():
                progress.update(pictures)
            left = [work for work in works if work.name not in done]
            for outcome in self._run(left):
                done[outcome.pictures[0].part] = outcome.pictures
                progress.update(outcome.pictures, outcome.num_bytes)
        return [picture for work in works for picture in done[work.name]]

    def _run(self, works: Sequence[Work]) -> Iterator[Outcome]:
        settings = self.settings
        if settings.engine == "ray":
            return run_on_ray(works, settings.num_workers)
        return run_here(works, settings.num_workers, settings.blocks_in_flight)


class _Progress:
    """What the bar says beside its length: speed, bytes, refusals."""

    def __init__(self, task: Task) -> None:
        self._task, self._started_s = task, time.monotonic()
        self._num_new = self._num_bytes = self._num_refused = 0

    def update(self, pictures: Sequence[Picture], num_bytes: int | None = None) -> None:
        """Some more; `num_bytes` is None for those that were there from before."""
        self._num_refused += sum(picture.refused is not None for picture in pictures)
        if num_bytes is not None:
            self._num_new += len(pictures)
            self._num_bytes += num_bytes
        speed = self._num_new / max(time.monotonic() - self._started_s, 1e-3)
        note = f"{speed:.0f} images/s, {self._num_bytes / 1e6:,.0f} MB"
        self._task.advance(len(pictures), note + (f", {self._num_refused} refused" if self._num_refused else ""))


def _usable(
    examined: Sequence[Picture], keep_out: Hashes | None, folder: Path
) -> tuple[list[Picture], Counter[str], tuple[str, ...]]:
    """The images that may be taken, in the source's order; the others counted by reason; keys under both labels."""
    good, refused, seen = list[Picture](), Counter[str](), set[str]()
    contradicted = _under_both_labels([picture for picture in examined if not picture.refused], folder)
    for picture in sorted(examined, key=lambda picture: (picture.block, picture.position)):
        reason = picture.refused or ("exact_duplicate" if picture.sha256 in seen else None)
        if picture.key in contradicted:
            reason = "under_both_labels"
        if reason:
            refused[reason] += 1
        else:
            seen.add(picture.sha256)
            good.append(picture)
    under_both = tuple(sorted(contradicted))
    if keep_out is None:
        return good, refused, under_both
    near = near_any(np.array([picture.phash for picture in good], dtype=np.uint64), keep_out)
    if num_near := int(near.sum()):
        refused["near_duplicate_of_other_sets"] += num_near
    return [picture for picture, is_near in zip(good, near, strict=True) if not is_near], refused, under_both


def _under_both_labels(pictures: Sequence[Picture], folder: Path) -> set[str]:
    """Keys of the pictures that are found under the other label too: one of the labels is wrong, and which?"""
    groups = group_near_duplicates(np.array([picture.phash for picture in pictures], dtype=np.uint64)).tolist()
    labels = Counter(group for group, _ in {(g, picture.label) for picture, g in zip(pictures, groups, strict=True)})
    suspects = [picture for picture, group in zip(pictures, groups, strict=True) if labels[group] > 1]
    if not suspects:
        return set()
    squares = (np.load(folder / f"{picture.part}.npy", mmap_mode="r")[picture.slot] for picture in suspects)
    double_of = doubles(
        np.array([picture.phash for picture in suspects], dtype=np.uint64),
        np.stack([thumbnail(np.asarray(square)) for square in squares]),
        np.array([picture.label for picture in suspects]),
    )
    return {suspects[position].key for position in double_of}


def _picked(good: Sequence[Picture], quota: Mapping[int, int], caps: Mapping[Kind, int]) -> tuple[Picture, ...]:
    """Exactly the quota, generators as equal as they can be, the first in the source's order."""
    capped = _capped(Counter(picture.kind for picture in good), caps)
    left: Counter[Kind] = Counter()
    for label, wanted in quota.items():
        shares = equal_shares({name: n for (kind, name), n in capped.items() if kind == label}, wanted)
        left.update({(label, name): n for name, n in shares.items()})
    picked = []
    for picture in good:
        if left[picture.kind] > 0:
            left[picture.kind] -= 1
            picked.append(picture)
    return tuple(picked)


def _capped(counts: Mapping[Kind, int], caps: Mapping[Kind, int]) -> Counter[Kind]:
    return Counter({kind: min(n, caps[kind]) for kind, n in counts.items()})


def _of_label(counts: Mapping[Kind, int], label: int) -> int:
    return sum(n for (own, _), n in counts.items() if own == label)


def _not_enough(
    most: Mapping[int, int], quota: Mapping[int, int], refused: Counter[str], settings: CollectSettings
) -> str:
    told = "; ".join(f"{count} refused as {reason}" for reason, count in refused.most_common())
    remedies = [f"ask for at most --set data.num_images={2 * min(most.values())}"] if min(most.values()) > 6 else []
    if settings.source == "openfake":
        remedies.append("read more of it with --set data.num_shards=…")
    if settings.cap_per_generator:
        remedies.append(f"raise data.cap_per_generator={settings.cap_per_generator}")
    has = " and ".join(f"{most[label]:,} of {quota[label]:,} {LABELS[label]} ones" for label in quota)
    remedy = ", or ".join(remedies or ["choose a source or settings that leave more"])
    return (
        f"the source cannot give that many balanced images: it has {has}{f' ({told})' if told else ''}. "
        f"{remedy[0].upper()}{remedy[1:]}"
    )


@dataclass(frozen=True)
class FurtherSet:
    """One further test set, balanced, without near-duplicates of the splits and of the sets before it."""

    name: str
    description: str
    collection: Collection


@dataclass(frozen=True)
class FurtherSetPlan:
    """How many images of which further test set."""

    num_images: dict[str, int]
    """Name -> at most this many."""
    held_out_generators: tuple[str, ...]
    """If there are any, `ood` is made of these and of photographs that the splits do not use."""


def further_sets(
    source: Source,
    blocks: Sequence[Block],
    main: Collection,
    plan: FurtherSetPlan,
    parts: Path,
    settings: CollectSettings,
    reporter: Reporter,
) -> list[FurtherSet]:
    """Collect each set that the source or the held-out generators can give; says which cannot be had.

    Args:
        source: brings test sets of its own.
        blocks: of the split that `main` was drawn from, held-out generators among them.
        main: the images of the splits.
        plan: what is wanted.
        parts: folder of the journal.
        settings: as for `main`.
        reporter: is told which sets come out smaller.
    """
    keep_out = _hashes(main)
    sets = []
    for name, description, choice in _choices(source, blocks, main, plan, settings, reporter):
        wanted = plan.num_images.get(name, 0)
        if wanted < 2:
            continue
        collector = Collector(name, parts, settings, reporter)
        collection = collector.collect(choice(), wanted, keep_out=keep_out, at_most=True)
        count = len(collection.pictures)
        if count < wanted:
            reporter.say(f"{name}: {count:,} balanced images, the source has no more of them (asked for {wanted:,})")
        if count:
            sets.append(FurtherSet(name, description, collection))
            keep_out = np.concatenate([keep_out, _hashes(collection)])
    return sets


def rows_where(blocks: Sequence[Block], keep: Callable[[Block, Row], bool]) -> list[Block]:
    """The blocks with only the rows that `keep` wants; blocks without any are left out."""
    smaller = (replace(block, rows=tuple(row for row in block.rows if keep(block, row))) for block in blocks)
    return [block for block in smaller if block.rows]


def _choices(
    source: Source,
    blocks: Sequence[Block],
    main: Collection,
    plan: FurtherSetPlan,
    settings: CollectSettings,
    reporter: Reporter,
) -> Iterator[tuple[str, str, Callable[[], list[Block]]]]:
    """Name, description and candidates of each set; candidates are looked up only when they are wanted."""
    if held_out := set(plan.held_out_generators):
        used = {(picture.block, picture.position) for picture in main.pictures}

        def unseen(block: Block, row: Row) -> bool:
            return row.generator in held_out if row.label == FAKE else (block.rank, row.position) not in used

        names = ", ".join(sorted(held_out))
        yield "ood", f"{names}, held out of training, and photographs", lambda: rows_where(blocks, unseen)
    for name, own in source.test_sets().items():
        if name == "ood" and held_out:
            continue

        def candidates(own: Source = own) -> list[Block]:
            return rows_where(own.catalogue(reporter), lambda _, row: row.generator not in settings.exclude_generators)

        yield name, own.description, candidates


def _hashes(collection: Collection) -> Hashes:
    return np.array([picture.phash for picture in collection.pictures], dtype=np.uint64)
