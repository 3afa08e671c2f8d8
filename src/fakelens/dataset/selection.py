"""Which blocks to read and which of their images to take: quotas in, a balanced choice out. Pure functions.

The order of importance is label, then generator, then the number of blocks: each label's quota is exact, no
generator exceeds its cap, and within that as few blocks as possible are read (greedy maximum coverage, which reaches
at least 1 - 1/e of the optimum: Nemhauser, Wolsey & Fisher 1978).
"""

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fakelens.core.scoring import FAKE
from fakelens.sources.base import Block

# Above equal shares by this much a generator may go where no cap is given: exactly equal shares need an eighth more
# row groups (12,000 images of 80 interleaved generators out of 496 row groups: 242 instead of 214).
_SLACK = 1.5

Kind = tuple[int, str]
"""Label and generator."""


def equal_shares(available: Mapping[str, int], quota: int) -> dict[str, int]:
    """Spread `quota` over names as equally as availability allows (water-filling).

    Returns:
        How many to take of each name; the sum is min(quota, everything available). Ties go by name.
    """
    level, rest = 0, min(quota, sum(available.values()))
    shares = dict.fromkeys(sorted(available), 0)
    while rest:
        open_names = [name for name in shares if available[name] > level]
        step = min(rest // len(open_names), min(available[name] for name in open_names) - level)
        if step == 0:  # fewer left than names: one each, in order of names
            return shares | {name: level + 1 for name in open_names[:rest]}
        level, rest = level + step, rest - step * len(open_names)
        shares |= dict.fromkeys(open_names, level)
    return shares


def generator_caps(available: Mapping[Kind, int], quota: Mapping[int, int], cap: int | None) -> dict[Kind, int]:
    """Most images of each generator or origin.

    Args:
        available: what there is of each, taken or not.
        quota: images wanted of each label.
        cap: for every generator of fakes; None for `_SLACK` times the largest equal share.
    """
    caps: dict[Kind, int] = {}
    for label, wanted in quota.items():
        own = {name: count for (kind, name), count in available.items() if kind == label}
        fair = math.ceil(_SLACK * max(equal_shares(own, wanted).values(), default=0))
        # Photographs come from few origins: a cap meant for eighty generators would leave too few of them.
        caps |= dict.fromkeys(((label, name) for name in own), cap if cap is not None and label == FAKE else fair)
    return caps


def choose_blocks(
    blocks: Sequence[Block], quota: Mapping[int, int], caps: Mapping[Kind, int], taken: Mapping[Kind, int]
) -> list[Block]:
    """The fewest blocks, greedily, that bring `taken` up to `quota`; fewer images where there are no more.

    Of blocks that bring equally many, the one that helps rare generators most, then the first in the seed's order.
    """
    holds = {block.rank: Counter(row.kind for row in block.rows) for block in blocks}
    by_rank = {block.rank: block for block in blocks}
    have: Counter[Kind] = Counter(taken)
    room = {label: max(0, quota[label] - sum(n for kind, n in have.items() if kind[0] == label)) for label in quota}

    def gain(rank: int) -> tuple[int, int, int]:
        usable = {kind: min(n, caps.get(kind, 0) - have[kind]) for kind, n in holds[rank].items()}
        of_label = dict.fromkeys(quota, 0)
        for kind, n in usable.items():
            of_label[kind[0]] += max(n, 0)
        rare = sum(1 for kind, n in usable.items() if n > 0 and 2 * have[kind] < caps[kind])
        return -sum(min(of_label[label], room[label]) for label in quota), -rare, rank

    # Gains only ever shrink (the coverage is submodular), so an entry that is still best after an update is the best.
    heap = [gain(rank) for rank in holds]
    heapq.heapify(heap)
    chosen: list[Block] = []
    while heap and any(n > 0 for n in room.values()):
        rank = heap[0][2]
        now = gain(rank)
        if now[0] == 0:
            heapq.heappop(heap)
        elif now > heap[0]:
            heapq.heapreplace(heap, now)
        else:
            heapq.heappop(heap)
            chosen.append(by_rank[rank])
            for kind, n in holds[rank].items():
                used = max(0, min(n, caps.get(kind, 0) - have[kind], room.get(kind[0], 0)))
                have[kind] += used
                if used:
                    room[kind[0]] -= used
    return sorted(chosen, key=lambda block: block.rank)


def choose_rows(
    blocks: Sequence[Block], wanted: Mapping[int, int], caps: Mapping[Kind, int], taken: Mapping[Kind, int]
) -> list[Block]:
    """Keep `wanted[label]` images of the blocks, spread over generators; in the seed's order within a generator."""
    available = Counter(row.kind for block in blocks for row in block.rows)
    left: Counter[Kind] = Counter()
    for label, quota in wanted.items():
        own = {
            name: min(n, max(0, caps[kind, name] - taken.get((kind, name), 0)))
            for (kind, name), n in available.items()
            if kind == label
        }
        left.update({(label, name): n for name, n in equal_shares(own, quota).items()})
    kept = []
    for block in sorted(blocks, key=lambda b: b.rank):
        rows = []
        for row in block.rows:
            if left[row.kind] > 0:
                left[row.kind] -= 1
                rows.append(row)
        if rows:
            kept.append(replace(block, rows=tuple(rows)))
    return kept
