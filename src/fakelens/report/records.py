"""The records and figures that the stages wrote about one detector."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fakelens.config import read_as
from fakelens.core.artifacts import StageRecord, load_record, read_json
from fakelens.core.errors import DamagedFileError, FakelensError
from fakelens.core.records import ExportResults, TrainResults, Variant
from fakelens.core.run_folder import METRICS, ROBUSTNESS, SCORES, DetectorFolder, RunFolder
from fakelens.dataset.splits import TEST
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import DetectorSpec, TrainingChoice
from fakelens.evaluation.metrics import EvaluateResults, SetMetrics
from fakelens.evaluation.robustness import StepFigures
from fakelens.evaluation.scores import Scores


@dataclass(frozen=True)
class NamedSetFigures:
    """One detector's figures on a named set."""

    evaluation: str
    """Digest of the evaluation whose temperature and thresholds they hold for."""
    metrics: SetMetrics


@dataclass(frozen=True)
class NamedSet:
    """A labelled folder that the report shows beside the run's own test sets."""

    name: str
    folder: str
    pictures: str = ""
    """Hash of its files when it was judged."""
    warnings: tuple[str, ...] = ()
    """Why its figures may mean less than they seem to."""
    left_out: tuple[str, ...] = ()
    """Its pictures that no detector is judged on, each with the reason."""
    label_values: dict[str, str] = field(default_factory=dict)
    """A folder's name -> real or fake, where its name does not say so."""
    figures: dict[str, NamedSetFigures] = field(default_factory=dict)
    """By detector."""


def read_named_sets(workdir: Path) -> tuple[NamedSet, ...]:
    """The named sets of a working folder, in the order of their names.

    Raises:
        FakelensError: naming a damaged record.
    """
    return tuple(map(read_named_set, sorted(RunFolder(workdir).named_sets.glob("*.json"))))


def read_named_set(path: Path) -> NamedSet:
    """The named set of one record.

    Raises:
        FakelensError: when it is damaged.
    """
    try:
        return read_as(NamedSet, read_json(path), path)
    except FakelensError as error:
        raise DamagedFileError(
            path, "is not as it was written", f"delete it, and judge its folder again with --set-name {path.stem}"
        ) from error


@dataclass(frozen=True)
class Entry:
    """One detector's records."""

    spec: DetectorSpec
    folder: DetectorFolder
    train: StageRecord
    trained: TrainResults
    evaluate: StageRecord
    evaluated: EvaluateResults
    export: StageRecord
    exported: ExportResults
    metrics: dict[str, SetMetrics]
    """Test set -> its figures."""
    robustness: tuple[StepFigures, ...]
    """Figures of each degradation, the undegraded pictures' first; empty if the sweep was left out."""
    named_sets: dict[str, SetMetrics] = field(default_factory=dict)
    """Name -> figures of this evaluation on labelled folders that were named."""

    @classmethod
    def load(cls, workdir: Path, spec: DetectorSpec) -> "Entry":
        """Read one detector's records, which must be of one training on the data that the folder holds.

        Raises:
            FakelensError: naming the stage that is missing, or what was made of something else; the file that is
                damaged.
        """
        folder = RunFolder(workdir).detector(spec.name)
        train, evaluate = load_record(folder.train_record), load_record(folder.evaluate_record)
        export = load_record(folder.export_record)
        PreparedData(RunFolder(workdir).data).must_be_of(train.made_of.data, spec.name)
        if spec.full:
            full = RunFolder(workdir).detector(spec.full.name).train_record
            if full.exists() and train.made_of.full != load_record(full).digest:
                raise FakelensError(
                    f"{spec.full.name} was trained again since {spec.name} was made of it: run `fakelens compress "
                    f"{spec.full.name}`"
                )
        for record in (evaluate, export):
            if record.made_of.train != train.digest:
                raise FakelensError(
                    f"{spec.name} was trained again since `{record.stage}`: run `fakelens {record.stage} {spec.name}`"
                )
        swept = ROBUSTNESS in evaluate.outputs
        return cls(
            spec,
            folder,
            train,
            read_as(TrainResults, train.results, folder.train_record),
            evaluate,
            read_as(EvaluateResults, evaluate.results, folder.evaluate_record),
            export,
            read_as(ExportResults, export.results, folder.export_record),
            read_as(dict[str, SetMetrics], read_json(evaluate.output(METRICS)), folder.metrics),
            read_as(
                tuple[StepFigures, ...], read_json(evaluate.output(ROBUSTNESS)) if swept else (), folder.evaluation
            ),
            {
                named.name: named.figures[spec.name].metrics
                for named in read_named_sets(workdir)
                if spec.name in named.figures and named.figures[spec.name].evaluation == evaluate.digest
            },
        )

    @property
    def test(self) -> SetMetrics:
        """The test split's figures."""
        return self.metrics[TEST]

    @property
    def sets(self) -> dict[str, SetMetrics]:
        """Figures of the run's test sets, and of the named ones behind them."""
        return self.metrics | self.named_sets

    @property
    def shipped(self) -> Variant:
        """The exported variant that ships."""
        return self.exported.shipped

    def rank(self) -> tuple[float, float]:
        """Accuracy and AUC on validation as it ships: by these the best detector is chosen."""
        return self.shipped.val.metrics.accuracy, self.shipped.val.metrics.auc

    @property
    def choice(self) -> TrainingChoice:
        """Seed and settings of its training."""
        return TrainingChoice.of(self.train.settings)

    @property
    def start(self) -> str:
        """The weights that training started from."""
        start = self.trained.pretrained or "from scratch"
        return f"{start}, then pruned" if self.spec.full else start

    @property
    def summary(self) -> str:
        """The detector in one sentence, which does not claim weights it did not start from."""
        if self.trained.pretrained or not self.spec.weights:
            return self.spec.summary
        full = self.spec.full
        words = f"{(full or self.spec).display_name}, trained from scratch"
        return words + (self.spec.summary.removeprefix(full.summary) if full else "")

    @property
    def temperature(self) -> float:
        """The temperature by which the logits are divided."""
        return self.evaluated.temperature

    @cached_property
    def scores(self) -> Scores:
        """The scores behind the figures."""
        return Scores.read(self.evaluate.output(SCORES))
