"""Static INT8 beside other runtimes and ways of quantisation, with the ratios that were once aimed at.

For every detector of a finished working folder: onnxruntime's default dynamic INT8 (QInt8 weights), PyTorch compiled,
and OpenVINO where it is installed, each timed in turns with fp32 and static INT8, one thread, batch 1.

    python benchmarks/runtimes.py WORKDIR [--rounds 15]
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import quantize_dynamic

from fakelens.detectors.checkpoint import load_checkpoint
from fakelens.export.benchmark import exported_files
from fakelens.runtime.detector import OnnxDetector

# Aimed at: how many times static INT8's time the other takes.
TARGETS = {"fp32": 2.0, "dynamic QInt8 (default)": 10.0, "PyTorch compiled": 3.0}

Score = Callable[[np.ndarray], Any]


def compiled(checkpoint: Path) -> Score:
    """One thread: a compiled module holds the number of threads that it was compiled for."""
    torch.set_num_threads(1)
    module = torch.compile(load_checkpoint(checkpoint)[0], dynamic=False)

    def score(images_nchw: np.ndarray) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(images_nchw))

    return score


def openvino(path: Path) -> Score:
    import openvino

    options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda images_nchw: request.infer({"image": images_nchw})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    files = exported_files(chosen.workdir, None)
    for detector in dict.fromkeys(file.detector for file in files):
        own = {file.variant: file for file in files if file.detector == detector}
        with tempfile.TemporaryDirectory() as folder:
            ways = {name: OnnxDetector(own[name].path, num_threads=1).score for name in ("fp32", "int8-static")}
            quantize_dynamic(own["fp32"].path, Path(folder) / "dynamic.onnx")
            ways["dynamic QInt8 (default)"] = OnnxDetector(Path(folder) / "dynamic.onnx", num_threads=1).score
            if own["fp32"].checkpoint:
                ways["PyTorch compiled"] = compiled(own["fp32"].checkpoint)
            if importlib.util.find_spec("openvino"):
                ways |= {f"OpenVINO {name}": openvino(own[name].path) for name in ("fp32", "int8-static")}
            px = OnnxDetector(own["fp32"].path, num_threads=1).input_px
            image = np.random.default_rng(0).random((1, 3, px, px), dtype=np.float32)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(chosen.rounds):
                for name, score in ways.items():
                    score(image)
                    started_s = time.perf_counter()
                    score(image)
                    times[name].append(1000 * (time.perf_counter() - started_s))
        medians = {name: statistics.median(values) for name, values in times.items()}
        for name, median in medians.items():
            wanted = f", aimed at {TARGETS[name]:g}" if name in TARGETS else ""
            print(f"{detector}: {name} {median:.2f} ms, {median / medians['int8-static']:.2f} × static INT8{wanted}")


if __name__ == "__main__":
    main()
