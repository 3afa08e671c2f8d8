"""The scores of one detector: tables of one row per image, kept as Parquet files, from which all figures follow."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32, ImageU8, to_model_input
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.dataset.store import SplitData

BATCH = 32
"""Pictures that are scored at a time."""


@dataclass(frozen=True)
class ScoreTable:
    """Columns of equal length, (N,) each; subclasses say what a row is."""

    label: npt.NDArray[np.int64]
    """0 photograph, 1 fake."""
    logit: npt.NDArray[np.float32]
    """Uncalibrated."""

    def __len__(self) -> int:
        return len(self.label)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """The rows that are chosen."""
        return type(self)(**{name: column[chosen] for name, column in vars(self).items()})

    @classmethod
    def joined(cls, tables: Sequence[Self]) -> Self:
        """Several tables as one."""
        return cls(**{name: np.concatenate([vars(table)[name] for table in tables]) for name in vars(tables[0])})

    def write(self, path: Path) -> None:
        """Write a Parquet file atomically, a column for each field."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with atomic_path(path) as temporary:
            pq.write_table(
                pa.table({name: pa.array(column.tolist()) for name, column in vars(self).items()}), temporary
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read such a file.

        Raises:
            FakelensError: when it is missing or not such a table.
        """
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            columns = {name: np.array(table[name].to_pylist()) for name in cls.__dataclass_fields__}
        except (OSError, KeyError, ValueError) as error:
            raise FakelensError(f"cannot read {path} ({error}): run `fakelens evaluate` for this detector") from error
        return cls(**{**columns, "logit": columns["logit"].astype(np.float32)})


@dataclass(frozen=True)
class Scores(ScoreTable):
    """One row per image of the prepared sets."""

    split: npt.NDArray[np.str_]
    generator: npt.NDArray[np.str_]
    """Or the source of a photograph."""
    key: npt.NDArray[np.str_]
    """In the source of the data."""

    def of(self, split: str) -> Self:
        """The rows of one set."""
        return self.where(self.split == split)


def score_batches(
    score: Callable[[ImageF32], ImageF32], batches: Iterable[ImageU8], input_px: int, task: Task, note: str = ""
) -> npt.NDArray[np.float32]:
    """Apply `score`, (B, 3, input_px, input_px) float32 to (B,), to batches of (B, S, S, 3) squares; (N,) in all."""
    results = []
    for squares in batches:
        results.append(score(to_model_input(squares, input_px)))
        task.advance(len(squares), note)
    return np.concatenate(results).astype(np.float32)


def score_split(
    score: Callable[[ImageF32], ImageF32], data: SplitData, input_px: int, reporter: Reporter = SILENT
) -> Scores:
    """Score a whole split; `score` takes at most `BATCH` pictures and gives their logits."""
    batches = (data.squares[start : start + BATCH] for start in range(0, len(data), BATCH))
    with reporter.task(f"Scoring {data.name}", len(data)) as task:
        logits = score_batches(score, batches, input_px, task)
    return Scores(
        split=np.array([data.name] * len(data)),
        label=data.labels,
        generator=np.array([row.generator for row in data.rows]),
        key=np.array([row.key for row in data.rows]),
        logit=logits,
    )
