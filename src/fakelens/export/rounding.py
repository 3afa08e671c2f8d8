"""Weights of convolutions onto an INT8 grid, rounded for what the convolutions are fed with.

Rounding each weight to its nearest step ignores that a layer's inputs are correlated and have means: in depthwise
layers, whose outputs are sums of nine products, the errors then shift whole channels. Here each weight's error is made
up for by the weights not yet rounded, weighed by the inputs' second moments (GPTQ, Frantar et al. 2023, arXiv
2210.17323), and what shift of the mean is left goes into the bias (Nagel et al. 2019, arXiv 1906.04721).
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fakelens.core.imaging import ImageF32
from fakelens.export.sessions import measuring_session

Floats = npt.NDArray[np.floating[Any]]
_BATCH = 8
_POSITIONS = 4096
"""Positions of a feature map that are looked at in each batch, of all its pictures together."""
_DAMPING = 0.01  # as in the GPTQ paper


@dataclass
class Moments:
    """Running sums over the inputs of one convolution; (G, K, K) and (G, K), G groups with K weights a channel."""

    second: Floats
    first: Floats
    num: int

    def add(self, columns: Floats) -> None:
        """Take in (G, K, L): L positions."""
        self.second += columns @ columns.transpose(0, 2, 1)
        self.first += columns.sum(2)
        self.num += columns.shape[2]


def rounded(model: Any, images_nchw: ImageF32, weight_bits: int) -> tuple[Any, dict[str, Floats]]:
    """A copy of an ONNX model whose convolutions have weights on a grid and corrected biases.

    Args:
        model: an ONNX model whose weights are initialisers.
        images_nchw: (N, 3, S, S) float32 calibration images.
        weight_bits: 8, or 7 for weights that 16-bit accumulators cannot saturate on.

    Returns:
        The model, and for every weight that was rounded the step of each output channel.
    """
    result = copy.deepcopy(model)
    uses = Counter(name for node in result.graph.node for name in node.input)
    weights = {tensor.name: tensor for tensor in result.graph.initializer}
    convolutions = [
        node
        for node in result.graph.node
        if node.op_type == "Conv" and node.input[1] in weights and uses[node.input[1]] == 1
    ]
    moments = _moments(model, convolutions, weights, images_nchw)
    steps = {}
    for node in convolutions:
        steps[node.input[1]], shift = _round_weight(node, weights, moments[node.name], weight_bits)
        _correct_bias(result.graph, node, weights, shift)
    return result, steps


def _round_weight(node: Any, weights: Mapping[str, Any], moments: Moments, weight_bits: int) -> tuple[Floats, Floats]:
    """Round in place; the steps, and by how much each channel's mean output has moved, (O,) each."""
    from onnx import numpy_helper

    weight = numpy_helper.to_array(weights[node.input[1]])
    rows = weight.reshape(len(weight), -1)
    largest = 2 ** (weight_bits - 1) - 1
    steps = np.abs(rows).max(1) / largest
    steps[steps == 0] = 1.0
    per_group = len(rows) // len(moments.second)
    grid = np.concatenate(
        [
            round_rows(rows[g * per_group :][:per_group], steps[g * per_group :][:per_group], second, largest)
            for g, second in enumerate(moments.second / moments.num)
        ]
    )
    weights[node.input[1]].CopyFrom(_tensor(grid.reshape(weight.shape), node.input[1]))
    mean = np.repeat(moments.first / moments.num, per_group, axis=0)
    return np.asarray(steps), np.asarray(((grid - rows) * mean).sum(1))


def _correct_bias(graph: Any, node: Any, weights: Mapping[str, Any], shift: Floats) -> None:
    """Take the shift back in a bias of the node's own: several may have shared one."""
    from onnx import numpy_helper

    bias = numpy_helper.to_array(weights[node.input[2]]) if len(node.input) > 2 else np.zeros(len(shift))
    name = f"{node.input[1]}_bias"
    graph.initializer.append(_tensor(bias - shift, name))
    del node.input[2:]
    node.input.append(name)


def round_rows(rows: Floats, steps: Floats, second: Floats, largest: int) -> Floats:
    """(O, K) weights to multiples of (O,) `steps`, at most `largest` of them, with small error on (K, K) `second`."""
    num = rows.shape[1]
    # The tiny constant is for channels that are never fed with anything.
    damped = second.astype(np.float64) + (_DAMPING * np.diag(second).mean() + 1e-8) * np.eye(num)
    spread = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, grid = rows.astype(np.float64), np.zeros(rows.shape)
    for k in range(num):
        grid[:, k] = np.clip(np.round(left[:, k] / steps), -largest, largest) * steps
        error = (left[:, k] - grid[:, k]) / spread[k, k]
        left[:, k:] -= error[:, None] * spread[k, k:]
    return np.asarray(grid)


def _moments(
    model: Any, convolutions: list[Any], weights: Mapping[str, Any], images_nchw: ImageF32
) -> dict[str, Moments]:
    moments: dict[str, Moments] = {}
    rng = np.random.default_rng((0, 21))
    inputs = sorted({node.input[0] for node in convolutions})
    for batch in _feature_maps(model, inputs, images_nchw):
        for node in convolutions:
            columns = _columns(node, batch[node.input[0]], tuple(weights[node.input[1]].dims), rng)
            if node.name not in moments:
                groups, num, _ = columns.shape
                moments[node.name] = Moments(np.zeros((groups, num, num)), np.zeros((groups, num)), 0)
            moments[node.name].add(columns)
    return moments


def _feature_maps(model: Any, names: list[str], images_nchw: ImageF32) -> Iterator[dict[str, Floats]]:
    """Batch by batch, the named tensors of the float model."""
    from onnx import helper

    shown, given = copy.deepcopy(model), model.graph.input[0].name
    wanted = [name for name in names if name != given]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    session = measuring_session(shown.SerializeToString())
    for start in range(0, len(images_nchw), _BATCH):
        images = images_nchw[start : start + _BATCH]
        yield {**dict(zip(wanted, session.run(wanted, {given: images}), strict=True)), given: images}


def _columns(node: Any, maps: Floats, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Columns that a convolution's weights multiply: (N, C, H, W) to (G, K, L), L positions drawn at random."""
    from onnx import helper

    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    (tall, wide), groups = shape[2:], given.get("group", 1)
    down, along = given.get("strides", [1, 1])
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    padded = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (tall, wide), (2, 3))[:, :, ::down, ::along]
    num, _, height, width = windows.shape[:4]
    chosen = rng.choice(num * height * width, min(_POSITIONS, num * height * width), replace=False)
    picture, place = np.divmod(chosen, height * width)
    drawn = windows[picture, :, place // width, place % width]  # (L, C, tall, wide)
    return np.ascontiguousarray(drawn.reshape(len(chosen), groups, -1).transpose(1, 2, 0), dtype=np.float64)


def _tensor(values: Floats, name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)
