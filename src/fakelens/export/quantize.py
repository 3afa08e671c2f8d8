"""INT8 versions of an fp32 ONNX file."""

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fakelens.core.artifacts import atomic_path
from fakelens.core.imaging import ImageF32, to_model_input
from fakelens.export.rounding import Floats, rounded
from fakelens.export.sessions import measuring_session, quiet
from fakelens.runtime.detector import INPUT, OUTPUT

Calibrator = Literal["MinMax", "MovingAverage", "Percentile", "Entropy"]
_CALIBRATION_BATCH = 16
# Histograms and second moments of every activation take minutes on more.
_FEW = 64
_LARGEST = {8: 127, 7: 63}


@dataclass(frozen=True)
class Candidate:
    """One way to quantise statically (QDQ, 8-bit activations, one step for each output channel of a weight)."""

    calibrator: Calibrator = "MinMax"
    """How an activation's range is taken from what was measured."""
    weight_bits: Literal[7, 8] = 7
    """7 is exact on every CPU; without VNNI, sums of two 8-bit products can saturate 16 bits."""
    rounding: Literal["nearest", "measured"] = "measured"
    """Weights to their nearest step, or as `rounding` says."""
    symmetric: bool = False
    """Whether activations have their zero in the middle of the range."""
    float_nodes: tuple[str, ...] = ()
    """Nodes that stay in float."""

    @property
    def words(self) -> str:
        """For a person."""
        kept = f", {len(self.float_nodes)} nodes in float" if self.float_nodes else ""
        ranges = f"{self.calibrator}{', symmetric' if self.symmetric else ''}"
        return f"{ranges}, {self.weight_bits}-bit weights, {self.rounding} rounding{kept}"


def quantize_dynamic(source: Path, target: Path) -> None:
    """INT8 weights (QUInt8), activations quantised while running: what the plan names; slow on convolutions."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder, atomic_path(target) as temporary, quiet():
        quantize(_prepared(source, Path(folder)), temporary, weight_type=QuantType.QUInt8)


def quantize_static(source: Path, target: Path, images_nchw: ImageF32, candidate: Candidate) -> None:
    """INT8 weights and activations in one way."""
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        StaticQuantizer(source, images_nchw, Path(folder)).write(target, candidate)


class StaticQuantizer:
    """An fp32 file and calibration images in; any number of INT8 files out, ranges and roundings measured once."""

    def __init__(self, source: Path, images_nchw: ImageF32, scratch: Path) -> None:
        """Prepare the model: shapes inferred, BatchNorms folded.

        Args:
            source: fp32 ONNX file with the output `probability`.
            images_nchw: (N, 3, S, S) float32 calibration images, from the training split.
            scratch: a folder for files in between.
        """
        import onnx

        self._images, self._scratch, self._path = images_nchw, scratch, _prepared(source, scratch)
        self._model = onnx.load(self._path)
        self._op_types = sorted(_quantisable(self._model))
        self._ranges: dict[Calibrator, Any] = {}
        self._rounded: dict[int, tuple[Any, dict[str, Floats]]] = {}

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """The nodes in order, a convolution or matrix product with what follows it."""
        groups: list[list[str]] = [[]]
        for node in self._model.graph.node:
            if node.op_type in _PRODUCTS and groups[-1]:
                groups.append([])
            groups[-1].append(node.name)
        return [tuple(group) for group in groups]

    def write(self, target: Path, candidate: Candidate) -> None:
        """Quantise in one way.

        The last steps, from logit to probability, stay in float: they cost nothing, and 256 steps of probability
        would move verdicts. What shift of the mean logit quantisation leaves is taken back there.
        """
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        model, steps = self._weights(candidate)
        largest = _LARGEST[candidate.weight_bits]
        overrides = {name: _channels(step) for name, step in steps.items()}
        overrides |= _matrices(model, largest)
        with quiet():
            quantizer = QDQQuantizer(
                model, True, False, QuantType.QInt8, QuantType.QUInt8, self._range(candidate.calibrator),
                [], [*self._tail, *candidate.float_nodes], self._op_types,
                {"ActivationSymmetric": candidate.symmetric, "TensorQuantOverrides": overrides},
            )  # fmt: skip
            quantizer.quantize_model()
        result = quantizer.model.model
        _shift_logit(result, self._mean_logit(self._model) - self._mean_logit(result))
        with atomic_path(target) as temporary:
            temporary.write_bytes(result.SerializeToString())

    @property
    def _tail(self) -> list[str]:
        """Names of the nodes after the last product: bias, temperature, sigmoid."""
        nodes = list(self._model.graph.node)
        last = max(i for i, node in enumerate(nodes) if node.op_type in _PRODUCTS)
        return [node.name for node in nodes[last + 1 :]]

    def _weights(self, candidate: Candidate) -> tuple[Any, dict[str, Floats]]:
        if candidate.rounding == "nearest":
            return copy.deepcopy(self._model), _nearest_steps(self._model, _LARGEST[candidate.weight_bits])
        bits = candidate.weight_bits
        if bits not in self._rounded:
            self._rounded[bits] = rounded(self._model, _few(self._images), bits)
        model, steps = self._rounded[bits]
        return _with_own_weights(model, self._model, candidate.float_nodes), steps

    def _range(self, calibrator: Calibrator) -> Any:
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator

        if calibrator not in self._ranges:
            histogram = calibrator in ("Percentile", "Entropy")
            options: dict[str, Any] = {"moving_average": True} if calibrator == "MovingAverage" else {}
            if calibrator == "Percentile":
                options = {"percentile": 99.99}
            method = CalibrationMethod.MinMax if not histogram else getattr(CalibrationMethod, calibrator)
            with quiet():
                ranges = create_calibrator(
                    self._path, self._op_types, augmented_model_path=str(self._scratch / "augmented.onnx"),
                    calibrate_method=method, extra_options=options,
                )  # fmt: skip
                ranges.collect_data(_reader(_few(self._images) if histogram else self._images))
                self._ranges[calibrator] = ranges.compute_data()
        return self._ranges[calibrator]

    def _mean_logit(self, model: Any) -> float:
        return float(np.mean(logits(model.SerializeToString(), self._images)))


_PRODUCTS = ("Conv", "Gemm", "MatMul")


def _few(images_nchw: ImageF32) -> ImageF32:
    """Pictures from the whole length of those given."""
    return images_nchw[:: max(1, len(images_nchw) // _FEW)][:_FEW]


def logits(model: bytes, images_nchw: ImageF32) -> Floats:
    """(N,) calibrated logits of a file that gives probabilities."""
    session = measuring_session(model)
    batches = range(0, len(images_nchw), _CALIBRATION_BATCH)
    probabilities = [session.run([OUTPUT], {INPUT: images_nchw[b : b + _CALIBRATION_BATCH]})[0] for b in batches]
    probability = np.clip(np.concatenate(probabilities).astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(probability / (1 - probability)))


def _with_own_weights(model: Any, original: Any, nodes: tuple[str, ...]) -> Any:
    """A copy of `model` in which these nodes have the weights and biases of `original`."""
    result = copy.deepcopy(model)
    own = {node.name: node for node in original.graph.node if node.name in nodes}
    for node in result.graph.node:
        if node.name in own:
            del node.input[:]
            node.input.extend(own[node.name].input)
    names = {name for node in own.values() for name in node.input}
    weights = {tensor.name: tensor for tensor in original.graph.initializer if tensor.name in names}
    for tensor in result.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])
    used = {name for node in result.graph.node for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    return result


def _shift_logit(model: Any, shift: float) -> None:
    """Add a constant to the logit that becomes the probability."""
    from onnx import helper, numpy_helper

    nodes = model.graph.node
    index = next(i for i, node in enumerate(nodes) if OUTPUT in node.output)
    assert nodes[index].op_type == "Sigmoid"
    constant = numpy_helper.from_array(np.array(shift, dtype=np.float32), "fakelens_shift")
    model.graph.initializer.append(constant)
    added = helper.make_node("Add", [nodes[index].input[0], constant.name], ["fakelens_logit"], "fakelens_add_shift")
    nodes[index].input[0] = "fakelens_logit"
    nodes.insert(index, added)


def _nearest_steps(model: Any, largest: int) -> dict[str, Floats]:
    """Steps with which the largest weight of each convolution's channel is the largest number."""
    return {
        node.input[1]: np.abs(weight.reshape(len(weight), -1)).max(1) / largest
        for node, weight in _weights_of(model, ("Conv",))
    }


