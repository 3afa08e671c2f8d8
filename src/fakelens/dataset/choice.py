"""The choice among examined pictures: which may be taken, and as many of them as are wanted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.core.run_folder import array_file
from fakelens.core.scoring import FAKE
from fakelens.dataset.duplicates import doubles, group_near_duplicates, near_any, same_bytes, thumbnail
from fakelens.dataset.examine import Picture
from fakelens.dataset.selection import Kind, equal_shares
from fakelens.dataset.splits import LEFT_OUT, Ints, by_name, grouped_split, largest_division, split_with_surplus, spread

UNDER_BOTH_LABELS = "under_both_labels"
SURPLUS = "surplus_of_near_duplicates"
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Usable:
    """The examined pictures that may be taken, and why the others may not."""

    pictures: tuple[Picture, ...]
    """In the order of the source's ranks."""
    refused: Counter[str]
    under_both_labels: Mapping[str, str]
    """Key of each picture that is found under the other label too -> that of a copy there; both are refused."""


@dataclass(frozen=True)
class Division:
    """Chosen pictures and their splits."""

    pictures: tuple[Picture, ...]
    splits: tuple[int, ...]
    """Index into SPLITS for each picture."""
    num_surplus: int
    """Pictures left out because the split that holds their near-duplicates is full."""


def usable(
    examined: Sequence[Picture], parts: Path, *, keep_out: Hashes | None = None, keep_reconstructions: bool = False
) -> Usable:
    """Leave out what was refused, lies under both labels, comes twice or is near a picture of another set.

    Args:
        examined: in any order.
        parts: folder with the squares of these.
        keep_out: perceptual hashes; pictures near one of them are refused.
        keep_reconstructions: of pictures under both labels refuse those of the same bytes alone.
    """
    ordered = sorted(examined, key=lambda picture: (picture.block, picture.position))
    decoded = [picture for picture in ordered if picture.refused is None]
    double_of = _doubles(decoded, parts, keep_reconstructions=keep_reconstructions)
    refused = Counter(picture.refused for picture in ordered if picture.refused)
    seen, good = set[str](), list[Picture]()
    for position, picture in enumerate(decoded):
        if position in double_of:
            refused[UNDER_BOTH_LABELS] += 1
        elif picture.sha256 in seen:
            refused["exact_duplicate"] += 1
        else:
            seen.add(picture.sha256)
            good.append(picture)
    if keep_out is not None:
        near = near_any(hashes_of(good), keep_out)
        refused += Counter(near_duplicate_of_other_sets=int(near.sum()))
        good = [picture for picture, is_near in zip(good, near, strict=True) if not is_near]
    names = {decoded[position].key: decoded[other].key for position, other in double_of.items()}
    return Usable(tuple(good), refused, names)


def hashes_of(pictures: Sequence[Picture]) -> Hashes:
    """Their perceptual hashes, (N,)."""
    return np.array([picture.phash for picture in pictures], dtype=np.uint64)


def picked(good: Sequence[Picture], quota: Mapping[int, int], caps: Mapping[Kind, int]) -> tuple[Picture, ...]:
    """Exactly the quota, generators as equal as they can be, the first in the source's order."""
    available = capped(Counter(picture.kind for picture in good), caps)
    left: Counter[Kind] = Counter()
    for label, wanted in quota.items():
        shares = equal_shares({name: n for (kind, name), n in available.items() if kind == label}, wanted)
        left.update({(label, name): n for name, n in shares.items()})
    chosen = []
    for picture in good:
        if left[picture.kind] > 0:
            left[picture.kind] -= 1
            chosen.append(picture)
    return tuple(chosen)


def capped(counts: Mapping[Kind, int], caps: Mapping[Kind, int]) -> Counter[Kind]:
    """The counts, none above its cap."""
    return Counter({kind: min(n, caps[kind]) for kind, n in counts.items()})


def divided(
    good: Sequence[Picture], quota: Mapping[int, int], caps: Mapping[Kind, int], cap: int | None, seed: int
) -> Division | None:
    """As many pictures as the quota in splits of exact sizes, no near-duplicates in two of them.

    If `picked` ones cannot be divided, others are chosen: groups stay whole until their split is full, and what they
    have beyond it is left out.

    Args:
        good: what may be chosen from.
        quota: of each label.
        caps: most of each generator for `picked`, of which those by default only save downloads.
        cap: most of each generator of fakes in any case.
        seed: decides the split.

    Returns:
        None where the groups of near-duplicates are too large and too few.
    """
    chosen = picked(good, quota, caps)
    splits = grouped_split(*_columns(chosen), seed)
    if splits is not None:
        return Division(chosen, tuple(splits.tolist()), 0)
    candidates = within_cap(good, cap)
    labels, generators, groups = _columns(candidates)
    splits = split_with_surplus(labels, generators, groups, sum(quota.values()), seed)
    if splits is None:
        return None
    kept = splits != LEFT_OUT
    return Division(
        tuple(picture for picture, is_kept in zip(candidates, kept, strict=True) if is_kept),
        tuple(splits[kept].tolist()),
        int(np.isin(groups[~kept], groups[kept]).sum()),
    )


def within_cap(good: Sequence[Picture], cap: int | None) -> tuple[Picture, ...]:
    """At most `cap` fakes of each generator, from its groups of near-duplicates alike."""
    if cap is None:
        return tuple(good)
    labels, generators, groups = _columns(good)
    fakes = by_name(np.flatnonzero(labels == FAKE), generators)
    kept = {position for own in fakes.values() for position in spread(own, generators, groups, min(cap, len(own)))}
    return tuple(p for position, p in enumerate(good) if p.label != FAKE or position in kept)


def division_remedy(good: Sequence[Picture], num_images: int, cap: int | None) -> str:
    """The reason why `num_images` of the pictures cannot be divided, and how many can."""
    labels, _, groups = _columns(within_cap(good, cap))
    sizes = np.unique(groups, return_counts=True)[1]
    largest = largest_division(labels, groups, num_images)
    remedy = (
        f"Ask for at most --set data.num_images={largest}, or add other pictures"
        if largest
        else "Each of the three splits needs groups of its own with pictures of both labels: add other pictures"
    )
    return (
        f"{num_images:,} images cannot be divided into splits of exact sizes without near-duplicates in two of them: "
        f"the {len(groups):,} usable ones are {len(sizes):,} different pictures or groups of near-duplicates, such as "
        f"frames of one video, the largest of {sizes.max():,}. {remedy}"
    )


def _columns(pictures: Sequence[Picture]) -> tuple[Ints, list[str], Ints]:
    """Labels, generators and groups of near-duplicates."""
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    groups = group_near_duplicates(hashes_of(pictures))
    return labels, [picture.generator for picture in pictures], groups


def _doubles(decoded: Sequence[Picture], parts: Path, *, keep_reconstructions: bool) -> dict[int, int]:
    labels = [picture.label for picture in decoded]
    if keep_reconstructions:
        return same_bytes([picture.sha256 for picture in decoded], labels)

    def thumbnail_of(position: int) -> npt.NDArray[np.uint8]:
        picture = decoded[position]
        return thumbnail(np.load(parts / array_file(picture.part), mmap_mode="r")[picture.slot])

    return doubles(hashes_of(decoded), np.array(labels, dtype=np.int64), thumbnail_of)
