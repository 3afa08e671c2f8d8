"""What `fakelens prepare` makes of 500 malformed, hostile and merely odd pictures among good ones.

Figure 5: nothing crashes; each picture that cannot be used is counted under its reason and is not in the data; each
odd but legitimate one (16 bits, CMYK, palette, alpha, animated, turned by EXIF, wrong extension …) is in the data and
shows what a viewer would show; the numbers add up exactly. Each kind is a generator of its own, so that a choice
balanced over generators draws all of them.

    python benchmarks/hostile.py --work DIR
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import NO_TEST_SETS, REPOSITORY, hub_environment, measured, parsed_settings, prepare_command, report, serve
from odd_pictures import BROKEN, MIN_SIDE_PX, ODD, Picture, appearance, saved, scene
from PIL import Image

from fakelens.core.imaging import ImageRefused, decode

STORED_PX, NUM_GOOD, PER_KIND, SHARDS, GROUP_ROWS = 256, 300, 18, 2, 32
# Mean difference of 32 × 32 px averages, of 255: dithering and lossy codecs stay below, a wrong picture does not.
MAX_DIFFERENCE = 8.0


@dataclass
class Collection:
    """The rows of the hub's table, and what must become of them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, np.ndarray] = field(default_factory=dict)
    """File name of each usable picture: what a viewer shows, (32, 32, 3)."""
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, kind: str, number: int, data: bytes | None, ending: str, shows: Picture | None) -> None:
        """One picture; `shows` is None for a broken one."""
        name, label = f"{kind}-{number:04d}{ending}", ("real", "fake")[number % 2]
        no_cell = data is None and number % 8 > 4  # the whole cell may be null, or only the bytes in it
        image = None if no_cell else {"bytes": data, "path": name}
        row = {"image": image, "prompt": name, "label": label, "model": f"{kind}-{label}"}
        self.rows.append(row | {"type": "image", "release_date": ""})
        reason = self._refusal(name, data or b"")
        if shows is not None:
            self.shown[name] = _small(shows)
        if reason is not None:
            self.refused[reason] += 1
        allowed = {None} if shows is not None else BROKEN[kind][0]
        if reason not in allowed:
            self.faults.append(f"{name} is refused as {reason}, not {'/'.join(map(str, allowed))}")

    def _refusal(self, name: str, data: bytes) -> str | None:
        """The decoder's own reason; an error of any other kind is a crash."""
        try:
            decode(data, min_side_px=MIN_SIDE_PX)
        except ImageRefused as refusal:
            return refusal.reason
        except Exception as error:  # what is looked for
            self.faults.append(f"{name} crashes the decoder: {error!r}")
            return "crash"
        return None


