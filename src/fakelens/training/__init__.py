"""Training on Lightning's engine: phases, module, callbacks and the stage itself."""

from fakelens.detectors.torchvision_operators import ensure_torchvision

# Every module here imports lightning or torchmetrics, and those import torchvision.
ensure_torchvision()
