"""To be imported before lightning or torchmetrics: they import torchvision, whose import may first need mending."""

from fakelens.detectors.torchvision_operators import ensure_torchvision

ensure_torchvision()
