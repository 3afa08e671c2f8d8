"""One ONNX file in a process of its own: how long loading takes and how much memory judging does; never torch.

`python -m fakelens.export.fresh_process MODEL PICTURE` writes one JSON object; `measure_fresh` runs it.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fakelens.core.errors import FakelensError

_PREDICTIONS = 5


@dataclass(frozen=True)
class Fresh:
    """What a process that has just started sees."""

    load_ms: float
    """From the file to a detector that can judge, onnxruntime being imported already."""
    peak_mb: float
    """Largest resident memory of the whole process, Python and libraries included, after five predictions."""


def measure_fresh(model: Path, picture: Path) -> Fresh:
    """Start a process that loads `model` and judges `picture`.

    Raises:
        ValueError: with what the process said, when it fails.
    """
    command = [sys.executable, "-m", __name__, str(model), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FakelensError(f"{model} cannot be measured in a process of its own: {done.stderr.strip()}")
    return Fresh(**json.loads(done.stdout))


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss it forgets what the parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _main(model: Path, picture: Path) -> None:
    from fakelens.runtime.detector import OnnxDetector

    started_s = time.perf_counter()
    detector = OnnxDetector(model, num_threads=1)
    load_ms = (time.perf_counter() - started_s) * 1000
    data = picture.read_bytes()
    for _ in range(_PREDICTIONS):
        detector.predict(data)
    assert "torch" not in sys.modules
    sys.stdout.write(json.dumps({"load_ms": round(load_ms, 1), "peak_mb": round(_peak_mb(), 1)}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
