"""The shape of every detector: images to one logit, normalisation inside, a heat-map, weights from the hub."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from fakelens.core.errors import FakelensError
from fakelens.detectors.spec import BuildOptions
from fakelens.sources.hub import first_line
from fakelens.sources.hub_models import weights_file

_MAX_LISTED = 3


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


class _SamePadding(nn.Conv2d):
    """TensorFlow's "same" padding, whose margins are numbers also while an export traces them."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        margins: list[int] = []  # left, right, top, bottom
        rows, columns = zip(images.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        for side, kernel, stride, dilation in (columns, rows):
            missing = max(0, (math.ceil(int(side) / stride) - 1) * stride + (kernel - 1) * dilation + 1 - int(side))
            margins += [missing // 2, missing - missing // 2]
        padded = functional.pad(images, margins)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def pad_by_numbers(network: nn.Module) -> None:
    """Replace what timm's convolutions with TensorFlow's padding do by the same with constant margins.

    Traced, timm reckons margins in tensors, and onnxslim folds them wrongly where a side is odd: the convolution from
    5 to 3 pixels lost its margin, and the exported probabilities were off by 0.3.
    """
    import timm.layers

    untyped: Any = timm.layers
    for module in network.modules():
        if isinstance(module, untyped.Conv2dSame):
            module.__class__ = _SamePadding


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


def load_published(network: nn.Module, repository: str, head_prefix: str) -> None:
    """Give a network the weights of `repository` on the hub, all but those of its head, which is new.

    Raises:
        FakelensError: naming the remedies, when they cannot be fetched, are damaged or are another network's.
    """
    scratch = "or train from scratch with --no-pretrained"
    try:
        path = weights_file(repository).resolve()  # the blob: deleting the link to it would not help
    except FakelensError as error:
        raise FakelensError(f"{error}, {scratch}") from error
    remedy = f"delete the file and run the same command again, check HF_ENDPOINT if that names a mirror, {scratch}"
    where = f"the pretrained weights {repository} in {path}"
    try:
        weights = _read_weights(path)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise FakelensError(f"{where} are damaged or no weights ({first_line(error)}): {remedy}") from error
    # Batch normalisation averages by its momentum, and older files lack the number of batches.
    own, published = (
        {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
        for tensors in (network.state_dict(), weights)
    )
    body = [name for name in {**own, **published} if not name.startswith(head_prefix)]
    faults = [f"{name} {fault}" for name in body if (fault := _fault(own.get(name), published.get(name)))]
    if faults:
        more = f" and {len(faults) - _MAX_LISTED} more" if len(faults) > _MAX_LISTED else ""
        raise FakelensError(f"{where} are not this network's ({', '.join(faults[:_MAX_LISTED])}{more}): {remedy}")
    network.load_state_dict({name: weights[name] for name in weights if not name.startswith(head_prefix)}, strict=False)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    # By its content: a blob's name is its hash.
    with path.open("rb") as file:
        pickled = file.read(2) in (b"PK", b"\x80\x02")
    weights: dict[str, torch.Tensor] = (
        torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    )
    return weights


def _fault(own: torch.Tensor | None, published: torch.Tensor | None) -> str:
    """The reason why a published tensor does not fit the network."""
    if published is None:
        return "is missing"
    if own is None:
        return "is unknown"
    if own.shape != published.shape:
        return f"is {tuple(published.shape)} in place of {tuple(own.shape)}"
    if not (published.is_floating_point() and published.isfinite().all()):
        return "has values that are no finite floats"
    return ""


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
