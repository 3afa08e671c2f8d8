"""Pictures that a data set off the internet may hold: a made-up scene in, odd but legitimate and broken files out.

`ODD` and `BROKEN` name the kinds. hostile.py measures what `fakelens prepare` makes of them.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE_PX = (300, 256)
MIN_SIDE_PX = 224
Picture = Image.Image
Maker = Callable[[Picture, int], bytes | None]


def scene(number: int) -> Picture:
    """A picture unlike any other: soft overlapping ellipses in front of a gradient."""
    rng = np.random.default_rng((7, number))
    corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    picture = Image.fromarray(corners).resize(SIZE_PX, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(picture)
    for _ in range(25):
        x, y, radius = rng.integers(0, 300), rng.integers(0, 256), rng.integers(8, 80)
        box = (x - radius, y - radius * rng.uniform(0.4, 1), x + radius, y + radius * rng.uniform(0.4, 1))
        draw.ellipse([float(side) for side in box], fill=tuple(rng.integers(0, 256, 3).tolist()))
    return picture.filter(ImageFilter.GaussianBlur(1))


def appearance(kind: str, picture: Picture) -> Picture:
    """What a viewer shows of an odd picture of this kind."""
    if kind in ("alpha", "grey-alpha"):
        clear = _with_hole(picture)
        picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    grey = kind in ("grey", "grey-16-bit", "one-bit", "grey-alpha")
    return picture.convert("L").convert("RGB") if grey else picture


def saved(picture: Picture, name: str, **options: Any) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def _with_hole(picture: Picture) -> Picture:
    """Its left third transparent, over colours that nobody should see; RGBA."""
    alpha = np.full((picture.height, picture.width), 255, np.uint8)
    alpha[:, : picture.width // 3] = 0
    picture = picture.convert("RGB")
    picture.putalpha(Image.fromarray(alpha))
    return picture


def _exif_turned(picture: Picture) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise of how it is stored
    return saved(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif)


def _animated(picture: Picture, name: str) -> bytes:
    others = [Image.new("RGB", picture.size, colour) for colour in ("red", "black")]
    return saved(picture, name, save_all=True, append_images=others, duration=100, lossless=True)


def _grey_16(picture: Picture) -> bytes:
    return saved(Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257), "PNG")


@lru_cache(maxsize=4)
def _white(width_px: int, height_px: int) -> bytes:
    return saved(Image.new("1", (width_px, height_px), 1), "PNG")


def _bomb(width_px: int, height_px: int, number: int) -> bytes:
    """A few kilobytes that want to be very many pixels; bytes after the end tell the files apart."""
    return _white(width_px, height_px) + bytes(number)


def _huge_header(picture: Picture) -> bytes:
    """A small JPEG that says it is 65,000 × 65,000."""
    data = bytearray(saved(picture, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = (65_000).to_bytes(2, "big") * 2
    return bytes(data)


def _cut(data: bytes, number: int) -> bytes:
    return data[: int(len(data) * (0.3 + number / 40))]


def _damaged(data: bytes, share: float) -> bytes:
    middle = int(len(data) * share)
    return data[:middle] + bytes(64) + data[middle + 64 :]


# Kind: how its file name ends, and how the file is made of a picture and a number.
ODD: dict[str, tuple[str, Maker]] = {
    "wrong-extension": (".jpg", lambda p, i: saved(p, ("PNG", "WEBP")[i % 2])),
    "no-extension": ("", lambda p, _: saved(p, "JPEG")),
    "grey-16-bit": (".png", lambda p, _: _grey_16(p)),
    "grey": (".jpg", lambda p, _: saved(p.convert("L"), "JPEG")),
    "cmyk": (".jpg", lambda p, _: saved(p.convert("CMYK"), "JPEG", quality=92)),
    "palette": (".png", lambda p, _: saved(p.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")),
    "one-bit": (".png", lambda p, _: saved(p.convert("1"), "PNG")),
    "alpha": (".png", lambda p, i: saved(_with_hole(p), ("PNG", "WEBP")[i // 2 % 2])),
    "grey-alpha": (".png", lambda p, _: saved(_with_hole(p).convert("LA"), "PNG")),
    "animated": (".webp", lambda p, i: _animated(p, ("PNG", "WEBP")[i // 2 % 2])),
    "exif-turned": (".jpg", lambda p, _: _exif_turned(p)),
    "progressive": (".jpg", lambda p, _: saved(p, "JPEG", progressive=True)),
    "avif": (".avif", lambda p, _: saved(p, "AVIF", speed=10)),
}
_ANY_DAMAGE = {"truncated", "unreadable", "unsupported_format"}
# Kind: the reasons that may be given for it, and how the file is made; None is a cell without bytes.
BROKEN: dict[str, tuple[set[str], Maker]] = {
    "empty": ({"empty"}, lambda _, i: b"" if i % 4 < 2 else None),
    "random-bytes": ({"unsupported_format"}, lambda _, i: np.random.default_rng(i).bytes(5000)),
    "web-page": ({"unsupported_format"}, lambda _, i: b"<!doctype html><title>403</title>" + b"." * i),
    "other-format": ({"unsupported_format"}, lambda p, i: saved(p, ("PPM", "TGA", "PCX", "ICO")[i % 4])),
    "cut-jpeg": ({"truncated"}, lambda p, i: _cut(saved(p, "JPEG"), i)),
    "cut-progressive": ({"truncated"}, lambda p, i: _cut(saved(p, "JPEG", progressive=True), i)),
    "cut-png": ({"truncated", "unreadable"}, lambda p, i: _cut(saved(p, "PNG"), i)),
    "cut-webp": (_ANY_DAMAGE, lambda p, i: _cut(saved(p, "WEBP"), i)),
    "cut-avif": (_ANY_DAMAGE, lambda p, i: _cut(saved(p, "AVIF", speed=10), i)),
    "header-only": (_ANY_DAMAGE, lambda p, i: saved(p, "JPEG")[: 16 + i]),
    "damaged-png": ({"truncated", "unreadable"}, lambda p, i: _damaged(saved(p, "PNG"), 0.3 + i / 50)),
    "one-pixel": ({"too_small"}, lambda _, i: saved(Image.new("RGB", (1, 1), (i, 9 * i, 250)), "PNG")),
    "thumbnail": ({"too_small"}, lambda p, _: saved(p.resize((400, MIN_SIDE_PX - 1)), "JPEG")),
    "sliver": ({"too_small"}, lambda p, i: saved(p.resize((1, 9000 + i)), "PNG")),
    "ribbon": ({"too_many_pixels"}, lambda _, i: _bomb(MIN_SIDE_PX, 220_000, i)),
    "bomb": ({"too_many_pixels"}, lambda _, i: _bomb(9000, 9000, i)),
    "great-bomb": ({"too_many_pixels"}, lambda _, i: _bomb(20_000, 20_000, i)),
    "huge-header": ({"too_many_pixels"}, lambda p, _: _huge_header(p)),
}
