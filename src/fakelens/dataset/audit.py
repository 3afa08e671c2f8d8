"""Audit of label leaks: how well fakes are told from photographs without content, before and after preparation.

A detector learns such a shortcut before it learns anything else (Grommelt et al. 2024, arXiv 2403.17608).
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import ImageU8

WARN_ABOVE = 0.60
# Of the original files it is expected that much is given away (0.94 on OpenFake); all of it is not.
_WARN_CONTAINER_ABOVE = 0.99
Evidence = Literal["container", "pixels", "format"]
_MAX_FOLDS = 5
MAX_SQUARES = 1500
# With fewer files of either kind the noise of a balanced accuracy alone, 0.035 at 100 of each, comes near the limit.
_MIN_PER_FORMAT = 100
_BLOCK_PX = 8
# Coefficients of an 8-pixel DCT, from coarse to what JPEG throws away first.
_BANDS = ((1, 3), (3, 5), (5, 8))
_SENTENCES: dict[Evidence, str] = {
    "container": (
        "File format, size, byte count and quantisation tables of the original files alone tell fakes from photographs "
        "with {figures}. A detector is only worth something beyond this figure."
    ),
    "pixels": (
        "After preparation, fine-grain statistics of the stored pixels that know nothing of shapes or content "
        "(compression blocks, sharpness, flat areas) tell fakes from photographs with {figures}. Not all of it is "
        "leakage: generators draw fine detail differently."
    ),
    "format": (
        "After preparation, the stored pixels still tell whether a picture's original file was a JPEG or not with "
        "{figures}, among pictures of one label and of sources that have both. That says nothing about being fake, so "
        "it should be near 0.50."
    ),
}
_REMEDIES: dict[Evidence, str] = {
    "container": (
        "Metadata give the label away completely, and whatever of it comes through preparation teaches a detector "
        "nothing about pictures: choose photographs and fakes of the same formats, sizes and qualities."
    ),
    "pixels": (
        "Detectors can score this without looking at what pictures show: judge them on sources that they have not "
        "seen, and choose photographs and fakes of alike origin and quality."
    ),
    "format": (
        "Detectors can still see the original compression: choose both labels with the same mixture of file formats, "
        "or keep recompression in training (`train.augmentation`) strong."
    ),
}


@dataclass(frozen=True)
class Audit:
    """Balanced accuracy of a small decision tree that sees no content; 0.5 is chance."""

    evidence: Evidence
    """What the tree was given and asked: the label from the container or the pixels, or the format from the pixels."""
    random_split: float
    grouped_by_source: float | None
    """The same with whole generators and origins held out; None where a label has only one of them."""
    num_images: int

    @property
    def sentence(self) -> str:
        """For a newcomer: what the figure means."""
        grouped = self.grouped_by_source
        unseen = "" if grouped is None else f"; {grouped:.2f} on sources it has not seen"
        figures = f"{self.random_split:.2f} balanced accuracy (0.50 is chance{unseen}; n={self.num_images})"
        return _SENTENCES[self.evidence].format(figures=figures)

    @property
    def warning(self) -> str | None:
        """A remedy, where the files give everything away or more than `WARN_ABOVE` is left after preparation."""
        limit = _WARN_CONTAINER_ABOVE if self.evidence == "container" else WARN_ABOVE
        return f"{self.sentence} {_REMEDIES[self.evidence]}" if self.random_split > limit else None


def audit_container(columns: Mapping[str, Sequence[Any]], seed: int = 0) -> Audit:
    """Cross-validate a small tree on the original container's metadata.

    Args:
        columns: of the manifest: those of `container_features`, label, generator.
        seed: of the folds and the tree.
    """
    labels = np.asarray(columns["label"])
    source_folds = _source_folds(labels, columns["generator"], seed)
    return _audit("container", container_features(columns), labels, source_folds, seed)


def audit_pixels(squares: ImageU8, columns: Mapping[str, Sequence[Any]], seed: int = 0) -> tuple[Audit, Audit | None]:
    """The same for what preparation left, on a sample of at most 1,500 pictures: the label and the original format.

    What pixels say of the label mixes leakage with what generators really do to fine detail. What they say of the
    format within one label is leakage alone; None where no label has enough JPEG and other files of the same sources.

    Args:
        squares: (N, S, S, 3) uint8, S at least 16; a memory-map is read at the sampled rows only.
        columns: of the manifest, in the same order: label, generator, format.
        seed: of the sample, the folds and the tree.
    """
    rng = np.random.default_rng((seed, 8))
    rows = np.sort(rng.permutation(len(squares))[:MAX_SQUARES])
    labels, generators, formats = (np.asarray(columns[name])[rows] for name in ("label", "generator", "format"))
    with ThreadPoolExecutor() as threads:
        features = np.stack(list(threads.map(lambda row: pixel_features(squares[row]), rows)))
    label = _audit("pixels", features, labels, _source_folds(labels, generators, seed), seed)
    members = _of_both_formats(labels, generators, formats)
    if members is None:
        return label, None
    is_jpeg = (formats[members] == "JPEG").astype(np.int64)
    folds = _group_folds(is_jpeg, generators[members], seed)
    return label, _audit("format", features[members], is_jpeg, folds, seed)


def container_features(columns: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.float64]:
    """One row per image: one-hot format, width, height, short side, aspect ratio, bytes per pixel, quantisation."""
    formats = np.asarray(columns["format"])
    names = ("width_px", "height_px", "num_bytes", "luma_quantisation", "chroma_quantisation")
    width, height, size, luma, chroma = (np.asarray(columns[name], dtype=float) for name in names)
    one_hot = [(formats == name).astype(float) for name in sorted(set(columns["format"]))]
    shape = [width, height, np.minimum(width, height), width / height, size / (width * height)]
    return np.column_stack([*one_hot, *shape, luma, chroma])


def pixel_features(square: ImageU8) -> npt.NDArray[np.float64]:
    """Traces of compression in an (S, S, 3) picture: (21,), seven for luma, then seven for each chroma channel.

    Log energy of 8-pixel DCTs along both axes in three bands from coarse to fine; second differences across 8-pixel
    boundaries over all of them (blockiness, after Wang, Sheikh & Bovik, ICIP 2002); strength and frequency of their
    strongest period, which finds a block grid that resizing has stretched (Wang, Bovik & Evans, ICIP 2000); the share
    of them that is zero.
    """
    planes = np.asarray(Image.fromarray(square).convert("YCbCr")).transpose(2, 0, 1).astype(np.int16, order="C")
    # The second copy makes columns out of rows; half of the lines give the same statistics in half of the time.
    both = np.stack([planes, planes.swapaxes(1, 2)])[:, :, ::2]
    bends = np.abs(np.diff(both, n=2))
    profiles = bends.sum(axis=2, dtype=np.int32) / bends.shape[2]
    # Two second differences lie across the boundary between pixels 7 and 8: those that start at 6 and at 7.
    at_boundaries = np.isin(np.arange(profiles.shape[2]) % _BLOCK_PX, (_BLOCK_PX - 2, _BLOCK_PX - 1))
    blockiness = np.log((profiles[..., at_boundaries].mean(axis=(0, 2)) + 1e-3) / (profiles.mean(axis=(0, 2)) + 1e-3))
    flat = 1 - np.count_nonzero(bends, axis=(0, 2, 3)) / bends[:, 0].size
    return np.column_stack([_band_energies(both[:, :, ::2]), blockiness, *_period(profiles), flat]).ravel()


def _band_energies(both: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """(2, 3, L, S), L lines of S pixels, to (3, 3): log of the mean squared DCT coefficient of each band."""
    side = both.shape[3] // _BLOCK_PX * _BLOCK_PX
    index = np.arange(_BLOCK_PX)
    dct = np.cos((2 * index + 1) * index[:, None] * np.pi / (2 * _BLOCK_PX)) / 2
    rows = both[..., :side].astype(np.float32).reshape(2, 3, -1, _BLOCK_PX)
    energies = ((rows @ dct.T.astype(np.float32)) ** 2).mean(axis=(0, 2))
    return np.log(np.column_stack([energies[:, first:last].mean(axis=1) for first, last in _BANDS]) + 1e-3)


def _period(profiles: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(2, 3, S - 2) second differences by position to twice (3,): log strength over the median, cycles per pixel."""
    centred = profiles - profiles.mean(axis=2, keepdims=True)
    power = (np.abs(np.fft.rfft(centred)) ** 2).sum(axis=0)
    first = power.shape[1] // 8  # longer periods than 16 pixels are content
    strength = np.log((power[:, first:].max(axis=1) + 1e-9) / (np.median(power[:, first:], axis=1) + 1e-9))
    return strength, (power[:, first:].argmax(axis=1) + first) / profiles.shape[2]


