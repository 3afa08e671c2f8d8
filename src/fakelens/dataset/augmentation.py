"""Training-time augmentation: a stored square and a random stream in, a crop with a new codec history out.

Compression comes last and hits both classes alike, so that what remains of the files' own codec history says less
about the label (Grommelt et al. 2024, arXiv 2403.17608; arXiv 2511.21507).
"""

import io
from typing import Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from fakelens.core.config import Settings
from fakelens.core.imaging import ImageU8


class AugmentationSettings(Settings):
    """How training images are varied; the same for photographs and fakes."""

    flip: float = Field(0.5, ge=0, le=1)
    """Probability of a left-right flip."""
    jpeg: float = Field(0.45, ge=0, le=1)
    """Probability of a JPEG recompression."""
    webp: float = Field(0.2, ge=0, le=1)
    """Probability of a WebP recompression instead."""
    repeat: float = Field(0.3, ge=0, le=1)
    """Probability that a recompressed image is recompressed once more."""
    quality: tuple[int, int] = (55, 95)
    """Lowest and highest quality of either codec, 1 to 100."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.jpeg + self.webp > 1:
            raise ValueError(f"jpeg and webp exclude each other: {self.jpeg} + {self.webp} is more than 1")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError(f"quality must be (lowest, highest) within 1 to 100, not {self.quality}")
        return self


def augment(square: ImageU8, crop_px: int, settings: AugmentationSettings, rng: np.random.Generator) -> ImageU8:
    """Random crop, flip and recompression; (S, S, 3) uint8 to (crop_px, crop_px, 3) uint8."""
    top, left = rng.integers(0, square.shape[0] - crop_px + 1, size=2)
    crop = square[top : top + crop_px, left : left + crop_px]
    if rng.random() < settings.flip:
        crop = crop[:, ::-1]
    codec = rng.random()
    if codec < settings.jpeg + settings.webp:
        name = "JPEG" if codec < settings.jpeg else "WEBP"
        for _ in range(2 if rng.random() < settings.repeat else 1):
            crop = _recompress(crop, name, int(rng.integers(settings.quality[0], settings.quality[1] + 1)))
    return np.ascontiguousarray(crop)


def _recompress(pixels: ImageU8, codec: str, quality: int) -> ImageU8:
    buffer = io.BytesIO()
    # WebP's fastest method: same artefacts, a third of the time of the default.
    options = {"method": 0} if codec == "WEBP" else {}
    Image.fromarray(pixels).save(buffer, codec, quality=quality, **options)
    with Image.open(buffer) as image:
        return np.array(image.convert("RGB"))
