"""Which candidates to draw: candidates and quotas in, a balanced choice out. Pure, decided by its inputs alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from fakelens.sources.base import Candidate


def water_fill(available: Mapping[str, int], taken: Mapping[str, int], quota: int) -> dict[str, int]:
    """Spread `quota` over names so that taken + given is as equal as availability allows.

    Returns:
        How many to give to each name; the sum is min(quota, everything available). Ties go by name.
    """
    given = dict.fromkeys(sorted(available), 0)
    open_names = [name for name in given if available[name] > 0]
    for _ in range(quota):
        if not open_names:
            break
        name = min(open_names, key=lambda n: (taken.get(n, 0) + given[n], n))
        given[name] += 1
        if given[name] == available[name]:
            open_names.remove(name)
    return given


class Pool:
    """The candidates not drawn yet; each draw is balanced over generators, counting what was accepted before."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._left: dict[int, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
        for candidate in sorted(candidates, reverse=True):  # so that pop() gives the cheapest block first
            self._left[candidate.label][candidate.generator].append(candidate)

    def num_left(self, label: int) -> int:
        """How many candidates of this label were not drawn yet."""
        return sum(len(candidates) for candidates in self._left[label].values())

    def draw(self, wanted: Mapping[int, int], accepted: Mapping[int, Counter[str]]) -> list[Candidate]:
        """Draw `wanted[label]` candidates of each label (fewer where the pool runs dry), in reading order."""
        drawn: list[Candidate] = []
        for label, quota in wanted.items():
            left = self._left[label]
            given = water_fill({name: len(rows) for name, rows in left.items()}, accepted[label], quota)
            drawn += [left[name].pop() for name, count in given.items() for _ in range(count)]
        return sorted(drawn)
