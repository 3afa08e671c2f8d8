"""Lets torchvision be imported beside a torch build for which its compiled library was not made."""


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
