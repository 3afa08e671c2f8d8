"""Degradations: a stored square and a step in; the square that serving would make of the degraded picture out. Pure.

What happens to pictures on their way to a detector: compression, resizing, cropping, and the mixtures of them that
screenshots and messengers make. It happens to the stored square, not to the original, whose larger size would hide a
part of it when serving shrinks it: the figures are those of pictures that were small already.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from fakelens.core import imaging
from fakelens.core.imaging import ImageU8

Kind = Literal["bicubic", "bilinear", "crop", "blur", "noise", "PNG", "JPEG", "WEBP", "AVIF"]
MIN_SIDE_PX = 16
# The same bytes whatever the number of cores; PNG is lossless at any level, and this one is fast.
_OPTIONS: dict[str, dict[str, int]] = {"PNG": {"compress_level": 1}, "AVIF": {"max_threads": 1}}
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Action:
    """One operation on a picture."""

    kind: Kind
    amount: float = 100
    """A codec's quality; the new side as a factor (bicubic, bilinear, crop); sigma in pixels (blur) or of 255 (noise).
    """


@dataclass(frozen=True)
class Step:
    """One degradation: its family, its place in it from mild (1) to strong, and what it consists of."""

    family: str
    label: str
    severity: int
    actions: tuple[Action, ...]
    """In their order; the last is the codec of the file that reaches the detector."""


_FILE = Action("PNG")
# Screen tools cut a little off the edge, which also shifts the 8 × 8 grid of what was a JPEG.
_TRIM = Action("crop", 0.97)
_CHAINS = (
    (Action("bicubic", 0.9), Action("JPEG", 85)),
    (Action("bicubic", 0.75), Action("JPEG", 75), Action("JPEG", 80)),
    (Action("WEBP", 70), Action("bicubic", 0.6), Action("JPEG", 70), Action("JPEG", 60)),
)
_LADDERS: dict[str, list[tuple[str, tuple[Action, ...]]]] = {
    # The stored squares have been through serving's own JPEG round trip, and go through it again: this is what the
    # second one does by itself.
    "none": [("served again", (_FILE,))],
    # For the same reason quality 85, which is serving's, changes next to nothing, less than 95 does.
    "JPEG": [(f"quality {quality}", (Action("JPEG", quality),)) for quality in (95, 85, 75, 65, 50, 30)],
    "WebP": [(f"quality {quality}", (Action("WEBP", quality),)) for quality in (90, 75, 50, 30)],
    "AVIF": [(f"quality {quality}", (Action("AVIF", quality),)) for quality in (75, 50, 30)],
    "resize": [(f"×{factor:g}", (Action("bicubic", factor), _FILE)) for factor in (2, 1.5, 0.75, 0.5, 0.25)],
    "blur": [(f"σ {sigma:g} px", (Action("blur", sigma), _FILE)) for sigma in (0.5, 1, 2)],
    "noise": [(f"σ {sigma}/255", (Action("noise", sigma), _FILE)) for sigma in (2, 5, 10)],
    "crop": [(f"centre {side:g}", (Action("crop", side), _FILE)) for side in (0.9, 0.75, 0.5)],
    "screenshot": [
        ("×1.5, PNG", (Action("bilinear", 1.5), _TRIM, _FILE)),
        ("×1.25, JPEG 90", (Action("bilinear", 1.25), _TRIM, Action("JPEG", 90))),
        ("×0.9, JPEG 75", (Action("bilinear", 0.9), _TRIM, Action("JPEG", 75))),
    ],
    "social media": [
        ("×0.9, JPEG 85", _CHAINS[0]),
        ("×0.75, JPEG 75 and 80", _CHAINS[1]),
        ("WebP 70, ×0.6, JPEG 70 and 60", _CHAINS[2]),
    ],
}
STEPS: tuple[Step, ...] = tuple(
    Step(family, label, severity, actions)
    for family, ladder in _LADDERS.items()
    for severity, (label, actions) in enumerate(ladder, start=1)
)


def degrade(square: ImageU8, step: Step, rng: np.random.Generator) -> ImageU8:
    """The square that a detector sees when the degraded picture is handed in as a file; (S, S, 3) uint8 to the same.

    Raises:
        ImageRefused: when a step leaves less than `MIN_SIDE_PX`; from S = 64 px on none does.
    """
    data = degraded_file(square, step, rng)
    image, _ = imaging.decode(data, short_side_px=square.shape[0], min_side_px=MIN_SIDE_PX)
    return imaging.to_square(image)


def degraded_file(square: ImageU8, step: Step, rng: np.random.Generator) -> bytes:
    """The degraded (S, S, 3) uint8 picture as the file that would be handed in; only noise draws from `rng`."""
    *before, last = step.actions
    image = Image.fromarray(square)
    for action in before:
        image = _after(image, action, rng)
    return _encoded(image, last)


def _after(image: Image.Image, action: Action, rng: np.random.Generator) -> Image.Image:
    match action.kind:
        case "bicubic" | "bilinear":
            side = round(image.width * action.amount)
            return image.resize((side, side), _FILTERS[action.kind])
        case "crop":
            side = round(image.width * action.amount)
            start = (image.width - side) // 2
            return image.crop((start, start, start + side, start + side))
        case "blur":
            return image.filter(ImageFilter.GaussianBlur(action.amount))
        case "noise":
            noisy = np.asarray(image) + rng.normal(0, action.amount, (image.height, image.width, 3))
            return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    with Image.open(io.BytesIO(_encoded(image, action))) as decoded:
        return decoded.convert("RGB")


def _encoded(image: Image.Image, action: Action) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, action.kind, quality=int(action.amount), **_OPTIONS.get(action.kind, {}))
    return buffer.getvalue()
