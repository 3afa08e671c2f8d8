"""A picture in any form that Python programs hold one; the bytes of a file, which are judged, out."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import MAX_BYTES, ORIENTATION_TAG, ImageRefused, orientation_of

PictureInput = str | Path | bytes | bytearray | memoryview | Image.Image | npt.NDArray[np.uint8]
"""A path, a file's bytes, or decoded pixels: an image of PIL's or an (H, W), (H, W, 3) or (H, W, 4) uint8 array."""
ONE_PICTURE = (str, Path, bytes, bytearray, memoryview, Image.Image, np.ndarray)

_LOSSLESS_IN_PNG = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_SIXTEEN_BITS = ("I;16B", "I;16L")  # in an order of bytes of their own
_WITHOUT_RANGE = ("I", "F")  # nothing says what is black and what is white


def name_of(picture: PictureInput) -> str:
    """The path; empty for what has none."""
    return str(picture) if isinstance(picture, str | Path) else ""


def file_bytes(picture: PictureInput) -> bytes:
    """The bytes of a file; decoded pixels become a PNG without loss, which way up included.

    Raises:
        OSError: when a file cannot be read.
        ImageRefused: when the pixels are not those of a picture.
        TypeError: when it is none of these forms.
    """
    match picture:
        case bytes() | bytearray() | memoryview():
            return bytes(picture)
        case str() | Path():
            try:
                with Path(picture).open("rb") as file:
                    return file.read(MAX_BYTES + 1)  # a device has no end; what is longer is refused by its size
            except ValueError as error:  # a null character, or half of a surrogate pair
                raise ImageRefused("unreadable", f"no file can have this path ({error})") from error
        case Image.Image():
            return _png(picture)
        case np.ndarray():
            return _png(_image(picture))
    kind = type(picture).__name__
    raise TypeError(f"a picture is a path, bytes, an image of PIL's or a uint8 array, or a list of these, not {kind}")


def _image(pixels: npt.NDArray[Any]) -> Image.Image:
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ImageRefused(
            "unsupported_format",
            f"the array is {pixels.dtype} of shape {pixels.shape}: give RGB of (height, width, 3), uint8 from 0 to 255",
        )
    return Image.fromarray(pixels)


def _png(image: Image.Image) -> bytes:
    if image.mode in _WITHOUT_RANGE:
        raise ImageRefused(
            "unsupported_format", f"the image has the mode {image.mode}, which states no white: convert it to RGB"
        )
    if not (image.width and image.height):
        raise ImageRefused("empty", "the image has no pixels")
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION_TAG] = orientation_of(image)
    try:
        if image.mode in _SIXTEEN_BITS:
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        lossless = image if image.mode in _LOSSLESS_IN_PNG else image.convert("RGB")
        lossless.save(buffer, "PNG", compress_level=1, exif=exif)
    except (OSError, SyntaxError, ValueError) as error:  # an opened file is decoded only now
        raise ImageRefused("unreadable", f"the image cannot be decoded ({error})") from error
    return buffer.getvalue()
