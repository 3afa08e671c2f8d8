"""What happened epoch by epoch: rows in, `history.csv` out and back."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fakelens.core.artifacts import write_text


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


def write_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[EpochRow]:
    """Read `history.csv`."""
    kinds = {field.name: field.type for field in fields(EpochRow)}
    with path.open(newline="", encoding="utf-8") as file:
        return [EpochRow(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]  # type: ignore[operator]
