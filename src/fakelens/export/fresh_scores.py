"""One ONNX file and prepared pictures in; its probabilities out, from a process of its own that has no torch.

`python -m fakelens.export.fresh_scores MODEL SQUARES.npy OUT.npz` is that process; `score_fresh` runs it.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fakelens.core.errors import FakelensError

_BATCH = 32
BATCHES = (1, 3, 5)


@dataclass(frozen=True)
class FreshScores:
    """What a person without torch gets from the file."""

    probability: npt.NDArray[np.float32]
    """(N,) of every picture."""
    batch_difference: float
    """Largest difference that the batch makes to the first picture, scored in batches of 1, 3 and 5."""


def score_fresh(model: Path, squares: Path) -> FreshScores:
    """Start a process that scores `squares`, (N, S, S, 3) uint8 in an `.npy` file.

    Raises:
        ValueError: with what the process said, when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        out = Path(folder) / "scores.npz"
        command = [sys.executable, "-m", __name__, str(model), str(squares), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FakelensError(f"{model} cannot be verified in a process of its own: {done.stderr.strip()}")
        with np.load(out) as found:
            return FreshScores(found["probability"], float(found["batch_difference"]))


def _main(model: Path, squares_path: Path, out: Path) -> None:
    from fakelens.core.imaging import to_model_input
    from fakelens.runtime.detector import OnnxDetector

    detector = OnnxDetector(model)
    squares = np.load(squares_path, mmap_mode="r")
    scored = [
        detector.score(to_model_input(np.asarray(squares[start : start + _BATCH]), detector.input_px))
        for start in range(0, len(squares), _BATCH)
    ]
    few = to_model_input(np.asarray(squares[: max(BATCHES)]), detector.input_px)
    firsts = [float(detector.score(few[:size])[0]) for size in BATCHES]
    if "torch" in sys.modules:
        raise AssertionError("an exported file must not need torch")
    np.savez(out, probability=np.concatenate(scored), batch_difference=max(firsts) - min(firsts))


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
