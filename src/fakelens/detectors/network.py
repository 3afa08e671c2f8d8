"""The shape of every detector: images to one logit, normalisation inside, a heat-map, weights from the hub."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fakelens.core.errors import FakelensError
from fakelens.detectors.spec import BuildOptions


def start_undecided(head: nn.Module) -> None:
    """Let a new head (one linear layer) begin without an opinion: logits near 0, whatever the features' scale.

    timm draws a one-class head's weights from ±1; over 1,280 features its first logits are in the tens, and undoing
    them costs a fine-tuning its first epochs and the backbone what it knew.
    """
    nn.init.normal_(head.weight, std=0.01)  # type: ignore[arg-type]  # a module's attributes are untyped
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]


def start_gently(last_norms: Iterable[nn.Module], head: nn.Module) -> None:
    """Let a deep network that starts from scratch begin as a shallow one with no opinion.

    Each residual branch's last normalisation starts at zero, so that every block is the identity at first (Goyal et
    al. 2017, arXiv 1706.02677, section 5.1), and the head is undecided. Without it a few hundred steps are not
    enough for the deeper ones to learn anything.
    """
    for norm in last_norms:
        nn.init.zeros_(norm.weight)  # type: ignore[arg-type]  # a module's attributes are untyped
    start_undecided(head)


class LogitDetector(nn.Module):
    """Wraps a network: float RGB (N, 3, H, W) in [0, 1] to logits (N,); positive means fake.

    Every network here is a body, an average over positions and a head; a detector's file says where body and head are.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        options: BuildOptions,
        *,
        features: Callable[[Any, torch.Tensor], torch.Tensor],
        head: Callable[[Any], nn.Module],
        logits_of: Callable[[Any], torch.Tensor] | None = None,
    ) -> None:
        """Wrap `network`.

        Args:
            network: normalised pictures in; (N, 1) logits out, or what `logits_of` takes.
            options: where mean and standard deviation are.
            features: the network and normalised pictures to its last feature map, (N, C, h, w).
            head: the network to what it applies to the map's average: linear layers, dropout and activations.
            logits_of: from the network's own type of output to logits.
        """
        # They are handed the network rather than holding it, so that a copy of this module looks into its own.
        super().__init__()
        self.network = network
        self._features, self._head, self._logits_of = features, head, logits_of
        self.register_buffer("mean", torch.tensor(options.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(options.std).view(1, 3, 1, 1))

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """Logits (N,)."""
        output = self.network((images_nchw - self.mean) / self.std)
        logits: torch.Tensor = self._logits_of(output) if self._logits_of else output
        return logits.flatten()

    def with_evidence(self, images_nchw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N,) as `forward` gives them in evaluation, and those of the head at each position, (N, h, w).

        Where the head is linear, a picture's logit is the mean over its positions, and is taken from them.
        """
        features = self._features(self.network, (images_nchw - self.mean) / self.std)
        layers = [layer for layer in self._head(self.network).modules() if not any(layer.children())]
        evidence = _at_each_position(layers, features)
        if all(isinstance(layer, nn.Linear | nn.Dropout) for layer in layers):
            return evidence.mean((1, 2)), evidence
        # As pooling, because that is what INT8 has; a mean would go through float.
        average = functional.adaptive_avg_pool2d(features, 1).flatten(1)
        return self._head(self.network)(average).flatten(), evidence


def _at_each_position(layers: Iterable[nn.Module], values: torch.Tensor) -> torch.Tensor:
    """A head's layers as convolutions of one pixel: (N, C, h, w) to (N, h, w)."""
    for layer in layers:
        if isinstance(layer, nn.Linear):
            values = functional.conv2d(values, layer.weight[:, :, None, None], layer.bias)
        else:
            values = layer(values)
    return values.squeeze(1)


@contextlib.contextmanager
def weights_from_hub(repository: str) -> Iterator[None]:
    """Turn whatever a library raises while it fetches `repository` into an error that names the remedies."""
    try:
        yield
    except Exception as error:
        # timm and transformers wrap the hub's errors in OSError, RuntimeError or their own, without a common base.
        reason = str(error).strip().splitlines()
        raise FakelensError(
            f"the pretrained weights {repository} could not be downloaded "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). "
            "Check the network, HF_ENDPOINT and HF_TOKEN and run again, or train from scratch with --no-pretrained"
        ) from error


def ensure_torchvision() -> None:
    """Define the two operators that `import torchvision` expects when its own library cannot be loaded.

    The registry's torchvision is built for CUDA; beside a CPU build of torch, `import torchvision` (and with it timm,
    torchmetrics and lightning) ends in "operator torchvision::nms does not exist". Only the operators' schemas are
    missing at import; nothing here calls them. Must run before torchvision's first import.
    """
    import sys

    import torch

    if "torchvision" in sys.modules or _KEEP or _library_loads():
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEEP.append(library)  # its definitions end with the object


_KEEP: list[object] = []


def _library_loads() -> bool:
    """Whether torchvision's compiled operators can be loaded into this torch."""
    import importlib.util
    from pathlib import Path

    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: its own import error is the clear one
    libraries = [*Path(spec.origin).parent.glob("_C*.so"), *Path(spec.origin).parent.glob("_C*.pyd")]
    try:
        for path in libraries:
            torch.ops.load_library(path)
    except OSError:
        return False
    return bool(libraries)
