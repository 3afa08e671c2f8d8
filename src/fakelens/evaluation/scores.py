"""The scores of one detector on the prepared splits, and `scores.parquet`, from which all else follows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32, to_model_input
from fakelens.core.progress import SILENT, Reporter
from fakelens.dataset.store import SplitData

_BATCH = 32


@dataclass(frozen=True)
class Scores:
    """One row per image: its set, label, generator, key in the source, and the detector's logit."""

    split: npt.NDArray[np.str_]
    label: npt.NDArray[np.int64]
    generator: npt.NDArray[np.str_]
    key: npt.NDArray[np.str_]
    logit: npt.NDArray[np.float32]

    def of(self, split: str) -> "Scores":
        """The rows of one set."""
        chosen = self.split == split
        return Scores(*(column[chosen] for column in self.__dict__.values()))

    def __len__(self) -> int:
        return len(self.label)


def run_scorer(
    score: Callable[[ImageF32], ImageF32],
    data: SplitData,
    input_px: int,
    title: str,
    reporter: Reporter = SILENT,
) -> npt.NDArray[np.float32]:
    """Apply `score`, (N, 3, S, S) float32 to (N,), to a whole split; (len(data),) float32."""
    results = []
    with reporter.task(title, len(data)) as task:
        for start in range(0, len(data), _BATCH):
            squares = data.squares[start : start + _BATCH]
            results.append(score(to_model_input(squares, input_px)))
            task.advance(len(squares))
    return np.concatenate(results).astype(np.float32)


def score_split(data: SplitData, logits: npt.NDArray[np.float32]) -> Scores:
    """Join a split's manifest rows with its logits."""
    return Scores(
        split=np.array([data.name] * len(data)),
        label=data.labels,
        generator=np.array([row.generator for row in data.rows]),
        key=np.array([row.key for row in data.rows]),
        logit=logits,
    )


def joined(parts: list[Scores]) -> Scores:
    """Several tables as one."""
    return Scores(*(np.concatenate(columns) for columns in zip(*(p.__dict__.values() for p in parts), strict=True)))


_T = TypeVar("_T")


def write_columns(path: Path, table: object) -> None:
    """Write a dataclass of (N,) arrays atomically, a column for each field."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        columns: dict[str, Any] = vars(table)
        pq.write_table(pa.table({name: pa.array(column.tolist()) for name, column in columns.items()}), temporary)


def read_columns(path: Path, kind: type[_T]) -> _T:
    """Read such a file; the column `logit` is float32.

    Raises:
        ValueError: when it is missing or not such a table.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        names = kind.__dataclass_fields__  # type: ignore[attr-defined]  # a dataclass
        columns = {name: np.array(table[name].to_pylist()) for name in names}
    except (OSError, KeyError, ValueError) as error:
        raise FakelensError(f"cannot read {path} ({error}): run `fakelens evaluate` for this detector") from error
    return kind(**{**columns, "logit": columns["logit"].astype(np.float32)})