def _of_both_formats(labels: Any, generators: Any, formats: Any) -> npt.NDArray[np.int64] | None:
    """Rows of one label whose sources have JPEG and other files, of the label with more of the rarer kind.

    Of one label and such sources: otherwise a tree could tell the format by telling the generator.
    """
    is_jpeg = formats == "JPEG"
    best, most = None, _MIN_PER_FORMAT - 1
    for label in (0, 1):
        mixed = set(generators[(labels == label) & is_jpeg]) & set(generators[(labels == label) & ~is_jpeg])
        rows = np.flatnonzero((labels == label) & np.isin(generators, list(mixed)))
        rarer = min(is_jpeg[rows].sum(), (~is_jpeg[rows]).sum())
        if rarer > most:
            best, most = rows, rarer
    return best


def _audit(
    evidence: Evidence,
    features: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    source_folds: list[tuple[Any, Any]],
    seed: int,
) -> Audit:
    from sklearn.model_selection import StratifiedKFold

    num_folds = max(2, min(_MAX_FOLDS, int(np.bincount(truth, minlength=2).min())))
    random_folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed).split(features, truth)
    return Audit(
        evidence=evidence,
        random_split=_balanced_accuracy(features, truth, list(random_folds), seed),
        grouped_by_source=_balanced_accuracy(features, truth, source_folds, seed) if source_folds else None,
        num_images=len(truth),
    )


def _group_folds(truth: npt.NDArray[np.int64], generators: Any, seed: int) -> list[tuple[Any, Any]]:
    """(train, test) indices that hold out whole sources, each of which has both answers; none where there is one."""
    from sklearn.model_selection import StratifiedGroupKFold

    num_folds = min(_MAX_FOLDS, len(set(generators)))
    if num_folds < 2:
        return []
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    return list(folds.split(truth, truth, generators))


def _source_folds(labels: npt.NDArray[np.int64], generators: npt.ArrayLike, seed: int) -> list[tuple[Any, Any]]:
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


def _balanced_accuracy(features: Any, truth: Any, folds: list[tuple[Any, Any]], seed: int) -> float:
    """Mean recall of both answers, over all held-out folds together."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    predicted, held_out = [], []
    for train, test in folds:
        tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=5, class_weight="balanced", random_state=seed)
        predicted.append(tree.fit(features[train], truth[train]).predict(features[test]))
        held_out.append(truth[test])
    return round(float(balanced_accuracy_score(np.concatenate(held_out), np.concatenate(predicted))), 4)
