"""A stand-in of the hub at OpenFake's picture sizes, made out of a small one.

Every picture of core/train is repeated, each time with another crop, flip, colour and grain, enlarged to about a
thousand pixels and saved in its own format, so that no two files are alike and no two repeats near-duplicates. Schema
and parquet settings are the original's. Run again after a break, it goes on with the shards that are missing.

    python benchmarks/standin.py --hub HUB --out LARGE --shards 16 --row-groups 12 --rows 64 --side-px 1024
"""

import argparse
import io
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import REPOSITORY
from PIL import Image

_GRAIN_PX = 2048


@dataclass(frozen=True)
class Build:
    """What a larger stand-in is made of."""

    hub: str
    shards: int
    row_groups: int
    rows: int
    side_px: int
    seed: int


@lru_cache(maxsize=1)
def _originals(hub: str) -> pa.Table:
    """All of core/train: small enough to stand in memory once a process."""
    paths = sorted((Path(hub) / REPOSITORY / "core").glob("train-*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in paths])


def _write_shard(build: Build, shard: int, path: Path) -> None:
    originals = _originals(build.hub)
    num_rows = build.row_groups * build.rows
    first = shard * num_rows
    repeats = -(-build.shards * num_rows // len(originals))
    orders = [np.random.default_rng((build.seed, i)).permutation(len(originals)) for i in range(repeats)]
    chosen = np.concatenate(orders)[first : first + num_rows]
    table = originals.take(pa.array(chosen))
    images = [
        {"bytes": _varied(cell["bytes"], build, first + i, len(originals)), "path": f"{first + i}-{cell['path']}"}
        for i, cell in enumerate(table["image"].to_pylist())
    ]
    column = pa.array(images, type=table.schema.field("image").type)
    table = table.set_column(0, table.schema.field("image"), column).replace_schema_metadata(originals.schema.metadata)
    pq.write_table(table, path.with_suffix(".tmp"), row_group_size=build.rows, compression="none")
    path.with_suffix(".tmp").rename(path)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (_GRAIN_PX, _GRAIN_PX, 1)).astype(np.float32)


def _varied(data: bytes, build: Build, number: int, num_originals: int) -> bytes:
    rng = np.random.default_rng((build.seed, 1_000_000 + number))
    with Image.open(io.BytesIO(data)) as image:
        name, rgb = str(image.format), image.convert("RGB")
    width, height = (int(side * rng.uniform(0.65, 1)) for side in rgb.size)
    left, top = rng.integers(0, rgb.width - width + 1), rng.integers(0, rgb.height - height + 1)
    scale = build.side_px * rng.uniform(0.9, 1.1) / min(width, height)
    size = (min(_GRAIN_PX, round(width * scale)), min(_GRAIN_PX, round(height * scale)))
    large = rgb.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if (number // num_originals) % 2:  # every second repeat is mirrored: its perceptual hash is another one
        large = large.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    grain = _grain()[rng.integers(0, _GRAIN_PX - size[1] + 1) :, rng.integers(0, _GRAIN_PX - size[0] + 1) :]
    # PNG keeps every grain, at a byte or two each; lossy files of a camera's grain are as large as OpenFake's.
    strength = 0.7 if name == "PNG" else rng.uniform(2, 6)
    pixels = np.asarray(large, np.float32) * rng.uniform(0.85, 1.1, 3).astype(np.float32)
    pixels += strength * grain[: size[1], : size[0]]
    options = {"compress_level": 3} if name == "PNG" else {"quality": int(rng.integers(88, 97))}
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, name, **options)
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, required=True, help="folder of the small stand-in, with datasets/ in it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the large one; may be half done")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--row-groups", type=int, default=12, help="per shard")
    parser.add_argument("--rows", type=int, default=64, help="per row group")
    parser.add_argument("--side-px", type=int, default=1024, help="short side of the pictures, about")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    build = Build(str(args.hub), args.shards, args.row_groups, args.rows, args.side_px, args.seed)
    target = args.out / REPOSITORY
    (target / "core").mkdir(parents=True, exist_ok=True)
    made_of = args.out / "standin.json"
    if made_of.exists() and json.loads(made_of.read_text()) != asdict(build):
        parser.error(f"{args.out} holds a stand-in made otherwise: remove it or choose another --out")
    made_of.write_text(json.dumps(asdict(build)))
    for path in (args.hub / REPOSITORY).rglob("*"):
        copy = target / path.relative_to(args.hub / REPOSITORY)
        if path.is_file() and not path.name.startswith("train-") and not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
    paths = [target / "core" / f"train-{i:05d}-of-{args.shards:05d}.parquet" for i in range(args.shards)]
    todo = {number: path for number, path in enumerate(paths) if not path.exists()}
    with ProcessPoolExecutor(2) as pool:
        jobs = {pool.submit(_write_shard, build, number, path): path for number, path in todo.items()}
        for job, path in jobs.items():
            job.result()
            print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", flush=True)
    num_bytes = sum(path.stat().st_size for path in paths)
    num_rows = args.shards * args.row_groups * args.rows
    print(json.dumps({**asdict(build), "bytes": num_bytes, "images": num_rows, "image_bytes": num_bytes // num_rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
