"""The collection of exactly as many good images as are wanted, each label and generator at its quota."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fakelens.core.errors import FakelensError
from fakelens.core.progress import Reporter, Task
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset.choice import (
    SURPLUS,
    UNDER_BOTH_LABELS,
    Division,
    Hashes,
    Usable,
    capped,
    divided,
    division_remedy,
    hashes_of,
    picked,
    usable,
)
from fakelens.dataset.duplicates import both_labels_words
from fakelens.dataset.examine import Outcome, Picture, Work, run_here, run_on_ray
from fakelens.dataset.selection import Kind, choose_blocks, choose_rows, generator_caps
from fakelens.dataset.splits import SMALLEST
from fakelens.settings import CollectSettings
from fakelens.sources.base import Block, Row, Source

# Some are always refused. Spares out of blocks that are read anyway cost no download, so that a second round, which
# would read further blocks, is seldom needed.
_SPARE = 0.15
# Further images of each label, at least, where groups of near-duplicates cannot be divided; half of the quota if more.
_FEWEST_MORE = 32


@dataclass(frozen=True)
class Collection:
    """The images of one purpose: the splits together, or one test set."""

    pictures: tuple[Picture, ...]
    """In the order of the source's ranks."""
    refused: Counter[str]
    under_both_labels: Mapping[str, str]
    """Key of each picture that is under the other label too, and so left out -> that of a copy there."""
    splits: tuple[int, ...] = ()
    """Index into SPLITS for each picture; empty for a test set."""


class NotEnoughError(FakelensError):
    """The source cannot fill the quota."""


