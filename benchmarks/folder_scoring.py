"""How close judging a folder comes to what decoding and inference cost by themselves, spread over the cores.

The figure: (decoding + inference, one thread, one after the other) / cores / (time of `judge_files`) is 0.9 or more.
Turns alternate and ratios are medians over turns; the machine must have the cores idle. Beside it stands the same by
processor time, which another's work disturbs less: what threads add to the work itself.

    python benchmarks/folder_scoring.py --model FILE.onnx --hub HUB
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from decoding import some_files, timed
from harness import report

from fakelens.core import imaging
from fakelens.core.machine import available_cpus
from fakelens.export.benchmark import large_jpeg
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.folder import judge_files
from fakelens.runtime.judgement import Judgement

MIN_SHARE = 0.9
_LARGE_SEEDS = 4


def written(folder: Path, pictures: Sequence[bytes]) -> list[Path]:
    """The pictures as files."""
    paths = [folder / f"{number:05}.bin" for number in range(len(pictures))]
    for path, data in zip(paths, pictures, strict=True):
        path.write_bytes(data)
    return paths


def decoding(detector: OnnxDetector, paths: Sequence[Path]) -> None:
    """Everything before inference, one picture after the other."""
    for path in paths:
        picture, _ = imaging.decode(path.read_bytes(), short_side_px=detector.stored_px)
        imaging.to_model_input(imaging.to_square(picture)[None], detector.input_px)


def inference(detector: OnnxDetector, num_images: int) -> None:
    """Nothing but inference, one picture after the other."""
    image = np.random.default_rng(0).random((1, 3, detector.input_px, detector.input_px), dtype=np.float32)
    for _ in range(num_images):
        detector.score(image)


def turns_of(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds (by the clock, of the processor) of every run's turns; the runs alternate."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            turns[name].append(timed(run))
    return turns


def share(turns: dict[str, list[tuple[float, float]]], name: str, kind: int, cores: int) -> float:
    """Median over turns of what the parts allow, as a share of what the whole took."""
    parts = zip(turns["decoding"], turns["inference"], turns[name], strict=True)
    return statistics.median((d[kind] + i[kind]) / cores / whole[kind] for d, i, whole in parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an ONNX file that `fakelens export` wrote")
    parser.add_argument("--hub", type=Path, required=True, help="folder with datasets/ in it, for pictures")
    parser.add_argument("--num-files", type=int, default=400)
    parser.add_argument("--num-large", type=int, default=40, help="12-megapixel JPEGs of our own")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=available_cpus())
    args = parser.parse_args()
    detector = OnnxDetector(args.model, num_threads=1)
    large = [large_jpeg(seed) for seed in range(_LARGE_SEEDS)]
    sets = {
        "data set": some_files(args.hub, args.num_files),
        "12 megapixels": [large[number % _LARGE_SEEDS] for number in range(args.num_large)],
    }
    rows, figures, shares = [], {"workers": args.workers, "repeats": args.repeats, "model": args.model.name}, []
    for title, pictures in sets.items():
        with tempfile.TemporaryDirectory() as name:
            found = list(judge_files(detector, written(Path(name), pictures), num_workers=args.workers))
            paths = [Path(answer.name) for answer in found if isinstance(answer, Judgement)]
            runs = {
                "decoding": lambda paths=paths: decoding(detector, paths),
                "inference": lambda paths=paths: inference(detector, len(paths)),
                "folder": lambda paths=paths: [*judge_files(detector, paths, num_workers=args.workers)],
            }
            turns = turns_of(runs, args.repeats)
        clock, processor = share(turns, "folder", 0, args.workers), share(turns, "folder", 1, 1)
        shares.append(clock)
        each_ms = {
            name: round(1000 * statistics.median(t[0] for t in each) / len(paths), 3) for name, each in turns.items()
        }
        rows += [(f"{title}: {name}, ms a picture", str(ms), "") for name, ms in each_ms.items()]
        rows.append((f"{title}: allowed / taken (processor time)", f"{clock:.3f} ({processor:.3f})", f">= {MIN_SHARE}"))
        figures[title] = {"num": len(paths), "ms": each_ms, "share": clock, "processor_share": processor}
    return report(rows, figures, min(shares) >= MIN_SHARE)


if __name__ == "__main__":
    sys.exit(main())
