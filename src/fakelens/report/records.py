"""The records and figures that the stages wrote about one detector."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fakelens.core.artifacts import StageRecord, load_record, read_json
from fakelens.core.errors import FakelensError
from fakelens.core.run_folder import METRICS, ROBUSTNESS, SCORES, DetectorFolder, RunFolder
from fakelens.dataset.store import PreparedData
from fakelens.detectors.spec import DetectorSpec
from fakelens.evaluation.scores import Scores, read_columns


@dataclass(frozen=True)
class Entry:
    """One detector's records."""

    spec: DetectorSpec
    folder: DetectorFolder
    train: StageRecord
    evaluate: StageRecord
    export: StageRecord
    metrics: dict[str, dict[str, Any]]
    """Test set -> its figures."""
    robustness: list[dict[str, Any]]
    """Figures of each degradation, the undegraded pictures' first; empty if the sweep was left out."""

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
        PreparedData(RunFolder(workdir).data).must_be_of(train.inputs["data"], spec.name)
        for record in (evaluate, export):
            if record.inputs["train"] != train.digest:
                raise FakelensError(
                    f"{spec.name} was trained again since `{record.stage}`: run `fakelens {record.stage} {spec.name}`"
                )
        swept = ROBUSTNESS in evaluate.outputs
        return cls(
            spec,
            folder,
            train,
            evaluate,
            export,
            read_json(evaluate.output(METRICS)),
            read_json(evaluate.output(ROBUSTNESS)) if swept else [],
        )

    @property
    def test(self) -> dict[str, Any]:
        """The test split's figures."""
        return self.metrics["test"]

    @property
    def shipped(self) -> dict[str, Any]:
        """The exported variant that ships."""
        return shipped_variant(self.export)

    @property
    def start(self) -> str:
        """What training started from."""
        if self.spec.full:
            return f"{self.spec.full.display_name}, pruned"
        return self.train.results["pretrained"] or "from scratch"

    @property
    def summary(self) -> str:
        """What it is, in one sentence that does not claim weights it did not start from."""
        own = self.train.results["pretrained"] or not self.spec.weights
        return self.spec.summary if own else f"{self.spec.display_name}, trained from scratch"

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return float(self.evaluate.results["temperature"])

    @cached_property
    def scores(self) -> Scores:
        """The scores behind the figures."""
        return read_columns(self.evaluate.output(SCORES), Scores)


def shipped_variant(export: StageRecord) -> dict[str, Any]:
    """The entry of `export.json` that ships."""
    results = export.results
    return next(variant for variant in results["variants"] if variant["name"] == results["ships"])