def _small(picture: Picture) -> np.ndarray:
    """The centre square at 32 × 32 px."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((32, 32), Image.Resampling.BOX), np.float32)


def collected() -> Collection:
    """Good, odd and broken pictures, labels alternating in each kind."""
    collection, numbers = Collection(), iter(range(1_000_000))
    for i in range(NUM_GOOD):
        picture = scene(next(numbers))
        collection.add(f"good-{i // 2 % 3}", i, saved(picture, "JPEG", quality=90), ".jpg", picture)
    for kind, (ending, make) in ODD.items():
        for i in range(PER_KIND):
            picture = scene(next(numbers))
            collection.add(kind, i, make(picture, i), ending, appearance(kind, picture))
    for kind, (_, make) in BROKEN.items():
        for i in range(PER_KIND):
            collection.add(kind, i, make(scene(next(numbers)), i), ".jpg", None)
    return collection


def write_hub(hub: Path, collection: Collection) -> dict[str, str]:
    """Write the rows in a random order as OpenFake's shards; returns each key's file name."""
    order = np.random.default_rng(1).permutation(len(collection.rows))
    per_shard = -(-len(order) // SHARDS)
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    texts = ("prompt", "label", "model", "type", "release_date")
    schema = pa.schema([("image", image), *((name, pa.string()) for name in texts)])
    names = {}
    (hub / REPOSITORY / "core").mkdir(parents=True)
    for shard in range(SHARDS):
        rows = [collection.rows[i] for i in order[shard * per_shard : (shard + 1) * per_shard]]
        path = f"core/train-{shard:05d}-of-{SHARDS:05d}.parquet"
        table = pa.Table.from_pylist(rows, schema)
        pq.write_table(table, hub / REPOSITORY / path, row_group_size=GROUP_ROWS, compression="none")
        keys = (f"{path}#{i // GROUP_ROWS}:{i % GROUP_ROWS}" for i in range(len(rows)))
        names |= dict(zip(keys, (row["prompt"] for row in rows), strict=True))
    return names


def compared(data: Path, collection: Collection, names: dict[str, str]) -> tuple[list[str], float]:
    """What is wrong with the prepared data, and the largest difference of a picture from what a viewer shows."""
    manifest = pq.read_table(data / "manifest.parquet").to_pylist()
    arrays = {split: np.load(data / f"{split}.npy", mmap_mode="r") for split in ("train", "val", "test")}
    faults = []
    for split, array in arrays.items():
        num_rows = sum(row["split"] == split for row in manifest)
        if array.dtype != np.uint8 or array.shape != (num_rows, STORED_PX, STORED_PX, 3):
            faults.append(f"{split}.npy is {array.dtype} {array.shape} for {num_rows} rows")
    found = Counter(names[row["key"]] for row in manifest)
    faults += [f"{name} is in the data {count} times" for name, count in found.items() if count > 1]
    faults += [f"{name} is in the data" for name in sorted(set(found) - set(collection.shown))]
    faults += [f"{name} is not in the data" for name in sorted(set(collection.shown) - set(found))]
    largest = 0.0
    for row in manifest:
        name = names[row["key"]]
        if name in collection.shown:
            stored = _small(Image.fromarray(arrays[row["split"]][row["row"]]))
            difference = float(np.abs(stored - collection.shown[name]).mean())
            largest = max(largest, difference)
            if difference > MAX_DIFFERENCE:
                faults.append(f"{name} looks wrong: {difference:.1f} of 255")
    return faults, largest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what the run writes")
    parser.add_argument("--set", nargs="*", default=NO_TEST_SETS, metavar="KEY=VALUE", help="further data.KEY")
    args = parser.parse_args()
    work = args.work / "hostile"
    shutil.rmtree(work, ignore_errors=True)
    collection = collected()
    names = write_hub(work / "hub", collection)
    wanted = {"num_images": len(collection.shown), "num_shards": SHARDS, "min_side_px": MIN_SIDE_PX}
    settings = wanted | {"stored_px": STORED_PX, **parsed_settings(args.set)}
    with serve(work / "hub") as endpoint:
        usage = measured(prepare_command(work, settings), hub_environment(endpoint, work / "hf"), timeout_s=1800)
    faults, largest, counted = list(collection.faults), 0.0, {}
    if usage.status:
        faults.append(f"prepare ended with {usage.status}: {usage.output[-2000:]}")
    else:
        more, largest = compared(work / "data", collection, names)
        record = json.loads((work / "data" / "prepare.json").read_text())
        counted = {reason: count for reason, count in record["refused"].items() if count}
        faults += more
        if counted != dict(collection.refused):
            faults.append(f"refused: {counted}, not {dict(collection.refused)}")
    for fault in faults:
        print(fault)
    num_hostile = len(collection.rows) - NUM_GOOD
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counted.items()))
    rows = [
        ("odd and broken pictures", f"{num_hostile} of {len(ODD) + len(BROKEN)} kinds", ">= 500"),
        ("usable ones in the data", str(len(collection.shown)), f"{len(collection.shown)}, all and only they"),
        ("refused by prepare", reasons or "none", f"{collection.refused.total()} in all"),
        ("largest difference from a viewer's picture", f"{largest:.2f} of 255", f"<= {MAX_DIFFERENCE}"),
        ("faults", str(len(faults)), "0"),
    ]
    figures = {"pictures": len(collection.rows), "hostile": num_hostile, "usable": len(collection.shown)}
    figures |= {"refused": counted, "largest_difference": round(largest, 2), "faults": len(faults)}
    return report(rows, figures, not faults and num_hostile >= 500)


if __name__ == "__main__":
    sys.exit(main())
