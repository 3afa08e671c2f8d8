"""Channels removed from every detector that there is: what is left still works, and comes back from its file."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from fakelens.compression.pruning import int8_bytes, prune_until
from fakelens.detectors.checkpoint import CheckpointInfo, build_network, load_checkpoint, save_checkpoint
from fakelens.detectors.network import LogitDetector
from fakelens.detectors.spec import DetectorSpec, discover, find
from fakelens.export.onnx import export_onnx

PX = 64
each_detector = pytest.mark.parametrize("spec", discover().values(), ids=discover().keys())


def tiny(spec: DetectorSpec) -> LogitDetector:
    torch.manual_seed(0)
    return build_network(spec, spec.defaults, tiny=True, pretrained=False).eval()


def pruned(spec: DetectorSpec, share_left: float = 2 / 3, round_to: int = 2) -> LogitDetector:
    network = tiny(spec)
    prune_until(network, int8_bytes, share_left * int8_bytes(network), PX, round_to)
    return network


def save(network: LogitDetector, spec: DetectorSpec, path: Path) -> None:
    settings = spec.defaults.model_copy(update={"input_px": PX, "pretrained": False})
    info = CheckpointInfo(spec.name, settings, True, 80, True, "test data", "no licence", "0" * 64, 0, 3, 0.5)
    save_checkpoint(path, network, info)


@each_detector
def test_a_third_is_gone_and_the_rest_comes_back_and_is_exported(spec: DetectorSpec, tmp_path: Path) -> None:
    network = pruned(spec)
    assert 0.5 < int8_bytes(network) / int8_bytes(tiny(spec)) <= 2 / 3
    images = torch.rand(3, 3, PX, PX)
    save(network, spec.compact, tmp_path / "best.safetensors")
    again, _ = load_checkpoint(tmp_path / "best.safetensors")
    torch.testing.assert_close(again(images), network(images), rtol=0, atol=0)
    assert str(again) == str(network)  # which names every layer with its numbers of channels
    export_onnx(tmp_path / "net.onnx", again, PX, temperature=1.0)
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probability"], {"image": images.numpy()})
    np.testing.assert_allclose(found, torch.sigmoid(network(images)).detach().numpy(), atol=1e-5)


@each_detector
def test_what_is_left_can_be_trained(spec: DetectorSpec) -> None:
    network = pruned(spec).train()
    network(torch.rand(4, 3, PX, PX)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@each_detector
def test_widths_are_rounded_and_no_layer_vanishes(spec: DetectorSpec) -> None:
    network = tiny(spec)
    prune_until(network, int8_bytes, 0, PX, 4)
    before = {name: layer for name, layer in tiny(spec).named_modules() if isinstance(layer, torch.nn.Conv2d)}
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            assert layer.out_channels == before[name].out_channels <= 4 or layer.out_channels % 4 == 0
            assert layer.out_channels > 0
    assert torch.isfinite(network(torch.rand(1, 3, PX, PX))).all()


def test_a_full_detector_of_another_size_is_no_checkpoint(tmp_path: Path) -> None:
    spec = next(iter(discover().values()))
    save(pruned(spec), spec, tmp_path / "best.safetensors")
    with pytest.raises(ValueError, match="size mismatch"):
        load_checkpoint(tmp_path / "best.safetensors")


def test_a_compact_detector_is_found_by_its_name() -> None:
    spec = next(iter(discover().values()))
    compact = find(f"{spec.name}_compact")
    assert (compact.full, compact.build, compact.defaults) == (spec, spec.build, spec.defaults)
    assert compact.display_name == f"{spec.display_name} (compact)"
    assert compact.name not in discover()
    with pytest.raises(ValueError, match="unknown detector 'nothing_compact'"):
        find("nothing_compact")
