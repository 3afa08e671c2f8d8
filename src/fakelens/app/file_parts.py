"""Untrusted bytes of a picture file in; its parts, as the format frames them, out. No pixel is decoded, none copied.

JPEG segments, PNG and WebP chunks and the boxes of AVIF are walked in bounded time: at most `MAX_PARTS` of them, and
the walk ends without a word where the framing breaks, as the decoder will say what is wrong.
"""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

Format = Literal["JPEG", "PNG", "WEBP", "AVIF"]
MAX_PARTS = 20_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9


class Part(NamedTuple):
    """One segment, chunk or box."""

    name: str
    """`E1` (a JPEG marker), `iTXt`, `XMP `, `uuid`."""
    content: memoryview


def format_of(data: bytes) -> Format | None:
    """What the first bytes say that the file is; None for anything that is not judged."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return "AVIF" if data[4:8] == b"ftyp" else None


def parts(data: bytes) -> Iterator[Part]:
    """The file's parts in their order; none of a file that is no picture."""
    view = memoryview(data)
    walk = {"JPEG": _segments, "PNG": _png_chunks, "WEBP": _riff_chunks, "AVIF": _boxes}
    kind = format_of(data)
    if kind is None:
        return
    for number, part in enumerate(walk[kind](view)):
        if number == MAX_PARTS:
            return
        yield part


def _segments(view: memoryview) -> Iterator[Part]:
    """The segments before the first scan, where all metadata stands."""
    at = 2
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _JPEG_ALONE:
            at += 2
        else:
            size = int.from_bytes(view[at + 2 : at + 4])
            if marker in (_JPEG_START_OF_SCAN, _JPEG_END) or size < 2:
                return
            yield Part(f"{marker:02X}", view[at + 4 : at + 2 + size])
            at += 2 + size


def _png_chunks(view: memoryview) -> Iterator[Part]:
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(view):
        size, name = struct.unpack_from(">I4s", view, at)
        yield Part(name.decode("latin-1"), view[at + 8 : at + 8 + size])
        at += 12 + size


def _riff_chunks(view: memoryview) -> Iterator[Part]:
    at = 12
    while at + 8 <= len(view):
        name, size = struct.unpack_from("<4sI", view, at)
        yield Part(name.decode("latin-1"), view[at + 8 : at + 8 + size])
        at += 8 + size + size % 2


def _boxes(view: memoryview) -> Iterator[Part]:
    """Boxes at the file's top level."""
    at = 0
    while at + 8 <= len(view):
        size, name = struct.unpack_from(">I4s", view, at)
        head = 8
        if size == 1 and at + 16 <= len(view):
            size, head = int.from_bytes(view[at + 8 : at + 16]), 16
        elif size == 0:
            size = len(view) - at
        if size < head:
            return
        yield Part(name.decode("latin-1"), view[at + head : at + size])
        at += size
