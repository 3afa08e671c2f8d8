"""Full-size detectors with random weights, exported: what time and memory can be measured with before any training.

    python benchmarks/untrained.py FOLDER [DETECTOR ...]

writes FOLDER/DETECTOR/best.safetensors, FOLDER/DETECTOR/onnx/*.onnx and FOLDER/bundle; their verdicts mean nothing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from fakelens.bundle.writer import ModelEntry, write_bundle
from fakelens.core.records import Metrics
from fakelens.core.scoring import OperatingPoint, Threshold
from fakelens.detectors.checkpoint import CheckpointInfo, build_network, save_checkpoint
from fakelens.detectors.spec import discover, find
from fakelens.export.onnx import export_onnx, write_metadata
from fakelens.export.quantize import Candidate, quantize_dynamic, quantize_static
from fakelens.runtime.bundle import BundleAbout
from fakelens.runtime.detector import OnnxMetadata

_DATA = BundleAbout("nothing: the weights are random", "CC0-1.0", 0, "none")
_NO_FIGURES = Metrics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ((0, 0), (0, 0)), 0)
_CALIBRATION_IMAGES = 8


def export_untrained(workdir: Path, name: str) -> Path:
    """Write one detector's checkpoint and ONNX files; returns the folder of the latter."""
    spec, onnx = find(name), workdir / name / "onnx"
    network = build_network(spec, spec.defaults, tiny=False, pretrained=False).eval()
    info = CheckpointInfo(
        detector=name, settings=spec.defaults, tiny=False, stored_px=256, demo=True, data_description=_DATA.description,
        data_licence=_DATA.licence, data_digest="", seed=0, epoch=0, val_loss=0.0,
    )  # fmt: skip
    onnx.mkdir(parents=True, exist_ok=True)
    save_checkpoint(workdir / name / "best.safetensors", network, info)
    px = spec.defaults.input_px
    images_nchw = np.random.default_rng(0).random((_CALIBRATION_IMAGES, 3, px, px), dtype=np.float32)
    export_onnx(onnx / "fp32.onnx", network, px, 1.0)
    quantize_dynamic(onnx / "fp32.onnx", onnx / "int8-dynamic.onnx")
    quantize_static(onnx / "fp32.onnx", onnx / "int8-static.onnx", images_nchw, Candidate())
    threshold = Threshold(0.5, 0.5)
    for path in onnx.glob("*.onnx"):
        points = (OperatingPoint(None, threshold),)
        metadata = OnnxMetadata(
            name, path.stem, px, info.stored_px, threshold, points, 1.0, demo=True, licence=_DATA.licence
        )
        write_metadata(path, metadata)
    return onnx


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("detectors", nargs="*", default=[s.name for s in discover().values() if s.runs_by_default])
    args = parser.parse_args()
    entries = [
        ModelEntry(
            export_untrained(args.folder, name) / "int8-static.onnx", find(name).display_name, find(name).summary,
            0.0, _NO_FIGURES, "# Untrained\n", ("Its weights are random.",),
        )
        for name in args.detectors
    ]  # fmt: skip
    print(write_bundle(args.folder / "bundle", entries, _DATA))
    return 0


if __name__ == "__main__":
    sys.exit(main())
