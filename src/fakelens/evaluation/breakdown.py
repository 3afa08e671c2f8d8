"""Who is missed: scores in, recall per generator and specificity per source of photographs out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fakelens.evaluation.intervals import Interval, wilson_interval


@dataclass(frozen=True)
class GroupFigures:
    """One generator's fakes or one source's photographs."""

    label: int
    name: str
    num_images: int
    share_right: float
    """At 0.5: recall of a generator, specificity of a source."""
    interval: Interval
    """95 % interval of that share (Wilson)."""
    mean_probability: float


def by_group(
    labels: npt.NDArray[np.int64], groups: Sequence[str] | npt.NDArray[np.str_], probabilities: npt.NDArray[np.floating]
) -> tuple[GroupFigures, ...]:
    """Figures of every (label, group), the worst first within each label."""
    names = np.asarray(groups)
    found = []
    for label in (0, 1):
        for name in np.unique(names[labels == label]):
            own = probabilities[(labels == label) & (names == name)]
            hits = int(np.sum((own >= 0.5) == label))
            share = hits / len(own)
            found.append(
                GroupFigures(label, str(name), len(own), share, wilson_interval(hits, len(own)), float(own.mean()))
            )
    return tuple(sorted(found, key=lambda group: (group.label, group.share_right, -group.num_images, group.name)))
