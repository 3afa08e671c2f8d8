from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fakelens.core.progress import SILENT
from fakelens.core.records import GateResult
from fakelens.detectors.checkpoint import build_network
from fakelens.detectors.spec import discover
from fakelens.export.gate import judge
from fakelens.export.isolated import isolated_scores
from fakelens.export.onnx import check_opset, export_onnx
from fakelens.export.quantize import Candidate, StaticQuantizer, logits
from fakelens.export.search import Search
from fakelens.settings import GateSettings
from onnx_models import onnx_bytes

PX = 64
# The network of our own: four convolutions, quickly quantised.
UNPUBLISHED = next(name for name, spec in discover().items() if spec.weights is None)
IMAGES = np.random.default_rng(0).random((32, 3, PX, PX), dtype=np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each detector's tiny network, untrained, as fp32 ONNX."""
    import torch

    folder, files = tmp_path_factory.mktemp("fp32"), {}
    for name, spec in discover().items():
        torch.manual_seed(0)
        files[name] = folder / f"{name}.onnx"
        export_onnx(files[name], build_network(spec, spec.demo, tiny=True, pretrained=False).eval(), PX, 0.1)
    return files


def quantizer(path: Path, scratch: Path) -> StaticQuantizer:
    return StaticQuantizer(path, IMAGES, scratch)


def int8_weights(path: Path) -> list[np.ndarray]:
    tensors = onnx.load(path).graph.initializer
    return [numpy_helper.to_array(t) for t in tensors if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]


@pytest.mark.parametrize("name", sorted(discover()))
def test_no_shape_is_computed_in_the_graph(exported: dict[str, Path], name: str) -> None:
    operators = {node.op_type for node in onnx.load(exported[name]).graph.node}
    assert not operators & {"Shape", "Gather", "ConstantOfShape", "Cast", "Concat", "Slice", "If", "Loop"}


@pytest.mark.parametrize("name", sorted(discover()))
def test_averages_over_positions_are_pooling(exported: dict[str, Path], name: str) -> None:
    means = [node for node in onnx.load(exported[name]).graph.node if node.op_type == "ReduceMean"]
    axes = [list(item.ints) for node in means for item in node.attribute if item.name == "axes"]
    assert axes in ([], [[1, 2]])  # of the evidence, where its mean is the logit


@pytest.mark.parametrize("name", sorted(discover()))
def test_seven_bit_weights_fit_and_the_mean_logit_stays(exported: dict[str, Path], name: str, tmp_path: Path) -> None:
    target = tmp_path / "int8.onnx"
    quantizer(exported[name], tmp_path).write(target, Candidate())
    check_opset(target)
    weights = int8_weights(target)
    assert weights
    assert max(int(np.abs(w.astype(int)).max()) for w in weights) <= 63
    expected, found = (logits(path.read_bytes(), IMAGES) for path in (exported[name], target))
    assert abs(float(np.mean(found - expected))) < 0.02
    assert float(np.std(found - expected)) < 0.5


def test_nodes_in_float_keep_their_weights(exported: dict[str, Path], tmp_path: Path) -> None:
    source, target = exported[UNPUBLISHED], tmp_path / "mixed.onnx"
    made = quantizer(source, tmp_path)
    first = next(group for group in made.groups if any("Conv" in name for name in group))
    made.write(target, Candidate(float_nodes=first))
    whole = tmp_path / "whole.onnx"
    made.write(whole, Candidate())
    assert len(int8_weights(target)) == len(int8_weights(whole)) - 1
    kept = [numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer if list(t.dims)[1:] == [3, 3, 3]]
    assert any(w.dtype == np.float32 for w in kept)


def gate(expected: np.ndarray) -> object:
    def judged(path: Path) -> GateResult:
        probability = 1 / (1 + np.exp(-logits(path.read_bytes(), IMAGES)))
        labels = (expected > np.median(expected)).astype(np.int64)
        return judge(expected, probability, labels, 0.0, GateSettings(min_agreement=0.5), exact=False)

    return judged


def test_the_search_ends_at_what_is_enough(exported: dict[str, Path], tmp_path: Path) -> None:
    expected = 1 / (1 + np.exp(-logits(exported[UNPUBLISHED].read_bytes(), IMAGES)))
    labels = (expected > np.median(expected)).astype(np.int64)
    given = iter([1 - expected, 1 - expected, expected])

    def third_passes(_: Path) -> GateResult:
        return judge(expected, next(given), labels, 0.0, GateSettings(min_agreement=0.5), exact=False)

    with SILENT.task("searching", 1) as task:
        search = Search(quantizer(exported[UNPUBLISHED], tmp_path), third_passes, tmp_path, 600, task)
        best = search.static(enough=0)
    assert [one.passed for one in search.tried] == [False, False, True]
    assert best == search.tried[2]


def test_the_search_ends_with_its_time_and_mixed_is_tried_all_the_same(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    expected = 1 / (1 + np.exp(-logits(exported[UNPUBLISHED].read_bytes(), IMAGES)))
    with SILENT.task("searching", 1) as task:
        search = Search(quantizer(exported[UNPUBLISHED], tmp_path), gate(expected), tmp_path, 0, task)  # type: ignore[arg-type]
        best = search.static(enough=2)
        assert len(search.tried) == 1
        mixed = search.mixed(best.candidate, exported[UNPUBLISHED], IMAGES, enough=2)
    assert mixed.candidate.float_nodes
    assert search.tried[-1] == mixed


def test_scores_from_a_process_without_torch(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(onnx_bytes())
    squares = np.random.default_rng(0).integers(0, 256, (7, 256, 256, 3), dtype=np.uint8)
    np.save(tmp_path / "squares.npy", squares)
    ((found,),) = isolated_scores([model], [tmp_path / "squares.npy"])
    assert found.probability.shape == (7,)
    assert found.batch_difference < 1e-6
    assert np.ptp(found.probability) > 0
