"""Heat-map overlay: a picture and a detector's map in; the picture with the map over it out. NumPy and Pillow alone."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Box = tuple[int, int, int, int]
# A diverging scale whose ends differ in lightness of hue for every kind of colour vision: ColorBrewer's PuOr, turned.
PHOTOGRAPH_RGB, GENERATED_RGB = (46, 90, 172), (230, 97, 1)
# A map that nowhere moves the score by more than this is of one grey: its own range would be noise made visible.
_LEAST_FULL_LOGIT = 0.2
_JPEG_QUALITY = 88
_BORDERS = ((0, (20, 20, 20)), (1, (255, 255, 255)))  # dark outside, light inside: seen on any picture


def overlay(picture: Image.Image, heatmap: npt.NDArray[np.float32], box: Box, opacity: float) -> Image.Image:
    """Lay an (h, w) map of logits, positive = AI-generated, over the `box` of an RGB picture that it was made from.

    The colour is full where the map is strongest. `opacity` 1 hides the picture there.
    """
    left, top, right, bottom = box
    values = Image.fromarray(np.asarray(heatmap, np.float32)).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC
    )
    full = max(_LEAST_FULL_LOGIT, float(np.abs(heatmap).max()))
    strength = np.clip(np.asarray(values) / full, -1, 1)[..., None]
    colour = np.where(strength > 0, np.array(GENERATED_RGB, np.float32), np.array(PHOTOGRAPH_RGB, np.float32))
    alpha = opacity * np.abs(strength)
    seen = np.asarray(picture.crop(box), np.float32)
    shown = picture.copy()
    shown.paste(Image.fromarray((seen + alpha * (colour - seen) + 0.5).astype(np.uint8)), (left, top))
    draw = ImageDraw.Draw(shown)
    for inset, border in _BORDERS:
        draw.rectangle((left + inset, top + inset, right - 1 - inset, bottom - 1 - inset), outline=border)
    return shown


def is_faint(heatmap: npt.NDArray[np.float32]) -> bool:
    """Whether the map moves the score nowhere by so much that its colours are full."""
    return bool(np.abs(heatmap).max() < _LEAST_FULL_LOGIT)


def as_jpeg(picture: Image.Image) -> bytes:
    """An RGB picture as a small file for the page."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def legend_html() -> str:
    """The colour scale in words and colours; HTML made of constants."""
    left, right = (f"rgb{colour}" for colour in (PHOTOGRAPH_RGB, GENERATED_RGB))
    return (
        '<div role="img" aria-label="Colours: blue speaks for a photograph, orange for AI-generated">'
        f'<div style="height:.5rem;border-radius:.25rem;background:linear-gradient(90deg,{left},'
        f'rgba(128,128,128,.15),{right})"></div><div style="display:flex;justify-content:space-between;'
        'gap:1rem;font-size:.85rem;margin-top:.2rem"><span>speaks for a photograph</span>'
        '<span style="text-align:right">speaks for AI-generated</span></div></div>'
    )
