"""Test sets beyond the test split: what training must not have seen comes in, `ood` and `wild` come out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fakelens.core.progress import Reporter
from fakelens.core.scoring import FAKE
from fakelens.dataset.collecting import Collection, Collector, CollectSettings, Hashes
from fakelens.sources.base import Block, Row, Source


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
    found = []
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
            found.append(FurtherSet(name, description, collection))
            keep_out = np.concatenate([keep_out, _hashes(collection)])
    return found


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
