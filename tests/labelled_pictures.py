"""Folders of labelled pictures and models to judge them with, for the tests of `fakelens judge`."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fakelens.core.artifacts import Stage, write_json
from fakelens.core.scoring import OperatingPoint, Threshold
from fakelens.detectors.checkpoint import CheckpointInfo, build_network, save_checkpoint
from fakelens.detectors.spec import DetectorSpec, discover
from fakelens.evaluation.metrics import EvaluateResults, summarise
from onnx_models import encoded, flat_picture

# Brightness of flat pictures. The tiny ONNX detector calls fake what is brighter than 127: one mistake of each kind.
LEVELS = {
    "real/camera/a.png": 0,
    "real/camera/b.png": 60,
    "real/phone/c.png": 100,
    "real/d.png": 200,
    "fake/flux/e.png": 255,
    "fake/flux/f.png": 220,
    "fake/sdxl/g.png": 180,
    "fake/h.png": 90,
}


def fill(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def flat_folder(root: Path) -> Path:
    """Eight flat pictures, four of each label."""
    return fill(root, {name: flat_picture(level) for name, level in LEVELS.items()})


@functools.cache
def structured(seed: int, format: str = "PNG") -> bytes:
    """A picture of soft blots that looks like no other seed's."""
    blots = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return encoded(Image.fromarray(blots).resize((300, 300), Image.Resampling.BICUBIC), format)


def scores_file(path: Path, scores: Mapping[str, float | str], columns: str = "image,score") -> Path:
    path.write_text("\n".join([columns, *(f"{image},{score}" for image, score in scores.items())]) + "\n")
    return path


def tiny_checkpoint(path: Path) -> DetectorSpec:
    """Write an untrained checkpoint of the first detector, tiny, on 80-pixel squares."""
    spec = next(iter(discover().values()))
    settings = spec.defaults.model_copy(update={"input_px": 64, "pretrained": False})
    torch.manual_seed(0)
    network = build_network(spec, settings, tiny=True, pretrained=False).eval()
    info = CheckpointInfo(spec.name, settings, True, 80, False, "test data", "no licence", "0" * 64, 0, 3, 0.5)
    save_checkpoint(path, network, info)
    return spec


def evaluated(checkpoint: Path, temperature: float, points: Sequence[tuple[float | None, float, float]]) -> None:
    """Write the records that `fakelens train` and `fakelens evaluate` leave beside a checkpoint."""
    train = Stage("train", checkpoint.parent, version=1, settings={}, inputs={}).finish([checkpoint], {})
    kept = tuple(OperatingPoint(rate, Threshold(real, fake)) for rate, real, fake in points)
    val = summarise(np.array([0, 1]), np.array([0.1, 0.9]), ["camera", "flux"], kept, seed=0, num_resamples=1)
    stage = Stage("evaluate", checkpoint.parent / "evaluation", version=1, settings={}, inputs={"train": train.digest})
    results = asdict(EvaluateResults((), temperature, kept[0].threshold, kept, val, {}))
    write_json(stage.folder / "metrics.json", results)  # stands for the figures, which differ with these
    stage.finish([stage.folder / "metrics.json"], results)
