"""A trained detector on disk: one safetensors file with the weights and all that is needed to build and feed it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fakelens.core.artifacts import atomic_path
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32
from fakelens.detectors.network import LogitDetector, ensure_torchvision
from fakelens.detectors.spec import BuildOptions, DetectorSpec, find
from fakelens.settings import DetectorSettings

_METADATA_KEY = "fakelens"


@dataclass(frozen=True)
class CheckpointInfo:
    """Everything that travels with the weights."""

    detector: str
    settings: DetectorSettings
    tiny: bool
    stored_px: int
    demo: bool
    data_description: str
    data_licence: str
    data_digest: str
    seed: int
    epoch: int
    val_loss: float


def build_network(spec: DetectorSpec, settings: DetectorSettings, *, tiny: bool, pretrained: bool) -> LogitDetector:
    """The detector's module as its settings describe it."""
    ensure_torchvision()
    options = BuildOptions(pretrained, settings.mean, settings.std, settings.dropout, tiny)
    network = spec.build(options)
    assert isinstance(network, LogitDetector)
    return network


def save_checkpoint(path: Path, network: LogitDetector, info: CheckpointInfo) -> None:
    """Write the weights and `info` atomically."""
    from safetensors.torch import save_file

    plain = {**vars(info), "settings": info.settings.model_dump(mode="json")}
    # Contiguous copies: channels-last tensors and shared storage are not what safetensors stores.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata={_METADATA_KEY: json.dumps(plain)})


def load_checkpoint(path: Path) -> tuple[LogitDetector, CheckpointInfo]:
    """Read a checkpoint; the network is in evaluation mode.

    Raises:
        FakelensError: naming the remedy when it is missing, damaged or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            plain = json.loads((file.metadata() or {})[_METADATA_KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        info = CheckpointInfo(**{**plain, "settings": DetectorSettings.checked(plain["settings"])})
        spec = find(info.detector)
        network = build_network(spec, info.settings, tiny=info.tiny, pretrained=False)
        if spec.full:
            fit_widths(network, weights)
        network.load_state_dict(weights)
    except FileNotFoundError as error:
        raise FakelensError(f"{path} is missing: train the detector first (`fakelens train DETECTOR`)") from error
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise FakelensError(f"{path} is not a checkpoint of this version of fakelens ({error})") from error
    return network.eval(), info


class TorchScorer:
    """A checkpoint that scores images: logits, which calibration needs."""

    def __init__(self, network: LogitDetector, info: CheckpointInfo) -> None:
        self.input_px = info.settings.input_px
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        # torch documents the argument; a batch takes a fifth to a third less time on a CPU.
        self._network = network.to(self._device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def logits(self, images_nchw: ImageF32) -> ImageF32:
        """(N, 3, S, S) float32 in [0, 1] to (N,) logits, uncalibrated."""
        with torch.inference_mode():
            result: Any = self._network(torch.from_numpy(images_nchw).to(self._device)).float().cpu().numpy()
        return np.asarray(result, dtype=np.float32)


def fit_widths(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give every layer of `network` the size of its stored weights, whose values are not read.

    A network whose channels were pruned is rebuilt from the weights alone: their shapes say what was left.

    Raises:
        KeyError: when the weights of a layer are not among them.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | _BatchNorm):
            for key, own in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                own.data = own.new_empty(weights[f"{name}.{key}"].shape)
            _say_widths(module)


def _say_widths(module: nn.Module) -> None:
    """Let a layer's attributes agree with its weights."""
    if isinstance(module, nn.Conv2d):
        num_out, num_in_per_group = module.weight.shape[:2]
        if module.groups == module.in_channels:  # depthwise: a group for each channel
            module.groups = num_out
        module.out_channels, module.in_channels = num_out, num_in_per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm):
        module.num_features = len(module.weight)
