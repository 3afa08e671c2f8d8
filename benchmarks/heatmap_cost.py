"""What the output `heatmap` adds to a file's latency: at most 5 %.

Each network is exported twice, with the heatmap and as its own `forward` alone, fp32 and static INT8, with random
weights; the two are timed in turns, 1 thread, batch 1.

    python benchmarks/heatmap_cost.py [DETECTOR ...]
"""

import argparse
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import onnxslim
import torch
from decoding import timed
from harness import report

from fakelens.detectors.checkpoint import build_network
from fakelens.detectors.spec import discover, find
from fakelens.export.onnx import OPSET, _pool_by_name, export_onnx
from fakelens.export.quantize import Candidate, quantize_static

MAX_RATIO = 1.05
_RUNS = 12


def export_plain(path: Path, network: torch.nn.Module, input_px: int) -> None:
    """The network as it is, with nothing but a probability: as `export_onnx` does it otherwise."""
    module = torch.nn.Sequential(network, torch.nn.Sigmoid()).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(1, 3, input_px, input_px),), path, opset_version=OPSET, dynamo=False,
            input_names=["image"], output_names=["probability"],
            dynamic_axes={name: {0: "batch"} for name in ("image", "probability")},
        )  # fmt: skip
        model = onnxslim.slim(str(path))
    _pool_by_name(model)
    onnx.save(model, path)


def measure(name: str, folder: Path, turns: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds without and with the heatmap, for fp32 and static INT8."""
    spec = find(name)
    network = build_network(spec, spec.defaults, tiny=False, pretrained=False).eval()
    input_px = spec.defaults.input_px
    paths = {kind: folder / f"{kind}.onnx" for kind in ("plain", "heatmap")}
    export_plain(paths["plain"], network, input_px)
    export_onnx(paths["heatmap"], network, input_px, temperature=1.0)
    images = np.random.default_rng(0).random((8, 3, input_px, input_px), dtype=np.float32)
    found = {}
    for variant in ("fp32", "int8-static"):
        if variant == "int8-static":
            for path in paths.values():
                quantize_static(path, path, images, Candidate(rounding="nearest"))
        sessions = [_session(paths[kind]) for kind in ("plain", "heatmap")]
        times = [[timed(lambda s=s: _run(s, images[:1]))[0] * 1e3 / _RUNS for s in sessions] for _ in range(turns + 1)]
        plain, heatmap = (statistics.median(column[1:]) for column in zip(*times, strict=True))
        found[variant] = (plain, heatmap)
    return found


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, image: np.ndarray) -> None:
    for _ in range(_RUNS):
        session.run(None, {"image": image})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=sorted(discover()))
    parser.add_argument("--turns", type=int, default=40)
    args = parser.parse_args()
    rows, figures = [], {}
    for name in args.detectors:
        with tempfile.TemporaryDirectory() as folder:
            for variant, (plain, heatmap) in measure(name, Path(folder), args.turns).items():
                figures[f"{name} {variant}"] = {"plain_ms": plain, "heatmap_ms": heatmap, "ratio": heatmap / plain}
                measured = f"{plain:.2f} → {heatmap:.2f} ms, times {heatmap / plain:.3f}"
                rows.append((f"{name} {variant}", measured, f"at most {MAX_RATIO}"))
    passed = all(one["ratio"] <= MAX_RATIO for one in figures.values())
    return report(rows, figures, passed)


if __name__ == "__main__":
    sys.exit(main())
