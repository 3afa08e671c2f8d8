"""EfficientNetV2-S (Tan & Le 2021, arXiv 2104.00298) through timm, pretrained on ImageNet-21k."""

from typing import TYPE_CHECKING, Any

from fakelens.detectors.spec import PLAN_OF_PRETRAINED, BuildOptions, DetectorSpec
from fakelens.settings import DetectorSettings

if TYPE_CHECKING:
    from torch import nn

_WEIGHTS = "timm/tf_efficientnetv2_s.in21k"
_TINY = {"channel_multiplier": 0.05, "depth_multiplier": 0.1}


def build(options: BuildOptions) -> "nn.Module":
    """20.2 M parameters, one logit; the classifier is made anew.

    Raises:
        FakelensError: when the weights cannot be fetched.
    """
    import timm

    from fakelens.detectors.network import (
        LogitDetector,
        load_published,
        pad_by_numbers,
        start_gently,
        start_undecided,
    )

    size: dict[str, Any] = _TINY if options.tiny and not options.pretrained else {}
    # ImageNet-21k is only a name here: without `pretrained` nothing of it is loaded.
    network: Any = timm.create_model("tf_efficientnetv2_s.in21k", num_classes=1, drop_rate=options.dropout, **size)
    pad_by_numbers(network)
    if options.pretrained:
        load_published(network, _WEIGHTS, "classifier.")
        start_undecided(network.get_classifier())
    else:
        blocks = [module for module in network.modules() if getattr(module, "has_skip", False)]
        # timm numbers a block's normalisations; its kinds of block have up to one, two or three of them.
        last_norms = [next(norm for n in "321" if (norm := getattr(b, f"bn{n}", None)) is not None) for b in blocks]
        start_gently(last_norms, network.get_classifier())
    return LogitDetector(
        network,
        options,
        features=lambda net, images: net.forward_features(images),
        head=lambda net: net.get_classifier(),
    )


DETECTOR = DetectorSpec(
    name="efficientnetv2_s",
    display_name="EfficientNetV2-S",
    summary="EfficientNetV2-S, pretrained on ImageNet-21k",
    build=build,
    head_prefix="network.classifier.",
    weights=_WEIGHTS,
    licence="Apache-2.0",
    compact_mb=6.5,
    defaults=DetectorSettings(
        learning_rate=3e-4, batch_size=32, head_epochs=5, epochs=12, label_smoothing=0.1, dropout=0.2
    ),
    plan={**PLAN_OF_PRETRAINED, "learning_rate": 3e-4, "head_learning_rate": 3e-4, "batch_size": 32},
    demo=DetectorSettings(pretrained=False, input_px=80, learning_rate=1e-3, batch_size=16, epochs=1, dropout=0.2),
)
