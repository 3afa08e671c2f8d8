"""The epochs of a training: `history.csv` and its plots."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from fakelens.core.artifacts import atomic_path, write_text
from fakelens.core.records import EpochRow


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


def plot_history(folder: Path, history: Sequence[EpochRow], kept: EpochRow, title: str) -> list[Path]:
    """Write `loss.png`, `accuracy.png` and `learning_rate.png`, each with a line at the epoch that was `kept`."""
    curves = {
        "loss": ("Loss (binary cross-entropy)", {"training": "train_loss", "validation": "val_loss"}),
        "accuracy": ("Accuracy", {"training": "train_accuracy", "validation": "val_accuracy"}),
        "learning_rate": ("Learning rate", {"": "learning_rate"}),
    }
    paths = []
    for name, (label, series) in curves.items():
        path = folder / f"{name}.png"
        _plot(path, history, kept, label, series, title)
        paths.append(path)
    return paths


def _plot(
    path: Path, history: Sequence[EpochRow], kept: EpochRow, label: str, series: dict[str, str], title: str
) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    epochs = [row.epoch + 1 for row in history]
    for name, column in series.items():
        axes.plot(epochs, [getattr(row, column) for row in history], marker="o", markersize=3, label=name or None)
    if label == "Learning rate":
        axes.set_yscale("log")
    else:
        axes.axvline(kept.epoch + 1, color="0.6", linestyle=":", label=f"kept: epoch {kept.epoch + 1}")
        axes.legend(frameon=False)
    first_of_all = next((row.epoch for row in history if row.phase == "all"), 0)
    if first_of_all:
        axes.axvspan(0.5, first_of_all + 0.5, color="0.93", zorder=0)
        axes.text(0.6, 0.02, "head only", transform=axes.get_xaxis_transform(), va="bottom", color="0.4")
    axes.set(xlabel="Epoch", ylabel=label, title=title, xlim=(0.5, len(history) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
