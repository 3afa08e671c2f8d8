"""A checkpoint as an ONNX file: network, temperature and metadata in; opset 14, free batch axis, two outputs out."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError
from fakelens.detectors.network import LogitDetector
from fakelens.export.sessions import quiet
from fakelens.runtime.detector import HEATMAP, INPUT, OUTPUT, OnnxMetadata

OPSET = 14


class _Calibrated(nn.Module):
    """(N, 3, S, S) RGB in [0, 1] to (N,) calibrated probabilities and (N, h, w) calibrated logits of the positions."""

    def __init__(self, network: LogitDetector, temperature: float) -> None:
        super().__init__()
        self._network, self._temperature = network, temperature

    def forward(self, images_nchw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, evidence = self._network.with_evidence(images_nchw)
        return torch.sigmoid(logits / self._temperature), evidence / self._temperature


def export_onnx(path: Path, network: LogitDetector, input_px: int, temperature: float) -> None:
    """Write the fp32 ONNX file: input `image` (N, 3, S, S), outputs `probability` (N,) and `heatmap` (N, h, w).

    Raises:
        FakelensError: when the file does not have the opset asked for.
    """
    import onnx
    import onnxslim

    module = _Calibrated(network, temperature).eval()
    dummy = torch.zeros(1, 3, input_px, input_px)
    with atomic_path(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        # The exporter warns that it is the older one, and of shapes that become constants: both are meant.
        # dynamo=True silently writes opset 18 when asked for 14.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (dummy,),
            temporary,
            opset_version=OPSET,
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT, HEATMAP],
            dynamic_axes={name: {0: "batch"} for name in (INPUT, OUTPUT, HEATMAP)},
        )
        with quiet():
            model = onnxslim.slim(str(temporary))
        _pool_by_name(model)
        onnx.save(model, temporary)
    check_opset(path)


def _pool_by_name(model: Any) -> None:
    """Turn means over height and width into global average pooling, which onnxruntime has in INT8 and channels-last."""
    from onnx import helper

    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if attributes.get("axes") == [2, 3] and attributes.get("keepdims", 1) == 1:
                node.op_type = "GlobalAveragePool"
                del node.attribute[:]


def check_opset(path: Path) -> None:
    """Read the opset out of the file itself.

    Raises:
        FakelensError: when it is another than 14.
    """
    import onnx

    versions = {item.version for item in onnx.load(path).opset_import if item.domain in ("", "ai.onnx")}
    if versions != {OPSET}:
        raise FakelensError(f"{path} has opset {sorted(versions)} instead of {OPSET}")


def write_metadata(path: Path, metadata: OnnxMetadata) -> None:
    """Put what the runtime must know into the file itself."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    for key, value in sorted(metadata.strings().items()):
        model.metadata_props.add(key=key, value=value)
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)
