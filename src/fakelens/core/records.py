"""Typed parts of the stages' records, which later stages read back."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True)
class Inputs:
    """Digests of what a stage behind `prepare` goes by; what it does not read is empty, and not in its record."""

    data: str = ""
    train: str = ""
    evaluate: str = ""
    full: str = ""
    """Of the training that a compact detector was made of."""
    teacher: str = ""

    def plain(self) -> dict[str, str]:
        """As they stand in a record and in its key."""
        return {name: digest for name, digest in vars(self).items() if digest}


@dataclass(frozen=True)
class Environment:
    """Versions, source revision and hardware: what a reader needs to judge or repeat a figure."""

    revision: str | None
    """Of the source, where it is a repository of Git's."""
    python: str
    versions: dict[str, str]
    """Of the packages that decide."""
    machine: str
    cpu: str
    num_cpus: int | None
    written: str


@dataclass(frozen=True)
class ByLabel(Generic[_T]):
    """The same of the photographs and of the fakes."""

    real: _T
    fake: _T


@dataclass(frozen=True)
class Metrics:
    """Of the class "fake" at a probability of 0.5, except `auc`, which needs no threshold."""

    accuracy: float
    balanced_accuracy: float
    """Mean of the shares of photographs and of fakes that were judged rightly."""
    precision: float
    recall: float
    f1: float
    auc: float
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]
    """Rows truth, columns verdict, both in the order real, fake."""
    num_images: int

    @property
    def false_positive_rate(self) -> float:
        """Share of the photographs that are called fake at 0.5; 0 of a set without any, as benchmarks' bundles have."""
        right, wrong = self.confusion_matrix[0]
        return wrong / max(1, right + wrong)


LATENCY_RUNS = 31
"""Timed runs behind each latency, whose median it is."""


@dataclass(frozen=True)
class GateResult:
    """The figures of one file on one split and whether they pass; `reasons` is empty if they do."""

    max_difference: float
    agreement: float
    accuracy_drop: float
    auc_drop: float
    batch_difference: float
    num_images: int
    num_changed: int
    """Verdicts at 0.5 that are not the checkpoint's."""
    num_lost: int
    """Of these, verdicts that were right before."""
    num_gained: int
    """Of these, verdicts that are right now."""
    metrics: Metrics
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """`1 of 138 verdicts changed`."""
        return f"{self.num_changed} of {self.num_images} verdicts changed"


@dataclass(frozen=True)
class ExportedFile:
    """One ONNX file."""

    name: str
    """The variant: fp32, int8-dynamic, int8-static, int8-mixed."""
    file: str
    """Its name in the folder."""
    size_bytes: int
    latency_ms: float
    """Median of one image on one CPU thread."""
    passed: bool
    """The gate: `reasons` says why not."""


@dataclass(frozen=True)
class Variant(GateResult, ExportedFile):
    """One exported file with its figures on the test split."""

    val: GateResult
    """Its figures on the validation split, on which it was chosen."""


@dataclass(frozen=True)
class ExportResults:
    """The outcome of an export, and which file ships."""

    ships: str
    why: str
    variants: tuple[Variant, ...]
    search: tuple[dict[str, Any], ...]
    """Ways of static quantisation that were tried, in their order."""

    @property
    def shipped(self) -> Variant:
        """The file that ships."""
        return self.variant(self.ships)

    def variant(self, name: str) -> Variant:
        """The file of this name."""
        return next(variant for variant in self.variants if variant.name == name)


@dataclass(frozen=True)
class EpochRow:
    """One epoch; the losses are means over images, the learning rate that of the epoch's last step."""

    epoch: int
    phase: str
    train_loss: float
    train_accuracy: float
    train_precision: float
    train_recall: float
    train_f1: float
    train_auc: float
    val_loss: float
    val_accuracy: float
    val_precision: float
    val_recall: float
    val_f1: float
    val_auc: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class CompressionStep:
    """One step in which channels were removed."""

    num_parameters: int
    int8_bytes: int
    best: EpochRow


@dataclass(frozen=True)
class CompressionResults:
    """The origin of a compact detector, and the steps that made it."""

    full: str
    full_parameters: int
    full_int8_bytes: int
    full_best: EpochRow
    target_bytes: int
    int8_bytes: int
    steps: tuple[CompressionStep, ...]


@dataclass(frozen=True)
class TrainResults:
    """The outcome of a training."""

    num_parameters: int
    num_epochs: int
    best: EpochRow
    training_seconds: float
    num_threads: int
    device: str
    pretrained: str | None
    """Repository of the weights that it started from; None from scratch."""
    compression: CompressionResults | None = None
    """Of a compact detector alone."""
