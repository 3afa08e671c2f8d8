"""Exported files and checkpoints in; what is timed side by side out: their ONNX files, and other ways to run them."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.artifacts import read_json
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32
from fakelens.core.run_folder import RunFolder
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.detector import OnnxDetector

EAGER, COMPILED, DEFAULT_DYNAMIC, OPENVINO = "PyTorch eager", "PyTorch compiled", "dynamic QInt8 (default)", "OpenVINO"
_FP32 = "fp32"

Score = Callable[[ImageF32], Any]


@dataclass(frozen=True)
class Exported:
    """One ONNX file of one detector."""

    detector: str
    variant: str
    path: Path
    accuracy: float | None
    """On the test split; None where no record says it."""
    checkpoint: Path | None = None
    """What it was exported from, where that is at hand."""


@dataclass(frozen=True)
class Contestant:
    """Something that scores pictures; `open` gives (N, 3, S, S) -> probabilities on that many threads."""

    detector: str
    name: str
    input_px: int
    open: Callable[[int], Score]
    exported: Exported | None = None
    """The file, for those that ship; None for the others, which are only compared with."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads that it can be timed with."""


@dataclass(frozen=True)
class Absent:
    """What could not be timed, and why."""

    detector: str
    name: str
    why: str


def exported_files(workdir: Path, detectors: Sequence[str] | None) -> list[Exported]:
    """Every ONNX file of these detectors in a working folder, None being all that it has files of.

    Raises:
        ValueError: when there is none.
    """
    found = []
    names = sorted(path.parent.name for path in workdir.glob("*/onnx")) if detectors is None else detectors
    for name in names:
        folder = RunFolder(workdir).detector(name).onnx
        record = folder / "export.json"
        variants = read_json(record)["variants"] if record.exists() else []
        accuracies = {variant["file"]: variant["metrics"]["accuracy"] for variant in variants}
        checkpoint = RunFolder(workdir).detector(name).best
        for path in sorted(folder.glob("*.onnx")):
            known = checkpoint if checkpoint.exists() else None
            found.append(Exported(name, path.stem, path, accuracies.get(path.name), known))
    if not found:
        raise FakelensError(f"nothing is exported in {workdir}: run `fakelens run` or `fakelens export DETECTOR` first")
    return found


def bundled_files(folder: Path) -> list[Exported]:
    """The models of a bundle, each checked against `bundle.json`.

    Raises:
        ValueError: when the folder is no bundle or a file is not the one that it describes.
    """
    bundle = Bundle.open(folder, num_threads=1)
    for model in bundle.models:
        bundle.detector(model.name)
    return [Exported(m.name, m.variant, folder / m.file, m.metrics.accuracy) for m in bundle.models]


def contestants(
    files: Sequence[Exported], scratch: Path, *, compiled: bool, others: bool = True
) -> Iterator[Contestant | Absent]:
    """The files and, for each detector's fp32 file and checkpoint, the other ways to run it.

    `scratch` takes files made for the comparison alone; `compiled` and `others` say what is compared with.
    """
    has_openvino = importlib.util.find_spec("openvino") is not None
    if others and not has_openvino:
        yield Absent("every detector", OPENVINO, "not installed")
    for file in files:
        yield _onnx(file, file.variant, file.path, file)
        if others and has_openvino:
            yield _openvino(file)
        if others and file.variant == _FP32:
            target = scratch / f"{file.detector}-qint8.onnx"
            _default_dynamic(file.path, target)
            yield _onnx(file, DEFAULT_DYNAMIC, target)
            yield from _torch(file, compiled)


def _onnx(file: Exported, name: str, path: Path, exported: Exported | None = None) -> Contestant:
    def opened(num_threads: int) -> Score:
        return OnnxDetector(path, num_threads=num_threads).score

    return Contestant(file.detector, name, OnnxDetector(path, num_threads=1).input_px, opened, exported)


def _default_dynamic(source: Path, target: Path) -> None:
    """Dynamic INT8 as onnxruntime makes it unasked (QInt8 weights): slow kernels, for comparison only."""
    import logging

    from onnxruntime.quantization import quantize_dynamic

    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises pre-processing on the root logger
    try:
        quantize_dynamic(source, target)
    finally:
        logging.getLogger().setLevel(level)


def _torch(file: Exported, compiled: bool) -> Iterator[Contestant | Absent]:
    if file.checkpoint is None:
        yield Absent(file.detector, EAGER, "the checkpoint is not at hand")
        return
    import torch

    from fakelens.detectors.checkpoint import load_checkpoint

    network, info = load_checkpoint(file.checkpoint)
    px = info.settings.input_px

    def opened(num_threads: int, module: Callable[[Any], Any] = network) -> Score:
        def score(images_nchw: ImageF32) -> Any:
            torch.set_num_threads(num_threads)
            with torch.inference_mode():
                return module(torch.from_numpy(images_nchw))

        return score

    yield Contestant(file.detector, EAGER, px, opened)
    if not compiled:
        yield Absent(file.detector, COMPILED, "not asked for")
        return
    # A compiled module holds the number of threads that it was compiled for.
    module: Any = torch.compile(network, dynamic=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own imports use what torch deprecates
            opened(1, module)(np.zeros((1, 3, px, px), dtype=np.float32))
    except Exception as error:  # whatever the compiler's tools throw
        yield Absent(file.detector, COMPILED, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
        return
    yield Contestant(file.detector, COMPILED, px, lambda num_threads: opened(num_threads, module), threads=(1,))


def _openvino(file: Exported) -> Contestant | Absent:
    import openvino

    name = f"{OPENVINO} {file.variant}"

    def opened(num_threads: int) -> Score:
        options = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
        model: Any = openvino.Core().compile_model(str(file.path), "CPU", options)
        request = model.create_infer_request()
        return lambda images_nchw: request.infer({"image": images_nchw})

    px = OnnxDetector(file.path, num_threads=1).input_px
    try:
        opened(1)(np.zeros((1, 3, px, px), dtype=np.float32))
    except Exception as error:  # it has exception types of its own for operators that it lacks
        return Absent(file.detector, name, str(error).strip().splitlines()[0])
    return Contestant(file.detector, name, px, opened)
