"""Peak memory of `fakelens prepare` on row groups as large as OpenFake's.

Makes parquet shards of noisy JPEGs whose row groups have the size asked for (pyarrow's defaults: all cells of a row
group in one dictionary page), serves them, and prepares half of the images with four row groups being downloaded. The
limit is 1 GB for the whole process tree (proportional set size) at 100 MB row groups.

    python benchmarks/row_groups.py --work DIR --workers 2 4
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import MIB, NO_TEST_SETS, REPOSITORY, hub_environment, measured, parsed_settings, prepare_command, serve
from harness import report as print_report
from PIL import Image

MAX_BYTES = 1_000_000_000
_ROWS, _GROUPS, _SHARDS = 69, 4, 2


def noisy_jpeg(rng: np.random.Generator, side_px: int) -> bytes:
    """A picture that compresses badly: about a byte per pixel at this quality."""
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (side_px, side_px, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def write_hub(folder: Path, group_mb: float, seed: int) -> float:
    """Write the shards; returns the mean size of a row group's image column in bytes."""
    rng = np.random.default_rng(seed)
    side_px = round(1024 * (group_mb * 1e6 / _ROWS / len(noisy_jpeg(rng, 1024))) ** 0.5)
    sizes = []
    for shard in range(_SHARDS):
        path = folder / REPOSITORY / "core" / f"train-{shard:05d}-of-{_SHARDS:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "image": {"bytes": noisy_jpeg(rng, side_px), "path": f"{row}.jpg"}, "prompt": "",
                "label": "fake" if row % 2 else "real", "model": f"m{row % 7}", "type": "", "release_date": "",
            }
            for row in range(_ROWS * _GROUPS)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=_ROWS)
        metadata = pq.read_metadata(path)
        sizes += [metadata.row_group(i).column(0).total_compressed_size for i in range(metadata.num_row_groups)]
    return float(np.mean(sizes))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the runs write; emptied")
    parser.add_argument("--group-mb", type=float, default=100, help="size of a row group's image column")
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 4], help="processes that decode, a run each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    shutil.rmtree(args.work / "row_groups", ignore_errors=True)
    hub = args.work / "row_groups" / "hub"
    group_bytes = write_hub(hub, args.group_mb, args.seed)
    rows, peaks = [("row group's image column", f"{group_bytes / 1e6:.1f} MB", "")], {}
    for workers in args.workers:
        work = args.work / "row_groups" / f"run-{workers}"
        settings = parsed_settings(
            [*NO_TEST_SETS, f"num_workers={workers}", f"num_images={_ROWS * _GROUPS * _SHARDS // 4 * 2}"]
        )
        with serve(hub) as endpoint:
            usage = measured(prepare_command(work, settings), hub_environment(endpoint, args.work / "hf"))
        if usage.status:
            sys.exit(usage.output)
        peaks[workers] = usage.pss_mib * MIB
        told = f"{peaks[workers] / 1e6:.0f} MB ({usage.seconds:.1f} s)"
        rows.append((f"peak memory, {workers} decoding processes, 4 downloads", told, f"<= {MAX_BYTES / 1e6:.0f} MB"))
    figures = {"group_bytes": group_bytes, "peak_bytes": peaks, "seed": args.seed}
    return print_report(rows, figures, max(peaks.values()) <= MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
