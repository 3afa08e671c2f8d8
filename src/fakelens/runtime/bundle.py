"""A deployment folder in; its models, checked against `bundle.json` and loaded when asked for, out."""

import hashlib
import json
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints, overload

from fakelens.core.artifacts import is_sealed, is_unchanged
from fakelens.core.errors import FakelensError
from fakelens.core.records import Metrics
from fakelens.core.run_folder import BUNDLE_RECORD
from fakelens.core.scoring import OperatingPoint, Threshold, point_at, points_of
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.folder import judge_files
from fakelens.runtime.inputs import ONE_PICTURE, PictureInput, file_bytes, name_of
from fakelens.runtime.judgement import Answer, Judgement, judge_or_raise

FORMAT = 3
_REMEDY = "write it again with `fakelens bundle`"
# What somebody who deploys the folder may rightly change.
EDITABLE = ("README.md", "requirements.txt", "Dockerfile", ".gitignore", ".gitattributes", ".streamlit/config.toml")
_T = TypeVar("_T")


class BundleDamaged(FakelensError):  # noqa: N818  says what is wrong, as `ImageRefused` does
    """The folder's files are not those that its `bundle.json` describes."""


@dataclass(frozen=True)
class BundledModel:
    """One detector of a bundle, as `bundle.json` describes it."""

    name: str
    display_name: str
    summary: str
    file: str
    variant: str
    input_px: int
    stored_px: int
    threshold: Threshold
    size_bytes: int
    latency_ms: float
    metrics: Metrics
    """On its test images."""
    operating_points: tuple[OperatingPoint, ...]
    """The thresholds that a user may choose between; `threshold` is the default."""
    facts: tuple[str, ...]
    """Its model card in a few sentences."""
    point_facts: tuple[str, ...]
    """What each operating point does on the test split, in their order; empty if it was not measured."""
    card: str
    """Its model card, a Markdown file of the bundle."""


@dataclass(frozen=True)
class BundleAbout:
    """The data that the models were trained on."""

    description: str
    licence: str
    num_images: int
    source: str


@dataclass(frozen=True)
class BundleInfo:
    """The content of `bundle.json`."""

    name: str
    demo: bool
    data: BundleAbout
    models: tuple[BundledModel, ...]
    files: Mapping[str, str]
    """Path relative to the folder -> SHA-256, of every file but `bundle.json`."""


class Bundle:
    """An opened deployment folder. Safe to share between threads."""

    folder: Path
    info: BundleInfo

    def __init__(self, folder: Path, info: BundleInfo, num_threads: int | None = None) -> None:
        # Absolute: the process may go to another folder before a model is loaded.
        self.folder, self.info, self._num_threads = folder.absolute(), info, num_threads
        self._detectors: dict[str, OnnxDetector] = {}
        self._loading = threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, num_threads: int | None = None) -> "Bundle":
        """Read and check `folder/bundle.json`; no model is loaded yet.

        `num_threads` is how many each of its detectors uses on one picture, by default one for each CPU.

        Raises:
            FakelensError: naming the file, the fault and the remedy.

        """
        path = folder / BUNDLE_RECORD
        if not folder.exists():
            raise FakelensError(f"{folder} does not exist: name the folder of a bundle, which `fakelens bundle` writes")
        if not path.is_file():
            raise FakelensError(f"{folder} is not a bundle, it has no {BUNDLE_RECORD}: {_REMEDY}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            info = _parse(content)
            if not is_sealed(path, content):
                raise FakelensError("it is not as it was written, or an earlier version wrote it")
            return cls(folder, info, num_threads)
        except (ValueError, RecursionError) as error:
            raise BundleDamaged(f"{path} cannot be used ({error}): {_REMEDY}") from error

    @property
    def demo(self) -> bool:
        """Whether the models were trained on synthetic pictures only."""
        return self.info.demo

    @property
    def models(self) -> tuple[BundledModel, ...]:
        """Its detectors, the most accurate on validation pictures first."""
        return self.info.models

    def model(self, name: str | None = None) -> BundledModel:
        """The model of this name; without one the first, the most accurate on validation pictures.

        Raises:
            FakelensError: listing the names there are.

        """
        if name is None:
            return self.models[0]
        for model in self.models:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in self.models)
        raise FakelensError(f"the bundle has no detector {name!r}; it has {names}")

    def detector(self, name: str) -> OnnxDetector:
        """The loaded detector of this name; loaded at the first call.

        Raises:
            FakelensError: when there is no such detector.
            BundleDamaged: when its file is not the one that `bundle.json` describes.

        """
        model = self.model(name)
        with self._loading:
            if name not in self._detectors:
                self._detectors[name] = self._load(model)
            return self._detectors[name]

    def operating_point(self, name: str, max_fpr: float | None = None) -> OperatingPoint:
        """The thresholds of a detector for this share of false alarms; without one its default.

        Raises:
            FakelensError: naming the shares, or the detectors, that there are.
        """
        model = self.model(name)
        return OperatingPoint(None, model.threshold) if max_fpr is None else point_at(model.operating_points, max_fpr)

    # A str is a sequence of them too: here it is one path, and the first form is what matches.
    @overload
    def judge(  # type: ignore[overload-overlap]
        self, pictures: PictureInput, *, detector: str | None = None, max_fpr: float | None = None
    ) -> Judgement: ...
    @overload
    def judge(
        self, pictures: Iterable[PictureInput], *, detector: str | None = None, max_fpr: float | None = None
    ) -> list[Answer]: ...
    def judge(
        self,
        pictures: PictureInput | Iterable[PictureInput],
        *,
        detector: str | None = None,
        max_fpr: float | None = None,
    ) -> Judgement | list[Answer]:
        """Judge one picture, or a list of them in its order, as `fakelens predict` does.

        A picture is a path, the bytes of a file, an image of PIL's, or an RGB array of (height, width, 3) uint8. Pixels
        that were decoded elsewhere are judged as a PNG of them: without the file's metadata there are no marks, and
        without its codec no cautions about compression. Judge the file where there is one.

        Args:
            pictures: one picture, or any number of them.
            detector: a name out of `models`; by default the first, the most accurate.
            max_fpr: share of false alarms, such as 0.01, whose thresholds decide; by default the bundle's.

        Raises:
            ImageRefused: when the one picture cannot be judged; in a list such a picture is a `Refusal`.
            OSError: when its file cannot be read; in a list that is a `Refusal` too.
            FakelensError: when there is no such detector or share of false alarms.
        """
        model = self.detector(self.model(detector).name)
        point = self.operating_point(model.name, max_fpr)
        if point.caution:
            warnings.warn(point.caution, stacklevel=2)
        if isinstance(pictures, Iterable) and not isinstance(pictures, ONE_PICTURE):
            return list(judge_files(model, pictures, point.threshold))
        return judge_or_raise(file_bytes(pictures), model, point.threshold, name=name_of(pictures))

    def check_files(self) -> None:
        """Compare every file's hash with `bundle.json`, except those that may be edited (`EDITABLE`).

        Raises:
            BundleDamaged: naming the files that are missing or changed.
        """
        wrong = [
            name
            for name, digest in self.info.files.items()
            if name not in EDITABLE and not is_unchanged(self.folder / name, digest)
        ]
        if wrong:
            raise BundleDamaged(
                f"These files are missing or are not those that {BUNDLE_RECORD} describes: {', '.join(wrong)}. "
                "Deploy the folder again as `fakelens bundle` wrote it."
            )

    def _load(self, model: BundledModel) -> OnnxDetector:
        path = self.folder / model.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleDamaged(f"{path} cannot be read ({error.strerror}): {_REMEDY}") from error
        # The very bytes that were hashed are loaded: a file that changes in between cannot slip through.
        if hashlib.sha256(data).hexdigest() != self.info.files[model.file]:
            raise BundleDamaged(f"{path} is damaged, its SHA-256 is not the one in {BUNDLE_RECORD}: {_REMEDY}")
        detector = OnnxDetector(data, num_threads=self._num_threads)
        same = ("name", "input_px", "stored_px", "threshold", "operating_points", "variant")
        if any(getattr(detector, key) != getattr(model, key) for key in same):
            raise BundleDamaged(f"{BUNDLE_RECORD} and the metadata of {path} disagree: {_REMEDY}")
        return detector


