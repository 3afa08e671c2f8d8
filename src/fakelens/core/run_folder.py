"""Every path of a working folder, in one place.

WORKDIR/recipe.yaml  .lock  data/  DETECTOR/{train.json,best.safetensors,…,evaluation/,onnx/}  bundle/  report/
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from fakelens.core.errors import FakelensError

LOCK = ".lock"
BEST, LAST, LAST_HASHES, HISTORY = "best.safetensors", "last.ckpt", "last.sha256", "history.csv"
MANIFEST, PREPARE_RECORD = "manifest.parquet", "prepare.json"
EXPORT_RECORD = "export.json"
METRICS, SCORES = "metrics.json", "scores.parquet"
ROBUSTNESS, ROBUSTNESS_SCORES = "robustness.json", "robustness.parquet"
MODEL_CARD = "model_card.md"
BUNDLE_RECORD, EXAMPLES, APP_SCRIPT = "bundle.json", "examples", "streamlit_app.py"
PLOTS, LOGS = "plots", "logs"
LOSS, ACCURACY, LEARNING_RATE = "loss.png", "accuracy.png", "learning_rate.png"
CONFUSION_MATRIX, ROC, PRECISION_RECALL = "confusion_matrix.png", "roc.png", "precision_recall.png"
RELIABILITY, RISK_COVERAGE, ROBUSTNESS_PLOT = "reliability.png", "risk_coverage.png", "robustness.png"
SAMPLES, MISTAKES, TRADEOFF = "samples.png", "mistakes.png", "tradeoff.png"
BENCHMARK_RECORD, BENCHMARK_PLOT = "benchmark.json", "benchmark.png"
REPORT_PAGE, REPORT_TEXT = "index.html", "report.md"
PARTS, SPOOL = ".parts", ".spool"
"""Of the data while it is being collected; ends the name of a part's bytes as the source gave them."""
EVALUATION, ONNX = "evaluation", "onnx"
"""Folders of later stages within a detector's."""
# Ends the name of a detector that `compress` makes.
COMPACT = "_compact"
# Of a bundle's address on the Hugging Face hub, and its repository's name there.
HUB_SCHEME, HUB_NAME = "hf://", r"[\w.-]+/[\w.-]+"
# Where working folders lie that nobody names.
RUNS = Path("runs")


def array_file(name: str) -> str:
    """The file of a split's squares, or of a part's while the data are being collected."""
    return f"{name}.npy"


def onnx_file(name: str) -> str:
    """The file of an exported variant, or of a detector in a bundle."""
    return f"{name}.onnx"


@dataclass(frozen=True)
class DetectorFolder:
    """The folder that the stages write about one detector."""

    path: Path

    @property
    def train_record(self) -> Path:
        """Of a finished training."""
        return self.path / "train.json"

    @property
    def best(self) -> Path:
        """The weights of the best epoch by validation."""
        return self.path / BEST

    @property
    def evaluation(self) -> Path:
        """The folder of the evaluate stage."""
        return self.path / EVALUATION

    @property
    def evaluate_record(self) -> Path:
        """Of a finished evaluation."""
        return self.evaluation / "evaluate.json"

    @property
    def metrics(self) -> Path:
        """The figures of every test set."""
        return self.evaluation / METRICS

    @property
    def onnx(self) -> Path:
        """The folder of the export stage."""
        return self.path / ONNX

    @property
    def export_record(self) -> Path:
        """Of a finished export: the variants, and which one ships."""
        return self.onnx / EXPORT_RECORD

    @property
    def model_card(self) -> Path:
        """The model card."""
        return self.path / MODEL_CARD


@dataclass(frozen=True)
class JudgementFolder:
    """The files of a judgement on a labelled folder."""

    path: Path

    @property
    def record(self) -> Path:
        """All figures; written last."""
        return self.path / "against.json"

    @property
    def page(self) -> Path:
        """The tables, to be read."""
        return self.path / "against.md"

    @property
    def scores(self) -> Path:
        """Every system's score of every picture."""
        return self.path / "scores.csv"

    @property
    def plots(self) -> Path:
        """The folder of the plots."""
        return self.path / PLOTS


@dataclass(frozen=True)
class RunFolder:
    """A working folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe that the stages start from."""
        return self.path / "recipe.yaml"

    @property
    def data(self) -> Path:
        """The folder of the prepare stage."""
        return self.path / "data"

    @property
    def prepare_record(self) -> Path:
        """Of finished data."""
        return self.data / PREPARE_RECORD

    @property
    def manifest(self) -> Path:
        """The table of the prepared images."""
        return self.data / MANIFEST

    @property
    def bundle(self) -> Path:
        """The deployment folder."""
        return self.path / "bundle"

    @property
    def bundle_record(self) -> Path:
        """The record of the bundle's contents."""
        return self.bundle / BUNDLE_RECORD

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.path / "report"

    @property
    def benchmark(self) -> Path:
        """The folder of the benchmark."""
        return self.path / "benchmark"

    @property
    def judgements(self) -> Path:
        """The folder of judgements on labelled folders."""
        return self.path / "against"

    @property
    def named_sets(self) -> Path:
        """The folder of named sets, a record each."""
        return self.path / "sets"

    def named_set(self, name: str) -> Path:
        """The record of a labelled folder that the report shows under this name."""
        return self.named_sets / f"{name}.json"

    def judgement(self, name: str) -> JudgementFolder:
        """The folder of one judgement."""
        return JudgementFolder(self.judgements / name)

    def detector(self, name: str) -> DetectorFolder:
        """The folder of one detector."""
        return DetectorFolder(self.path / name)


def command_for(record: Path, *options: str) -> str:
    """The command that writes a stage's record, by where it lies."""
    stage, folder = record.stem, record.parent
    if stage not in ("prepare", "train"):
        folder = folder.parent
    words = ["fakelens", stage, folder.name]
    if stage == "prepare":
        words.pop()
    elif stage == "train" and folder.name.endswith(COMPACT):
        words = ["fakelens", "compress", folder.name.removesuffix(COMPACT)]
    return shlex.join([*words, *options, "--workdir", str(folder.parent)])


def newest_bundle(option: str = "--bundle") -> Path:
    """The bundle that was written last in `runs/*/`, where none was named with `option`.

    Raises:
        FakelensError: when there is none.
    """
    records = sorted(RUNS.glob(f"*/bundle/{BUNDLE_RECORD}"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise FakelensError(
            f"no bundle found in runs/*/bundle: give one with {option}, or make one with `fakelens run` (a "
            "demonstration in minutes with `fakelens run --recipe demo`)"
        )
    return records[-1].parent
