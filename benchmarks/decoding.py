"""How fast pictures become stored squares, beside a bare loop of Pillow's open, convert and resize over the same files.

Figure 3: the product's decoding and resizing (with all its limits and corrections) runs at 0.85 of the bare loop's
rate or better, by processor time of one process; two processes do 1.8 times the pictures of one, by the clock, so the
machine must have two idle cores. Turns alternate; medians of the turns' ratios. Beside it stands the whole work on a
picture: also cropped, harmonised (a JPEG round trip) and hashed twice.

    python benchmarks/decoding.py --hub HUB --num-files 600
"""

import argparse
import functools
import hashlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from harness import REPOSITORY, report
from PIL import Image

from fakelens.core.imaging import STORED_PX, ImageRefused, decode
from fakelens.dataset.examine import Work, decoders, examine_image
from fakelens.sources.base import Block, Row
from fakelens.sources.folder import Files

MIN_RATE, MIN_SPEEDUP = 0.85, 1.8
_BLOCK = 32


def product_decode(data: bytes) -> Any:
    """The product's open, convert and resize."""
    try:
        return decode(data, short_side_px=STORED_PX, min_side_px=1)
    except ImageRefused as refusal:
        return refusal.reason


def product_work(data: bytes) -> Any:
    """All that prepare does to one picture."""
    digest = hashlib.sha256(data).hexdigest()
    try:
        return digest, examine_image(data, STORED_PX, min_side_px=1)
    except ImageRefused as refusal:
        return digest, refusal.reason


def blocks_on_disk(folder: Path, files: Sequence[bytes]) -> list[Work]:
    """The files as prepare's units of work, read from disk as those of a folder source are."""
    works = []
    for number, first in enumerate(range(0, len(files), _BLOCK)):
        piece = files[first : first + _BLOCK]
        keys = tuple(f"{first + index}.bin" for index in range(len(piece)))
        for key, data in zip(keys, piece, strict=True):
            (folder / key).write_bytes(data)
        rows = tuple(Row(index, 0, "any") for index in range(len(piece)))
        block = Block(number, rows, Files(folder, keys))
        works.append(Work(f"part-{number}", block, folder / "parts", STORED_PX, min_side_px=1))
    return works


def in_pool(submit: Callable[[Work], Future[Any]], works: Sequence[Work]) -> None:
    """All blocks through the product's processes; parts go to disk."""
    for future in [submit(work) for work in works]:
        future.result()


def bare_work(data: bytes) -> Image.Image:
    """The yardstick: nothing but Pillow, on the whole picture."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = STORED_PX / min(image.size)
    size = max(STORED_PX, round(image.width * scale)), max(STORED_PX, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC)


def in_process(work: Callable[[bytes], Any], files: Sequence[bytes]) -> None:
    """All files one after the other, here."""
    for data in files:
        work(data)


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of this process's processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def some_files(hub: Path, num_files: int) -> list[bytes]:
    """The first pictures of core/train, row group by row group, spread over its shards."""
    shards = [pq.ParquetFile(path) for path in sorted((hub / REPOSITORY / "core").glob("train-*.parquet"))]
    files: list[bytes] = []
    for number in range(max(shard.num_row_groups for shard in shards)):
        for shard in shards:
            if number < shard.num_row_groups and len(files) < num_files:
                column = shard.read_row_group(number, columns=["image.bytes"])["image"]
                files += [cell["bytes"] for cell in column.to_pylist()]
    return files[:num_files]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, required=True, help="folder with datasets/ in it: pictures of either size")
    parser.add_argument("--num-files", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    files = some_files(args.hub, args.num_files)
    turns: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("bare", "decode", "all work", "pool of 1", "pool of 2")
    }
    with tempfile.TemporaryDirectory() as folder, decoders(1, _BLOCK) as one, decoders(2, _BLOCK) as two:
        works = blocks_on_disk(Path(folder), files)
        runs = {
            "bare": functools.partial(in_process, bare_work, files),
            "decode": functools.partial(in_process, product_decode, files),
            "all work": functools.partial(in_process, product_work, files),
            "pool of 1": functools.partial(in_pool, one, works),
            "pool of 2": functools.partial(in_pool, two, works),
        }
        for pool in (one, two):
            in_pool(pool, works)  # starts the processes and their imports
        in_process(product_work, files[:_BLOCK])
        for _ in range(args.repeats):
            for name, run in runs.items():
                turns[name].append(timed(run))

    def median_ratio(slow: str, fast: str, kind: int) -> float:
        return statistics.median(a[kind] / b[kind] for a, b in zip(turns[slow], turns[fast], strict=True))

    rate, whole = median_ratio("bare", "decode", 1), median_ratio("bare", "all work", 1)
    speedup, over_loop = median_ratio("pool of 1", "pool of 2", 0), median_ratio("all work", "pool of 2", 0)
    per_s = {name: round(len(files) / statistics.median(turn[0] for turn in each), 1) for name, each in turns.items()}
    rows = [(f"{name}, pictures a second", str(value), "") for name, value in per_s.items()]
    rows += [
        ("decode and resize / bare loop, a core", f"{rate:.3f} (all work {whole:.3f})", f">= {MIN_RATE}"),
        ("2 processes / 1 process", f"{speedup:.3f} (over a plain loop {over_loop:.3f})", f">= {MIN_SPEEDUP}"),
    ]
    figures = {
        "num_files": len(files), "mean_bytes": sum(map(len, files)) // len(files), "repeats": args.repeats,
        "per_s": per_s, "rate": rate, "whole": whole, "speedup": speedup, "over_loop": over_loop,
    }  # fmt: skip
    return report(rows, figures, rate >= MIN_RATE and speedup >= MIN_SPEEDUP)


if __name__ == "__main__":
    sys.exit(main())