def _parse(content: Any) -> BundleInfo:
    version = _value(content, "format", int, BUNDLE_RECORD)
    if version != FORMAT:
        raise FakelensError(f"its format is {version}, this program reads {FORMAT}")
    files = _value(content, "files", dict, BUNDLE_RECORD)
    blocks = _value(content, "models", list, BUNDLE_RECORD)
    models = tuple(_parse_model(block, f"models[{index}]") for index, block in enumerate(blocks))
    if not models or len({model.name for model in models}) < len(models):
        raise FakelensError("models: at least one is needed, each with a name of its own")
    for model in models:
        # A listed path is one that the writer chose; `..` or an absolute path never is.
        if model.file not in files or Path(model.file).name != model.file:
            raise FakelensError(
                f"{model.name}: files does not list {model.file!r} as a file of the bundle's own folder"
            )
    about = _read(BundleAbout, _value(content, "data", dict, BUNDLE_RECORD), "data")
    return _read(BundleInfo, content, BUNDLE_RECORD, data=about, models=models, files=files)


def _parse_model(block: Any, where: str) -> BundledModel:
    threshold = _read(Threshold, _value(block, "threshold", dict, where), f"{where}.threshold")
    figures = _value(block, "metrics", dict, where)
    matrix = _value(figures, "confusion_matrix", list, f"{where}.metrics")
    if [[type(count) for count in row] if isinstance(row, list) else row for row in matrix] != [[int] * 2] * 2:
        raise FakelensError(f"{where}.metrics: confusion_matrix should be two rows of two counts, not {matrix!r}")
    metrics = _read(Metrics, figures, f"{where}.metrics", confusion_matrix=tuple(map(tuple, matrix)))
    points = points_of(_value(block, "operating_points", list, where))
    facts = tuple(map(str, _value(block, "facts", list, where)))
    point_facts = tuple(map(str, _value(block, "point_facts", list, where)))
    if point_facts and len(point_facts) != len(points):
        raise FakelensError(f"{where}: point_facts needs a sentence for each of the {len(points)} operating points")
    return _read(
        BundledModel, block, where, threshold=threshold, metrics=metrics, operating_points=points, facts=facts,
        point_facts=point_facts,
    )  # fmt: skip


def _read(cls: type[_T], block: Any, where: str, **given: Any) -> _T:
    """A dataclass out of a JSON object: its plain fields checked by type, the others `given`."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls) if field.name not in given]  # type: ignore[arg-type]  # a dataclass
    return cls(**{name: _value(block, name, hints[name], where) for name in names}, **given)


def _value(block: Any, key: str, kind: type[_T], where: str) -> _T:
    value = block.get(key) if isinstance(block, Mapping) else None
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise FakelensError(f"{where}: {key} should be of type {kind.__name__}, not {value!r}")
    return value
