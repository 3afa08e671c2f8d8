"""Picture files made byte by byte, for what no encoder writes."""

import struct
import zlib


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
