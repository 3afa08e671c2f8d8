"""A small convolutional network of our own, trained from scratch."""

from typing import TYPE_CHECKING

from fakelens.detectors.spec import IMAGENET, BuildOptions, DetectorSpec
from fakelens.settings import DetectorSettings

if TYPE_CHECKING:
    from torch import nn


def build(options: BuildOptions) -> "nn.Module":
    """Four Conv-BN-ReLU-MaxPool blocks 32→64→128→256, global average, dropout, dense head: 0.52 M parameters."""
    from torch import nn

    from fakelens.detectors.network import LogitDetector

    widths = (8, 16, 24, 32) if options.tiny else (32, 64, 128, 256)
    hidden = 2 * widths[-1]
    blocks: list[nn.Module] = []
    for width_in, width in zip((3, *widths), widths, strict=False):
        blocks += [
            nn.Conv2d(width_in, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*blocks))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flatten", nn.Flatten())
    head = [nn.Dropout(options.dropout), nn.Linear(widths[-1], hidden), nn.ReLU(), nn.Linear(hidden, 1)]
    network.add_module("head", nn.Sequential(*head))
    return LogitDetector(network, options, features=lambda net, images: net.features(images), head=lambda net: net.head)


DETECTOR = DetectorSpec(
    name="custom_cnn",
    display_name="Custom CNN",
    summary="Four convolution blocks of our own, trained from scratch",
    build=build,
    head_prefix="network.head.",
    defaults=DetectorSettings(
        pretrained=False,
        **IMAGENET,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        batch_size=64,
        head_epochs=0,
        epochs=25,
        label_smoothing=0.0,
        dropout=0.3,
        precision="32-true",
    ),
    plan={
        **IMAGENET,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "scheduler": "constant",
        "warmup_fraction": 0.0,
        "batch_size": 64,
        "min_epochs": 20,
        "epochs": 30,
        "label_smoothing": 0.0,
        "gradient_clip": 0.0,
        "precision": "32-true",
    },
    demo=DetectorSettings(
        pretrained=False,
        input_px=80,
        **IMAGENET,
        optimizer="adam",
        learning_rate=1e-3,
        batch_size=32,
        epochs=4,
        label_smoothing=0.0,
        dropout=0.3,
    ),
)
