"""INT8 versions of an fp32 ONNX file."""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fakelens.core.artifacts import atomic_path
from fakelens.core.imaging import ImageF32

_CALIBRATION_BATCH = 16


def quantize_dynamic(source: Path, target: Path) -> None:
    """INT8 weights (QUInt8), activations quantised while running: what the plan names; slow on convolutions."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    with _prepared(source) as prepared, atomic_path(target) as temporary, _quiet():
        quantize(prepared, temporary, weight_type=QuantType.QUInt8)


def quantize_static(
    source: Path,
    target: Path,
    images_nchw: ImageF32,
    *,
    method: str,
    reduce_range: bool,
    float_ops: tuple[str, ...],
) -> None:
    """INT8 weights and activations (QDQ, U8S8, per channel), ranges measured on `images_nchw`.

    The last steps, from logit to probability, stay in float: they cost nothing, and 256 steps of probability would
    move verdicts.

    Args:
        source: fp32 ONNX file.
        target: where to write.
        images_nchw: (N, 3, S, S) float32 calibration images, from the training split.
        method: MinMax, Percentile or Entropy.
        reduce_range: 7-bit weights, so that 16-bit accumulators on CPUs without VNNI cannot saturate.
        float_ops: operator types that stay in float.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as quantize

    with _prepared(source) as prepared, atomic_path(target) as temporary, _quiet():
        kept, quantised = _tail(prepared), _op_types(prepared) - set(float_ops)
        quantize(
            prepared,
            temporary,
            _reader(images_nchw),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
            nodes_to_exclude=kept,
            op_types_to_quantize=sorted(quantised),
        )


class _prepared:  # noqa: N801  reads as a function in `with`
    """The model with shapes inferred and its BatchNorms folded, in a temporary folder."""

    def __init__(self, source: Path) -> None:
        self._source = source

    def __enter__(self) -> Path:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._folder = tempfile.TemporaryDirectory(prefix="fakelens-")
        path = Path(self._folder.name) / "prepared.onnx"
        with _quiet():
            quant_pre_process(self._source, path)
        return path

    def __exit__(self, *exc: object) -> None:
        self._folder.cleanup()


def _reader(images_nchw: ImageF32) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Any] = iter(
                {"image": images_nchw[start : start + _CALIBRATION_BATCH]}
                for start in range(0, len(images_nchw), _CALIBRATION_BATCH)
            )

        def get_next(self) -> Any:
            return next(self._batches, None)

    return Reader()


def _op_types(path: Path) -> set[str]:
    """Operator types that onnxruntime can quantise and that the model has."""
    import onnx
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return {node.op_type for node in onnx.load(path).graph.node} & {*QDQRegistry, *QLinearOpsRegistry}


def _tail(path: Path) -> list[str]:
    """Names of the nodes after the last matrix product: bias, temperature, sigmoid."""
    import onnx

    nodes = list(onnx.load(path).graph.node)
    last = max(i for i, node in enumerate(nodes) if node.op_type in ("Gemm", "MatMul", "Conv"))
    return [node.name for node in nodes[last + 1 :]]


class _quiet:  # noqa: N801  reads as a function in `with`
    """onnxruntime's quantiser advises pre-processing on the root logger even when that was done."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *exc: object) -> None:
        logging.getLogger().setLevel(self._level)


def calibration_images(squares: Any, labels: Any, input_px: int, num_images: int, seed: int) -> ImageF32:
    """A seeded, balanced choice of training pictures, (N, 3, S, S) float32."""
    from fakelens.core.imaging import to_model_input

    rng = np.random.default_rng((seed, 7))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[: num_images // 2] for c in (0, 1)])
    return to_model_input(np.asarray(squares[np.sort(rng.permutation(chosen))]), input_px)
