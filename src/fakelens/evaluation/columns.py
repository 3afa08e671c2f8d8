"""Tables whose columns are the fields of a dataclass: arrays in, a parquet file out, and back."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError

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
