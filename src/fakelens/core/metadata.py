"""An opened image file in; what it holds beside its pixels out: EXIF, XMP, text, content credentials.

Pillow has nearly all of it after opening and loading, but not the content credentials of WebP and of the formats made
of boxes (AVIF, HEIF): these alone are walked here, as their format frames them, at most `MAX_PARTS` parts.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

MAX_PARTS = 20_000
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_C2PA_TIFF_TAG = 0xCD41


@dataclass(frozen=True)
class Metadata:
    """Metadata of an image file, unparsed; empty where there are none."""

    exif: bytes
    xmp: bytes
    texts: tuple[tuple[str, str], ...]
    """(keyword, text) of PNG's text chunks; comments of JPEG and GIF have the keyword `comment`."""
    credentials: bytes
    """The C2PA manifest store (JUMBF)."""


def metadata_of(image: Image.Image, data: bytes) -> Metadata:
    """The metadata of a loaded `image` whose file is `data`."""
    return Metadata(
        _bytes(image.info.get("exif")), _bytes(image.info.get("xmp")), tuple(_texts(image)), _credentials(image, data)
    )


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    # Not `info`, which holds other things under a PNG's keywords.
    for keyword, text in getattr(image, "text", {}).items():
        yield str(keyword), str(text)
    if comment := _bytes(image.info.get("comment")):
        yield "comment", comment.decode("latin-1")


def _credentials(image: Image.Image, data: bytes) -> bytes:
    match image.format:
        case "JPEG" | "MPO":
            segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
            return b"".join(_jumbf_of(content) for name, content in segments if name == "APP11")
        case "PNG":
            return b"".join(chunk[1] for chunk in getattr(image, "private_chunks", []) if chunk[0] == b"caBX")
        case "WEBP":
            return b"".join(content for name, content in _riff_chunks(memoryview(data)) if name == b"C2PA")
        case "AVIF" | "HEIF":
            boxes = (bytes(content) for name, content in _boxes(memoryview(data)) if name == b"uuid")
            return b"".join(box[len(_C2PA_UUID) :] for box in boxes if box.startswith(_C2PA_UUID))
        case "TIFF":
            return _bytes(getattr(image, "tag_v2", {}).get(_C2PA_TIFF_TAG))
        case _:
            return b""


def _bytes(value: Any) -> bytes:
    """The value where it is bytes: damaged metadata is as good as none."""
    return value if isinstance(value, bytes) else b""


def _jumbf_of(segment: bytes) -> bytes:
    """The piece of a JUMBF box that one APP11 segment holds: all but the first repeat the box's header."""
    if segment[:2] != b"JP" or len(segment) < 16:
        return b""
    first = int.from_bytes(segment[4:8]) == 1
    long_header = int.from_bytes(segment[8:12]) == 1
    return segment[8 if first else 24 if long_header else 16 :]


def _riff_chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        name, size = struct.unpack_from("<4sI", view, at)
        yield name, view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _boxes(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Boxes at the file's top level."""
    at = 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        size, name = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1 and at + 16 <= len(view):
            size, head = int.from_bytes(view[at + 8 : at + 16]), 16
        elif size == 0:
            size = len(view) - at
        if size < head:
            return
        yield name, view[at + head : at + size]
        at += size
