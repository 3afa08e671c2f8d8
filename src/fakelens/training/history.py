"""The epochs of a training: `history.csv` and its plots."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from fakelens.core.artifacts import write_text
from fakelens.core.records import EpochRow
from fakelens.core.run_folder import ACCURACY, LEARNING_RATE, LOSS
from fakelens.figure import new_figure, save_figure


def write_history(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write the rows as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def plot_history(folder: Path, history: Sequence[EpochRow], kept: EpochRow, subject: str) -> list[Path]:
    """Write `loss.png`, `accuracy.png` and `learning_rate.png`, each with a line at the epoch that was `kept`."""
    loss = {"training": "train_loss", "validation": "val_loss"}
    accuracy = {"training": "train_accuracy", "validation": "val_accuracy"}
    return [
        _plot(folder / LOSS, history, kept, "Loss", "binary cross-entropy", loss, subject),
        _plot(folder / ACCURACY, history, kept, "Accuracy", "at 0.5", accuracy, subject),
        _plot(folder / LEARNING_RATE, history, kept, "Learning rate", "logarithmic", {"": "learning_rate"}, subject),
    ]


def _plot(
    path: Path,
    history: Sequence[EpochRow],
    kept: EpochRow,
    title: str,
    unit: str,
    series: dict[str, str],
    subject: str,
) -> Path:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    figure, axes = new_figure(6.4, 4.0)
    epochs = [row.epoch + 1 for row in history]
    ends = sorted((getattr(history[-1], column), label) for label, column in series.items())
    for label, column in series.items():
        (line,) = axes.plot(epochs, [getattr(row, column) for row in history], marker="o", markersize=3)
        is_lower = label == ends[0][1]  # of two labels that may end at one height
        axes.annotate(
            label, (epochs[-1], getattr(history[-1], column)), xytext=(5, -3 if is_lower else 3),
            textcoords="offset points", va="top" if is_lower else "bottom", fontsize=9, color=line.get_color(),
        )  # fmt: skip
    if title == "Learning rate":
        axes.set_yscale("log")
    axes.axvline(kept.epoch + 1, color="0.6", linestyle=":")
    first_of_all = next((row.epoch for row in history if row.phase == "all"), 0)
    reading = f"The dotted line marks the epoch that was kept, {kept.epoch + 1}: the best on validation."
    if first_of_all:
        axes.axvspan(0.5, first_of_all + 0.5, color="0.93", zorder=0)
        reading += " Shaded: only the head is trained."
    axes.set(xlabel="Epoch", ylabel=f"{title} ({unit})", xlim=(0.5, len(history) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True) if len(history) > 1 else FixedLocator([1]))
    axes.margins(y=0.12)
    return save_figure(path, figure, f"{title} by epoch", subject, reading)
