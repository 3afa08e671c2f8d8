"""OpenFake from the Hugging Face hub: label columns first, then only the row groups that hold chosen images."""

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fnmatch import fnmatch
from typing import Any

import numpy as np

from fakelens.core.scoring import LABELS
from fakelens.sources.base import Candidate, SourceSettings

# Row groups of the published data set are about 100 MB: this many in flight bound memory and hide latency.
_BLOCKS_IN_FLIGHT = 3
_LISTING_THREADS = 8


class OpenFakeSource:
    """`ComplexDataLab/OpenFake` (v2 and v1.0) at a pinned revision; honours HF_ENDPOINT, HF_HOME and HF_TOKEN."""

    name = "openfake"
    is_demo = False
    licence = "CC-BY-NC-4.0 (non-commercial) as stated by the OpenFake data set; each generator's terms may add to it"

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self.revision: str | None = settings.revision
        self.description = (
            f"images of {settings.repository}, {settings.config}/{settings.split}, revision {settings.revision[:12]}"
        )

    def catalogue(self) -> list[Candidate]:
        """Labels and generators of the seed's choice of shards; blocks are row groups in the seed's order.

        Raises:
            ValueError: naming the remedy when the data set, revision or split cannot be had.
        """
        rng = np.random.default_rng((self._settings.seed, 1))
        shards = self._shards()
        chosen = [shards[i] for i in sorted(rng.permutation(len(shards))[: self._settings.num_shards])]
        with ThreadPoolExecutor(_LISTING_THREADS) as pool:
            tables = list(pool.map(self._row_groups, chosen))
        groups = [(shard, number, rows) for shard, table in zip(chosen, tables, strict=True) for number, rows in table]
        ranks = rng.permutation(len(groups))
        return [
            Candidate(int(rank), f"{shard}#{number}:{row}", LABELS.index(label), generator)
            for rank, (shard, number, rows) in zip(ranks, groups, strict=True)
            for row, (label, generator) in enumerate(rows)
            if label in LABELS and generator not in self._settings.exclude_generators
        ]

    def fetch(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, bytes]]:
        """Encoded bytes in the order given; candidates of one row group should stand together."""
        blocks = [list(block) for _, block in itertools.groupby(candidates, key=lambda c: c.key.rsplit(":", 1)[0])]
        in_flight: deque[Future[list[bytes]]] = deque()
        with ThreadPoolExecutor(_BLOCKS_IN_FLIGHT) as pool:
            try:
                for number, block in enumerate(blocks):
                    while len(in_flight) < _BLOCKS_IN_FLIGHT and number + len(in_flight) < len(blocks):
                        in_flight.append(pool.submit(self._images, blocks[number + len(in_flight)]))
                    yield from zip(block, in_flight.popleft().result(), strict=True)
            finally:
                pool.shutdown(cancel_futures=True)

    def _shards(self) -> list[str]:
        from huggingface_hub import HfApi

        settings = self._settings
        with _hub_errors(settings):
            files = HfApi().list_repo_files(settings.repository, repo_type="dataset", revision=settings.revision)
        # v2 keeps a folder per configuration; v1.0 has one configuration, in `data/`.
        for folder in (f"{settings.config}/", "data/", ""):
            shards = sorted(name for name in files if fnmatch(name, f"{folder}{settings.split}-*.parquet"))
            if shards:
                return shards
        raise ValueError(
            f"{settings.repository} at {settings.revision} has no parquet files for config {settings.config!r}, "
            f"split {settings.split!r}: check data.config and data.split"
        )

    @contextlib.contextmanager
    def _parquet(self, shard: str) -> Iterator[Any]:
        import pyarrow.parquet as pq
        from huggingface_hub import HfFileSystem

        settings = self._settings
        with _hub_errors(settings):
            path = f"datasets/{settings.repository}@{settings.revision}/{shard}"
            # No read-ahead and no pre-buffering: parquet asks for exactly the ranges it needs.
            with HfFileSystem().open(path, cache_type="none") as file:
                yield pq.ParquetFile(file, pre_buffer=False)

    def _row_groups(self, shard: str) -> list[tuple[int, list[tuple[str, str]]]]:
        """Row group number and its rows' (label, generator), from the two small columns alone."""
        with self._parquet(shard) as parquet:
            missing = {"image", "label", "model"} - set(parquet.schema_arrow.names)
            if missing:
                raise ValueError(
                    f"{self._settings.repository}/{shard} has no column {', '.join(sorted(missing))}: "
                    "check data.repository, only OpenFake's own layout can be read"
                )
            groups = []
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number, columns=["label", "model"])
                labels, models = table["label"].to_pylist(), table["model"].to_pylist()
                groups.append(
                    (
                        number,
                        [(label or "", model or "unknown") for label, model in zip(labels, models, strict=True)],
                    )
                )
            return groups

    def _images(self, block: Sequence[Candidate]) -> list[bytes]:
        shard, _, position = block[0].key.partition("#")
        row_group = int(position.partition(":")[0])
        rows = [int(candidate.key.rsplit(":", 1)[1]) for candidate in block]
        with self._parquet(shard) as parquet:
            column = parquet.read_row_group(row_group, columns=["image.bytes"])["image"]
            return [column[row].as_py()["bytes"] or b"" for row in rows]


@contextlib.contextmanager
def _hub_errors(settings: SourceSettings) -> Iterator[None]:
    """Turn the hub client's errors into one that names the remedy."""
    from huggingface_hub import errors

    where = f"{settings.repository} at revision {settings.revision}"
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{where} does not exist: choose another with --set data.revision=…") from error
    except errors.GatedRepoError as error:
        raise ValueError(f"{where} asks for access: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"{where} cannot be found: check data.repository, HF_ENDPOINT, and HF_TOKEN if it is private"
        ) from error
    # The hub client's own HTTPError is the base of what its transport raises (httpx or httpx2, by its version).
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        raise ValueError(
            f"reading {where} failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}): "
            "check the network, HF_ENDPOINT and HF_TOKEN, then run the same command again; "
            "without a network, --recipe demo needs none"
        ) from error
