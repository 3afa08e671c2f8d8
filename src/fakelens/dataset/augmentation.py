"""Training-time augmentation: a stored square and a random stream in, a crop with a new codec history out.

What is done to a picture is drawn first (`draw`) and then done (`apply`), so that tests can count it. The label is not
asked: both classes get the same mixture. Compression comes last, so that what remains of the files' own codec history
says less about the label (Grommelt et al. 2024, arXiv 2403.17608; the mixture: arXiv 2511.21507 and the OpenFake
paper's recipe).
"""

import io
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from fakelens.core.imaging import ImageU8
from fakelens.settings import AugmentationSettings

Codec = Literal["JPEG", "WEBP", "AVIF"]


# The encoders' fastest settings: the same kind of artefacts in a fraction of the time.
_FASTEST: dict[str, dict[str, int]] = {"WEBP": {"method": 0}, "AVIF": {"speed": 10, "max_threads": 1}}


@dataclass(frozen=True)
class Compression:
    """One lossy round trip; with `scale` below 1 the picture is shrunk for it and enlarged again afterwards."""

    codec: Codec
    quality: int
    scale: float = 1.0


@dataclass(frozen=True)
class Variation:
    """Variation of one picture: its operations in the order of the fields."""

    top: int
    left: int
    side_px: int
    flip: bool
    colour: tuple[float, float, float] | None
    """Factors of brightness, contrast and saturation."""
    blur_sigma_px: float
    compressions: tuple[Compression, ...]


def augment(square: ImageU8, crop_px: int, settings: AugmentationSettings, rng: np.random.Generator) -> ImageU8:
    """A random variation of a stored square; (S, S, 3) uint8 to (crop_px, crop_px, 3) uint8."""
    return apply(draw(square.shape[0], crop_px, settings, rng), square, crop_px)


def draw(stored_px: int, crop_px: int, settings: AugmentationSettings, rng: np.random.Generator) -> Variation:
    """Decide what happens to a picture of `stored_px` pixels; depends on the random stream alone."""
    smallest = min(crop_px, round(stored_px * settings.crop_scale))
    side = crop_px if settings.crop_scale == 1 else int(rng.integers(smallest, stored_px + 1))
    top, left = rng.integers(0, stored_px - side + 1, size=2)
    spread = settings.colour_strength
    return Variation(
        int(top), int(left), side,
        flip=bool(rng.random() < settings.flip),
        colour=_factors(rng, spread) if rng.random() < settings.colour else None,
        blur_sigma_px=float(rng.uniform(*settings.blur_sigma_px)) if rng.random() < settings.blur else 0.0,
        compressions=_compressions(settings, rng),
    )  # fmt: skip


def apply(variation: Variation, square: ImageU8, crop_px: int) -> ImageU8:
    """Do what was drawn; (S, S, 3) uint8 to (crop_px, crop_px, 3) uint8."""
    v = variation
    crop = square[v.top : v.top + v.side_px, v.left : v.left + v.side_px]
    image = Image.fromarray(np.ascontiguousarray(crop[:, ::-1] if v.flip else crop))
    if v.side_px != crop_px:
        image = image.resize((crop_px, crop_px), Image.Resampling.BICUBIC)
    if v.colour:
        for enhancer, factor in zip(_ENHANCERS, v.colour, strict=True):
            image = enhancer(image).enhance(factor)
    if v.blur_sigma_px:
        image = image.filter(ImageFilter.GaussianBlur(v.blur_sigma_px))
    for compression in v.compressions:
        image = compressed(image, compression)
    return np.array(image, dtype=np.uint8)


def compressed(image: Image.Image, compression: Compression) -> Image.Image:
    """The picture after one lossy round trip, in its own size."""
    size = image.size
    if compression.scale != 1:
        smaller = (max(1, round(size[0] * compression.scale)), max(1, round(size[1] * compression.scale)))
        image = image.resize(smaller, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, compression.codec, quality=compression.quality, **_FASTEST.get(compression.codec, {}))
    with Image.open(buffer, formats=get_args(Codec)) as decoded:
        result = decoded.convert("RGB")
    return result if result.size == size else result.resize(size, Image.Resampling.BICUBIC)


_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def _factors(rng: np.random.Generator, spread: float) -> tuple[float, float, float]:
    brightness, contrast, saturation = (float(factor) for factor in rng.uniform(1 - spread, 1 + spread, size=3))
    return brightness, contrast, saturation


def _compressions(settings: AugmentationSettings, rng: np.random.Generator) -> tuple[Compression, ...]:
    total = settings.jpeg + settings.webp + settings.avif + settings.resize_jpeg
    if rng.random() >= total:
        return ()
    return tuple(_compression(settings, rng, total) for _ in range(2 if rng.random() < settings.repeat else 1))


def _compression(settings: AugmentationSettings, rng: np.random.Generator, total: float) -> Compression:
    way = rng.random() * total
    quality = int(rng.integers(settings.quality[0], settings.quality[1] + 1))
    ways: tuple[tuple[Codec, float], ...] = (("JPEG", settings.jpeg), ("WEBP", settings.webp), ("AVIF", settings.avif))
    for codec, share in ways:
        if way < share:
            return Compression(codec, quality)
        way -= share
    return Compression("JPEG", quality, float(rng.uniform(*settings.resize_scale)))
