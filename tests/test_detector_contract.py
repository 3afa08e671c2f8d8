"""What every detector owes, whichever there are: a new file in `detectors/` is tested without a line here."""

import io
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from fakelens.detectors.checkpoint import CheckpointInfo, TorchScorer, build_network, load_checkpoint, save_checkpoint
from fakelens.detectors.network import LogitDetector, ensure_torchvision
from fakelens.detectors.spec import BuildOptions, DetectorSpec, discover
from fakelens.export.onnx import export_onnx
from fakelens.training.phases import freeze, plan_phases, set_modes

each_detector = pytest.mark.parametrize("spec", discover().values(), ids=discover().keys())
PX = 64


def tiny(spec: DetectorSpec) -> LogitDetector:
    torch.manual_seed(0)
    return build_network(spec, spec.defaults, tiny=True, pretrained=False)


def info_of(spec: DetectorSpec) -> CheckpointInfo:
    settings = spec.defaults.model_copy(update={"input_px": PX, "pretrained": False})
    return CheckpointInfo(spec.name, settings, True, 80, True, "test data", "no licence", "0" * 64, 0, 3, 0.5)


@each_detector
def test_one_logit_a_picture(spec: DetectorSpec) -> None:
    logits = tiny(spec).eval()(torch.rand(3, 3, PX, PX))
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()


@each_detector
def test_the_name_is_that_of_the_file(spec: DetectorSpec) -> None:
    assert spec.build.__module__.endswith(f".{spec.name}")


@each_detector
def test_the_tiny_version_is_tiny_and_the_full_one_is_not(spec: DetectorSpec) -> None:
    full = build_network(spec, spec.defaults, tiny=False, pretrained=False)
    assert sum(p.numel() for p in tiny(spec).parameters()) < 100_000
    assert sum(p.numel() for p in full.parameters()) > 500_000


@each_detector
def test_normalisation_is_inside(spec: DetectorSpec) -> None:
    network = tiny(spec).eval()
    images = torch.rand(2, 3, PX, PX)
    options = BuildOptions(False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), spec.defaults.dropout, tiny=True)
    ensure_torchvision()
    bare = spec.build(options)
    bare.load_state_dict({**network.state_dict(), "mean": bare.mean, "std": bare.std})
    normalised = (images - torch.tensor(spec.defaults.mean).view(1, 3, 1, 1)) / torch.tensor(spec.defaults.std).view(
        1, 3, 1, 1
    )
    torch.testing.assert_close(network(images), bare.eval()(normalised))


@each_detector
def test_the_head_phase_changes_nothing_but_the_head(spec: DetectorSpec) -> None:
    """The specification of two-phase fine-tuning: BatchNorm statistics rest as well."""
    network = tiny(spec)
    settings = spec.defaults.model_copy(update={"pretrained": True, "head_epochs": 1})
    head, everything = plan_phases(settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    freeze(network, spec.head_prefix, head)
    set_modes(network, spec.head_prefix, head)
    optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad], lr=0.1)
    network(torch.rand(4, 3, PX, PX)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(spec.head_prefix) for name in changed)
    freeze(network, spec.head_prefix, everything)
    assert all(parameter.requires_grad for parameter in network.parameters())


@each_detector
def test_every_parameter_learns_in_the_second_phase(spec: DetectorSpec) -> None:
    network = tiny(spec).train()
    network(torch.rand(4, 3, PX, PX)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@each_detector
def test_a_checkpoint_comes_back_the_same(spec: DetectorSpec, tmp_path: Path) -> None:
    network, info = tiny(spec).eval(), info_of(spec)
    save_checkpoint(tmp_path / "best.safetensors", network, info)
    again, found = load_checkpoint(tmp_path / "best.safetensors")
    images = np.random.default_rng(0).random((2, 3, PX, PX), dtype=np.float32)
    assert found == info
    np.testing.assert_array_equal(TorchScorer(again, found).logits(images), TorchScorer(network, info).logits(images))


@each_detector
@pytest.mark.parametrize(("batch", "px"), [(1, PX), (3, 72), (5, 80)])
def test_the_onnx_file_agrees(spec: DetectorSpec, batch: int, px: int, tmp_path: Path) -> None:
    """Also where a convolution halves an odd number of pixels."""
    network = tiny(spec).eval()
    export_onnx(tmp_path / "net.onnx", network, px, temperature=1.7)
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).random((batch, 3, px, px), dtype=np.float32)
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(images)) / 1.7).numpy()
        evidence = network.with_evidence(torch.from_numpy(images))[1].numpy() / 1.7
    probability, heatmap = session.run(["probability", "heatmap"], {"image": images})
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    np.testing.assert_allclose(heatmap, evidence, atol=1e-4)


@each_detector
@pytest.mark.parametrize("small", [True, False], ids=["tiny", "full"])
def test_the_evidence_is_that_of_the_logit(spec: DetectorSpec, small: bool) -> None:
    torch.manual_seed(0)
    network = build_network(spec, spec.defaults, tiny=small, pretrained=False).eval()
    with torch.inference_mode():
        images = torch.rand(2, 3, PX, PX)
        logits, evidence = network.with_evidence(images)
        torch.testing.assert_close(logits, network(images), atol=1e-4, rtol=1e-4)
        assert evidence.shape[0] == 2
        assert evidence.shape[1] == evidence.shape[2] > 1
        # A picture of a single position has nothing to average: there the evidence is the logit.
        stride = PX // evidence.shape[1]
        one = images[:, :, :stride, :stride]
        torch.testing.assert_close(network.with_evidence(one)[1].flatten(), network(one), atol=1e-4, rtol=1e-4)


def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    with pytest.raises(ValueError, match="train the detector first"):
        load_checkpoint(path)
    path.write_bytes(io.BytesIO(b"not weights").getvalue())
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "spec", [s for s in discover().values() if s.weights], ids=[n for n, s in discover().items() if s.weights]
)
def test_missing_weights_name_the_remedy(spec: DetectorSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="--no-pretrained") as caught:
        build_network(spec, spec.defaults, tiny=False, pretrained=True)
    assert spec.weights is not None
    assert spec.weights in str(caught.value)


@each_detector
def test_a_new_detector_has_no_opinion(spec: DetectorSpec) -> None:
    """A head whose first logits are in the tens would cost fine-tuning its first epochs."""
    network = build_network(spec, spec.defaults, tiny=False, pretrained=False).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 3, 64, 64)).abs().max() < 1


@each_detector
def test_batch_statistics_are_averaged_over_batches(spec: DetectorSpec) -> None:
    """A momentum near 1 would leave evaluation with the statistics of the last batch alone."""
    norms = [module for module in tiny(spec).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.momentum is not None and norm.momentum <= 0.2 for norm in norms)