def _matrices(model: Any, largest: int) -> dict[str, list[dict[str, Any]]]:
    """Steps of the weights of matrix products, each rounded to its nearest, by output channel."""
    steps_of = {}
    for node, weight in _weights_of(model, ("Gemm", "MatMul")):
        rows_out = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        steps = np.abs(weight).max(1 if rows_out else 0) / largest
        steps_of[node.input[1]] = _channels(steps, axis=0 if rows_out else 1)
    return steps_of


def _weights_of(model: Any, op_types: tuple[str, ...]) -> Iterator[tuple[Any, Floats]]:
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in op_types and node.input[1] in weights:
            yield node, numpy_helper.to_array(weights[node.input[1]])


def _channels(steps: Floats, axis: int = 0) -> list[dict[str, Any]]:
    """A step for each channel, zero at zero, in the form that onnxruntime takes; the first entry says the axis."""
    entries: list[dict[str, Any]] = [
        {"scale": np.array(step, np.float32), "zero_point": np.array(0, np.int8)}
        for step in np.where(steps > 0, steps, 1.0)
    ]
    entries[0]["axis"] = axis
    return entries


def _prepared(source: Path, folder: Path) -> Path:
    """The model with shapes inferred and its BatchNorms folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = folder / "prepared.onnx"
    with quiet():
        quant_pre_process(source, path)
    return path


def _reader(images_nchw: ImageF32) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Any] = iter(
                {INPUT: images_nchw[start : start + _CALIBRATION_BATCH]}
                for start in range(0, len(images_nchw), _CALIBRATION_BATCH)
            )

        def get_next(self) -> Any:
            return next(self._batches, None)

    return Reader()


def _quantisable(model: Any) -> set[str]:
    """Operator types that onnxruntime can quantise and that the model has."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return {node.op_type for node in model.graph.node} & {*QDQRegistry, *QLinearOpsRegistry}


def calibration_images(squares: Any, labels: Any, input_px: int, num_images: int, seed: int) -> ImageF32:
    """A seeded, balanced choice of training pictures, (N, 3, S, S) float32."""
    rng = np.random.default_rng((seed, 7))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[: num_images // 2] for c in (0, 1)])
    return to_model_input(np.asarray(squares[np.sort(rng.permutation(chosen))]), input_px)
