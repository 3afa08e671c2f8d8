"""The usual way to a balanced sample: `datasets` streaming, shuffle and filter; reading.py measures fakelens beside it.

Runs with an interpreter that has `datasets`. It is written to be quick: the filter sees text columns alone, so that no
picture is decoded to be dropped, and squares go to a memory-mapped file rather than into a list. Quotas are a JSON
object of `label` or `label/generator`: how many.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from datasets import load_dataset
from PIL import Image

SIDE_PX = 256


def square(image: Image.Image) -> np.ndarray:
    """Short side to 256 px, centre crop; (256, 256, 3) uint8."""
    rgb = image.convert("RGB")
    scale = SIDE_PX / min(rgb.size)
    rgb = rgb.resize((max(SIDE_PX, round(rgb.width * scale)), max(SIDE_PX, round(rgb.height * scale))))
    left, top = (rgb.width - SIDE_PX) // 2, (rgb.height - SIDE_PX) // 2
    return np.array(rgb.crop((left, top, left + SIDE_PX, top + SIDE_PX)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quotas", type=Path, required=True, help="JSON file: how many of what")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--buffer-size", type=int, default=1000, help="of the shuffle; 1000 is the library's default")
    parser.add_argument("--out", type=Path, required=True, help=".npy file for the squares")
    args = parser.parse_args()
    quotas: dict[str, int] = json.loads(args.quotas.read_text())
    num_images, taken, seen = sum(quotas.values()), Counter[str](), 0

    def name(label: str, model: str) -> str:
        return label if label in quotas else f"{label}/{model}"

    def wanted(label: str, model: str) -> bool:
        nonlocal seen
        seen += 1
        return taken[name(label, model)] < quotas.get(name(label, model), 0)

    stream = load_dataset("ComplexDataLab/OpenFake", "core", split="train", streaming=True)
    shuffled = stream.shuffle(seed=args.seed, buffer_size=args.buffer_size)
    sample = shuffled.filter(wanted, input_columns=["label", "model"])
    shape = (num_images, SIDE_PX, SIDE_PX, 3)
    squares = np.lib.format.open_memmap(args.out, mode="w+", dtype=np.uint8, shape=shape)
    for row, example in enumerate(sample):
        squares[row] = square(example["image"])
        taken[name(example["label"], example["model"])] += 1
        if taken.total() == num_images:
            break
    squares.flush()
    print(json.dumps({"complete": dict(taken) == quotas, "seen": seen}))


if __name__ == "__main__":
    main()
