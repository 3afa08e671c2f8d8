"""What the file container alone gives away: formats, sizes and byte counts in, a balanced accuracy out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

WARN_ABOVE = 0.60
_MAX_FOLDS = 5


@dataclass(frozen=True)
class Audit:
    """Balanced accuracy of a decision tree that never sees a pixel; 0.5 is chance."""

    random_split: float
    grouped_by_source: float | None
    """The same with whole generators and origins held out; None where a label has only one of them."""
    num_images: int

    @property
    def sentence(self) -> str:
        """For a newcomer: what the figure means."""
        grouped = self.grouped_by_source
        unseen = "" if grouped is None else f"; {grouped:.2f} on sources it has not seen"
        return (
            f"File format, size and byte count of the original files alone tell fakes from photographs with "
            f"{self.random_split:.2f} balanced accuracy (0.50 is chance{unseen}; n={self.num_images}). "
            "A detector is only worth something beyond this figure."
        )


def audit_container(columns: Mapping[str, Sequence[Any]], seed: int = 0) -> Audit:
    """Cross-validate a small tree on the original container's metadata.

    Args:
        columns: of the manifest: format, width_px, height_px, num_bytes, label, generator.
        seed: of the folds and the tree.
    """
    from sklearn.model_selection import StratifiedKFold

    labels = np.asarray(columns["label"])
    features = container_features(columns)
    folds = max(2, min(_MAX_FOLDS, int(np.bincount(labels, minlength=2).min())))
    random_folds = StratifiedKFold(folds, shuffle=True, random_state=seed)
    source_folds = _source_folds(labels, columns["generator"], seed)
    grouped = _balanced_accuracy(features, labels, source_folds, seed) if source_folds else None
    return Audit(
        random_split=_balanced_accuracy(features, labels, list(random_folds.split(features, labels)), seed),
        grouped_by_source=grouped,
        num_images=len(labels),
    )


def container_features(columns: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.float64]:
    """One row per image: one-hot format, width, height, short side, aspect ratio, bytes per pixel."""
    formats = np.asarray(columns["format"])
    width = np.asarray(columns["width_px"], dtype=float)
    height = np.asarray(columns["height_px"], dtype=float)
    size = np.asarray(columns["num_bytes"], dtype=float)
    one_hot = [(formats == name).astype(float) for name in sorted(set(columns["format"]))]
    return np.column_stack(
        [*one_hot, width, height, np.minimum(width, height), width / height, size / (width * height)]
    )


def _source_folds(labels: npt.NDArray[np.int64], generators: Sequence[str], seed: int) -> list[tuple[Any, Any]]:
    """(train, test) indices that hold out whole generators and origins; none where a label has only one.

    Each label's sources are dealt out on their own: a fold with all photographs would leave a tree to learn from
    fakes alone.
    """
    names = np.asarray(generators)
    sources = [np.unique(names[labels == label]) for label in (0, 1)]
    num_folds = min(_MAX_FOLDS, *map(len, sources))
    if num_folds < 2:
        return []
    rng = np.random.default_rng(seed)
    fold_of = np.empty(len(labels), dtype=np.int64)
    for label, own in enumerate(sources):
        for position, name in enumerate(rng.permutation(own)):
            fold_of[(labels == label) & (names == name)] = position % num_folds
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(num_folds)]


def _balanced_accuracy(features: Any, labels: Any, folds: list[tuple[Any, Any]], seed: int) -> float:
    """Mean recall of both classes, over all held-out folds together."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    predicted, truth = [], []
    for train, test in folds:
        tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, class_weight="balanced", random_state=seed)
        predicted.append(tree.fit(features[train], labels[train]).predict(features[test]))
        truth.append(labels[test])
    return round(float(balanced_accuracy_score(np.concatenate(truth), np.concatenate(predicted))), 4)
