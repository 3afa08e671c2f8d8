"""ONNX files in a process of its own that has no torch: their probabilities, loading time, memory.

`python -m fakelens.export.isolated scores OUT.npz MODEL.onnx… SQUARES.npy…` and `… cost MODEL.onnx PICTURE` are that
process.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError

_BATCH = 32
_PREDICTIONS = 5
_MODEL = ".onnx"
BATCHES = (1, 3, 5)


@dataclass(frozen=True)
class IsolatedScores:
    """The file's scores in a process without torch."""

    probability: npt.NDArray[np.float32]
    """(N,) of every image."""
    batch_difference: float
    """Largest difference that the batch makes to the first image, scored in batches of 1, 3 and 5."""


@dataclass(frozen=True)
class IsolatedCost:
    """Time and memory of a process that has just started."""

    load_ms: float
    """From the file to a detector that can judge, onnxruntime being imported already."""
    peak_mb: float
    """Largest resident memory of the whole process, Python and libraries included, after five predictions."""


def isolated_scores(models: Sequence[Path], squares: Sequence[Path]) -> list[list[IsolatedScores]]:
    """For each `.onnx` file the scores of each of `squares`, (N, S, S, 3) uint8 in an `.npy` file; all by one process.

    Raises:
        FakelensError: with what the process said, when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        out = Path(folder) / "scores.npz"
        _run("scores", out, *models, *squares)
        with np.load(out) as arrays:
            return [
                [
                    IsolatedScores(arrays[f"probability_{number}_{i}"], float(arrays[f"batch_difference_{number}_{i}"]))
                    for i in range(len(squares))
                ]
                for number in range(len(models))
            ]


def isolated_cost(model: Path, image: Path) -> IsolatedCost:
    """Time and memory that loading `model` and judging an image file take.

    Raises:
        FakelensError: with what the process said, when it fails.
    """
    return IsolatedCost(**json.loads(_run("cost", model, image)))


def _run(task: str, *paths: Path) -> str:
    command = [sys.executable, "-m", __name__, task, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        models = ", ".join(str(path) for path in paths if path.suffix == _MODEL)
        raise FakelensError(f"{models} does not work in a process of its own: {done.stderr.strip()}")
    return done.stdout


def _write_scores(out: Path, *paths: Path) -> None:
    from fakelens.core.imaging import to_model_input
    from fakelens.runtime.detector import OnnxDetector

    arrays: dict[str, Any] = {}
    models = [path for path in paths if path.suffix == _MODEL]
    for number, model in enumerate(models):
        detector = OnnxDetector(model)
        for i, path in enumerate(paths[len(models) :]):
            squares = np.load(path, mmap_mode="r")
            scores = [
                detector.score(to_model_input(np.asarray(squares[start : start + _BATCH]), detector.input_px))
                for start in range(0, len(squares), _BATCH)
            ]
            few = to_model_input(np.asarray(squares[: max(BATCHES)]), detector.input_px)
            firsts = [float(detector.score(few[:size])[0]) for size in BATCHES]
            arrays[f"probability_{number}_{i}"] = np.concatenate(scores)
            arrays[f"batch_difference_{number}_{i}"] = max(firsts) - min(firsts)
    np.savez(out, **arrays)


def _write_cost(model: Path, image: Path) -> None:
    from fakelens.runtime.detector import OnnxDetector
    from fakelens.runtime.judgement import judge

    started_s = time.perf_counter()
    detector = OnnxDetector(model, num_threads=1)
    load_ms = (time.perf_counter() - started_s) * 1000
    data = image.read_bytes()
    for _ in range(_PREDICTIONS):
        judge(data, detector)
    sys.stdout.write(json.dumps({"load_ms": round(load_ms, 1), "peak_mb": round(_peak_mb(), 1)}))


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss it forgets what the parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


if __name__ == "__main__":
    task, *paths = sys.argv[1:]
    if task == "scores":
        _write_scores(*map(Path, paths))
    else:
        _write_cost(*map(Path, paths))
    if "torch" in sys.modules:
        raise AssertionError("an exported file must not need torch")
