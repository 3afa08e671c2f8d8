"""Training of one detector: the stage, its two phases and their callbacks."""

from fakelens.detectors.network import ensure_torchvision

# lightning and torchmetrics import torchvision, whose import may first need mending.
ensure_torchvision()