@dataclass(frozen=True)
class Collector:
    """Examines blocks of one purpose until its quota is met; what was examined before is not examined again."""

    name: str
    folder: Path
    settings: CollectSettings
    reporter: Reporter
    under_both_labels: Mapping[str, str] = field(default_factory=dict)
    """Pictures that the blocks lack for this reason."""

    def collect(
        self,
        blocks: Sequence[Block],
        num_images: int,
        *,
        keep_out: Hashes | None = None,
        at_most: bool = False,
        split_seed: int | None = None,
    ) -> Collection:
        """Half of `num_images` of each label.

        Args:
            blocks: what may be chosen from.
            num_images: in all, even.
            keep_out: perceptual hashes; images near one of them are refused.
            at_most: take the largest balanced number where there are fewer.
            split_seed: if given, the pictures are divided into splits.

        Raises:
            NotEnoughError: when there are fewer or they cannot be divided, saying how many there are.
        """
        asked = dict.fromkeys((REAL, FAKE), num_images // 2)
        quota = asked
        examined: list[Picture] = []
        unread, named = list(blocks), set(self.under_both_labels)
        for number in itertools.count(1):
            usable_now = self._usable(examined, keep_out)
            good, refused = usable_now.pictures, usable_now.refused
            if new := {key: copy for key, copy in usable_now.under_both_labels.items() if key not in named}:
                self.reporter.say(both_labels_words(new))
                named |= new.keys()
            available = Counter(p.kind for p in good) + Counter(row.kind for block in unread for row in block.rows)
            caps = generator_caps(available, quota, self.settings.cap_per_generator)
            there = capped(available, caps)
            most = {label: min(n, _of_label(there, label)) for label, n in asked.items()}
            is_short = most != asked and not at_most
            if is_short and (not examined or 2 * min(most.values()) < SMALLEST):
                raise NotEnoughError(_not_enough(most, asked, refused, self.settings))
            quota = asked if most == asked else dict.fromkeys(asked, min(most.values()))
            have, wanted = capped(Counter(p.kind for p in good), caps), quota
            if all(_of_label(have, label) >= n for label, n in quota.items()):
                if division := self._division(good, quota, caps, split_seed):
                    if is_short:  # and that many can be had: they have been examined
                        raise NotEnoughError(_not_enough(most, asked, refused, self.settings))
                    refused += Counter({SURPLUS: division.num_surplus})
                    return Collection(division.pictures, refused, usable_now.under_both_labels, division.splits)
                counts = Counter(p.kind for p in good)
                wanted = {label: _of_label(counts, label) + max(n // 2, _FEWEST_MORE) for label, n in quota.items()}
                caps = generator_caps(available, wanted, self.settings.cap_per_generator)
                have = capped(counts, caps)
            read = _rows_to_read(unread, wanted, caps, have)
            if not read:
                raise NotEnoughError(division_remedy(good, sum(quota.values()), self.settings.cap_per_generator))
            title = f"Preparing {self.name}" + (f", round {number} for the refused" if number > 1 else "")
            examined += self.examine(read, title, number)
            gone = {(block.rank, row.position) for block in read for row in block.rows}
            unread = rows_without(unread, gone)
        raise AssertionError("rounds end when the quota is met or the source is exhausted")

    def _division(
        self, good: Sequence[Picture], quota: dict[int, int], caps: Mapping[Kind, int], split_seed: int | None
    ) -> Division | None:
        if split_seed is None:
            return Division(picked(good, quota, caps), (), 0)
        return divided(good, quota, caps, self.settings.cap_per_generator, split_seed)

    def _usable(self, examined: Sequence[Picture], keep_out: Hashes | None) -> Usable:
        keep = self.settings.keep_reconstructions
        result = usable(examined, self.folder, keep_out=keep_out, keep_reconstructions=keep)
        missing = Counter({UNDER_BOTH_LABELS: len(self.under_both_labels)})
        return replace(
            result,
            refused=result.refused + missing,
            under_both_labels={**self.under_both_labels, **result.under_both_labels},
        )

    def examine(self, blocks: Sequence[Block], title: str, number: int = 1) -> list[Picture]:
        """All images of the blocks, one part for a block in round `number`; parts that are there are kept."""
        settings = self.settings
        works = [
            Work(f"{self.name}-{number}-{block.rank:06d}", block, self.folder, settings.stored_px, settings.min_side_px)
            for block in blocks
        ]
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


def _rows_to_read(
    unread: Sequence[Block], wanted: Mapping[int, int], caps: Mapping[Kind, int], have: Mapping[Kind, int]
) -> list[Block]:
    chosen = choose_blocks(unread, wanted, caps, have)
    missing = {label: max(0, n - _of_label(have, label)) for label, n in wanted.items()}
    spares = {label: n + int(n * _SPARE) + 1 for label, n in missing.items() if n}
    return choose_rows(chosen, spares, caps, have)


class _Progress:
    """The note of the progress bar: speed, bytes, refusals."""

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


def _of_label(counts: Mapping[Kind, int], label: int) -> int:
    return sum(n for (own, _), n in counts.items() if own == label)


def _not_enough(
    most: Mapping[int, int], quota: Mapping[int, int], refused: Counter[str], settings: CollectSettings
) -> str:
    reasons = "; ".join(f"{count} refused as {reason}" for reason, count in refused.most_common())
    remedies = [f"ask for at most --set data.num_images={2 * min(most.values())}"] if min(most.values()) > 6 else []
    if settings.source == "openfake":
        remedies.append("read more of it with --set data.num_shards=…")
    if settings.source == "folder":
        remedies.append("put more pictures into the folder")
    if refused[UNDER_BOTH_LABELS]:
        remedies.append("keep fakes made from these photographs with --set data.keep_reconstructions=true")
    if settings.cap_per_generator:
        remedies.append(f"raise data.cap_per_generator={settings.cap_per_generator}")
    has = " and ".join(f"{most[label]:,} of {quota[label]:,} {LABELS[label]} ones" for label in quota)
    remedy = ", or ".join(remedies or ["choose a source or settings that leave more"])
    return (
        f"the source cannot give that many balanced images: it has {has}{f' ({reasons})' if reasons else ''}. "
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
    """Number of images of one further test set."""

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
    """Collect each set that the source or the held-out generators can give; says which come out smaller.

    Args:
        source: brings test sets of its own.
        blocks: of the split that `main` was drawn from, held-out generators among them.
        main: the images of the splits.
        plan: what is wanted.
        parts: folder of the journal.
        settings: as for `main`.
        reporter: of the progress.
    """
    keep_out = hashes_of(main.pictures)
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
            keep_out = np.concatenate([keep_out, hashes_of(collection.pictures)])
    return sets


def rows_where(blocks: Sequence[Block], keep: Callable[[Block, Row], bool]) -> list[Block]:
    """The blocks with only the rows that `keep` wants; blocks without any are left out."""
    smaller = (replace(block, rows=tuple(row for row in block.rows if keep(block, row))) for block in blocks)
    return [block for block in smaller if block.rows]


def rows_without(blocks: Sequence[Block], gone: Container[tuple[int, int]]) -> list[Block]:
    """The blocks without the rows at these (rank of the block, position)."""
    return rows_where(blocks, lambda block, row: (block.rank, row.position) not in gone)


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
