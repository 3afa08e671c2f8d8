"""Tiny ONNX detectors, pictures and bundles for the tests of runtime, app and bundle."""

import functools
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from PIL import Image

from fakelens.bundle.writer import ModelEntry, write_bundle
from fakelens.core.records import GateResult, Metrics, Variant
from fakelens.runtime.bundle import BundleAbout

METADATA = {
    "fakelens.name": "tiny",
    "fakelens.input_px": "224",
    "fakelens.stored_px": "256",
    "fakelens.threshold_real": "0.4",
    "fakelens.threshold_fake": "0.6",
    "fakelens.operating_points": (
        '[{"false_positive_rate": null, "threshold": {"real": 0.4, "fake": 0.6}},'
        ' {"false_positive_rate": 0.01, "threshold": {"real": 0.4, "fake": 0.9}}]'
    ),
    "fakelens.temperature": "1.0",
    "fakelens.variant": "fp32",
    "fakelens.demo": "false",
    "fakelens.licence": "CC-BY-NC-4.0",
}
FIGURES = Metrics(
    accuracy=0.913,
    balanced_accuracy=0.913,
    precision=0.9274,
    recall=0.8961,
    f1=0.9115,
    auc=0.9702,
    num_images=1800,
    confusion_matrix=((837, 63), (94, 806)),
)
GATE = GateResult(
    max_difference=0.02, agreement=1.0, accuracy_drop=0.0, auc_drop=0.0, batch_difference=0.0, num_images=1800,
    num_changed=0, num_lost=0, num_gained=0, metrics=FIGURES, reasons=(),
)  # fmt: skip
VARIANT = Variant("int8-static", "int8-static.onnx", 2_500_000, 3.6, passed=True, **vars(GATE), val=GATE)
ABOUT = BundleAbout(
    description="balanced sample of OpenFake",
    licence="CC-BY-NC-4.0",
    num_images=12000,
    source="ComplexDataLab/OpenFake",
)
FACTS = ("On 1,800 pictures: accuracy 0.913.", "It most often misses: some_generator (40% of 20).")
# name -> what the visitor reads
DETECTORS = {
    "small_net": ("Custom CNN", "A small network of four blocks, trained from nothing."),
    "large_net": ("EfficientNetV2-S", "The largest of the three, and the slowest."),
    "mobile_net": ("MobileNetV2", "Small and quick: made for telephones."),
}


def onnx_bytes(
    metadata: Mapping[str, str | None] | None = None, *, output: str = "probability", heatmap: str = "heatmap"
) -> bytes:
    """A detector that says sigmoid(12 · (mean - 0.5)), its evidence 12 · (mean - 0.5) of each 32 px.

    A metadata value of None leaves its key out.
    """
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 224, 224])
    probability = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N"])
    evidence = helper.make_tensor_value_info(heatmap, TensorProto.FLOAT, ["N", 7, 7])
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("ReduceMean", ["pooled"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Sub", ["mean", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "gain"], [heatmap]),
        helper.make_node("ReduceMean", [heatmap], ["logit"], axes=[1, 2], keepdims=0),
        helper.make_node("Sigmoid", ["logit"], [output]),
    ]
    constants = [
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("gain", TensorProto.FLOAT, [], [12.0]),
    ]
    graph = helper.make_graph(nodes, "tiny", [image], [probability, evidence], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    merged = {**METADATA, **(metadata or {})}
    helper.set_model_props(model, {key: value for key, value in merged.items() if value is not None})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


@functools.cache
def flat_picture(level: int, size: tuple[int, int] = (320, 240), format: str = "PNG", grain: int = 10) -> bytes:
    """A grey picture, by default with some grain: white is fake to the tiny detectors, black real, 127 uncertain."""
    pixels = level + np.random.default_rng(level).integers(-grain, grain + 1, (size[1], size[0]))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")
    return encoded(image, format, **({"quality": 95} if format == "JPEG" else {}))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    fast = {"compress_level": 1} if format == "PNG" else {}
    image.save(buffer, format, **{**fast, **options})
    return buffer.getvalue()


def noise(height_px: int = 240, width_px: int = 320, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


EXAMPLES = {
    "camera-like-1.jpg": flat_picture(20, format="JPEG"),
    "generator-like-1.jpg": flat_picture(230, format="JPEG"),
}


def make_bundle(folder: Path, *, demo: bool = False) -> Path:
    """A bundle of three tiny detectors at `folder`; their ONNX files lie beside it."""
    entries = []
    for name, (display_name, summary) in DETECTORS.items():
        path = folder.with_name(f"{name}-source.onnx")
        path.write_bytes(onnx_bytes({"fakelens.name": name, "fakelens.demo": str(demo).lower()}))
        entries.append(ModelEntry(path, display_name, summary, 3.6, FIGURES, "# Model card\n", FACTS))
    return write_bundle(folder, entries, ABOUT, EXAMPLES)
