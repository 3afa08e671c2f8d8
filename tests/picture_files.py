"""Picture files made byte by byte, for what no encoder writes."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


def png_chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png_promising(width_px: int, height_px: int, bits: int = 8) -> bytes:
    """A PNG that says it has this size and holds next to no pixels."""
    head = struct.pack(">IIBBBBB", width_px, height_px, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(9)))


def with_png_chunk(png: bytes, name: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    head = 8 + 25
    return png[:head] + png_chunk(name, content) + png[head:]


def with_segments(jpeg: bytes, marker: int, *contents: bytes) -> bytes:
    """The JPEG with further segments at its start."""
    segments = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(c) + 2) + c for c in contents)
    return jpeg[:2] + segments + jpeg[2:]


def png_of(samples: npt.NDArray[np.uint16], bits: int, key: tuple[int, ...] | None = None) -> bytes:
    """A grey (H, W) or colour (H, W, 3) PNG of exactly these samples, with a transparent key colour at need."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    else:
        rows = np.zeros((height, samples[0].size * bits // 8), np.uint8)
        for place, part in enumerate(np.moveaxis(samples.reshape(height, -1, 8 // bits), 2, 0)):
            rows |= (part << (8 - bits * (place + 1))).astype(np.uint8)
    head = struct.pack(">IIBBBBB", width, height, bits, 0 if samples.ndim == 2 else 2, 0, 0, 0)
    chunks = [
        (b"IHDR", head),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    ]
    if key is not None:
        chunks.insert(1, (b"tRNS", struct.pack(f">{len(key)}H", *key)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks)


def tiff_of(pixels: bytes, tags: Mapping[int, int]) -> bytes:
    """A grey TIFF of 64 × 64 px out of its tags; a value below 0 leaves a tag out."""
    entries = {273: 8, 279: len(pixels), 256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 277: 1, 278: 64, **tags}
    fields = [(tag, value) for tag, value in sorted(entries.items()) if value >= 0]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    end = 8 + len(pixels)
    return b"II*\0" + struct.pack("<I", end) + pixels + struct.pack("<H", len(fields)) + body + bytes(4)
