"""Marks of origin in an image file: EXIF, XMP, text chunks, C2PA boxes.

The file's parts are walked as its format frames them, without decoding a pixel: JPEG segments, PNG and WebP chunks and
the boxes of AVIF, at most `MAX_PARTS` of them. The walk ends without a word where the framing breaks, as the decoder
will say what is wrong.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
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


_MAX_TEXT_BYTES = 1 << 18


_IPTC = "IPTC digital source type"


_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


# https://cv.iptc.org/newscodes/digitalsourcetype/: the two terms that name a trained model.
# What follows is not looked at: in CBOR the next text's length stands there, which may be a letter.
_SOURCE_TYPE = re.compile(rb"(?<![A-Za-z])(compositeWithT|t)rainedAlgorithmicMedia")


_SOURCE_WORDS = {
    b"t": "made by a trained model",
    b"compositeWithT": "composed with parts made by a trained model",
}


# What programs write where: (what must be found in the text, the program).
_GENERATOR_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"Steps: \d+.{0,400}?(Sampler|CFG scale): ", re.DOTALL), "a Stable Diffusion program"),
    (re.compile(rb'"class_type"\s*:\s*"'), "ComfyUI"),
    (re.compile(rb"invokeai_(metadata|graph)|sd-metadata"), "InvokeAI"),
    (re.compile(rb"^Software\0.{0,40}NovelAI", re.DOTALL), "NovelAI"),
    (re.compile(rb"^Description\0.{0,4000}Job ID: [0-9a-f-]{36}", re.DOTALL), "Midjourney"),
)


@dataclass(frozen=True)
class Statement:
    """One thing that the file says of itself."""

    origin: str
    """Where it stands, such as `Content credentials (C2PA)`."""
    says: str
    """What it says, such as `made by a trained model`."""


def statements(data: bytes) -> tuple[Statement, ...]:
    """What the file says of an AI's part in it, each once; empty for nearly every picture."""
    found: dict[Statement, None] = {}
    for origin, text in _texts(data):
        if origin == "":
            programs = [name for pattern, name in _GENERATOR_TEXTS if pattern.search(text)]
            found |= {Statement("Text in the file", f"settings of {name}"): None for name in programs}
        elif match := _SOURCE_TYPE.search(text):
            found[Statement(origin, _SOURCE_WORDS[match[1]])] = None
    return tuple(found)


def _texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(origin, bytes to look through); an origin of nothing is text that a program may have left."""
    kind = format_of(data)
    credentials = bytearray()
    for part in parts(data):
        match kind, part.name:
            case "JPEG", "EB":
                credentials += _jumbf_of(part.content)
            case ("PNG", "caBX") | ("WEBP", "C2PA"):
                credentials += part.content
            case ("JPEG", "E1") | ("WEBP", "XMP " | "EXIF"):
                yield from _xmp_or_exif(part)
            case "PNG", "tEXt" | "zTXt" | "iTXt" | "eXIf":
                yield from _png_text(part)
            case "AVIF", "uuid" if bytes(part.content[:16]) == _C2PA_UUID:
                credentials += part.content
            case "AVIF", "mdat" | "idat":
                yield from _xmp_packet(part)
        if len(credentials) > len(data):
            break
    if credentials:
        yield "Content credentials (C2PA)", bytes(credentials)


def _jumbf_of(segment: memoryview) -> bytes:
    """The piece of a JUMBF box that one APP11 segment holds: all but the first repeat the box's header."""
    if bytes(segment[:2]) != b"JP" or len(segment) < 16:
        return b""
    first = int.from_bytes(segment[4:8]) == 1
    long_header = int.from_bytes(segment[8:12]) == 1
    return bytes(segment[8 if first else 24 if long_header else 16 :])


def _xmp_or_exif(part: Part) -> Iterator[tuple[str, bytes]]:
    content = bytes(part.content[:_MAX_TEXT_BYTES])
    if content.startswith(_XMP_IN_JPEG) or part.name == "XMP ":
        yield _IPTC, content
    else:
        # A user comment in EXIF is UTF-16 of either order, or ASCII: without its zeros it is text in all cases.
        yield "", content.replace(b"\0", b"")


def _png_text(part: Part) -> Iterator[tuple[str, bytes]]:
    """A text chunk as `keyword`, a zero, the text."""
    content = bytes(part.content[:_MAX_TEXT_BYTES])
    if part.name == "eXIf":
        yield "", content.replace(b"\0", b"")
        return
    keyword, _, text = content.partition(b"\0")
    if part.name == "zTXt":
        text = _inflated(text[1:])
    elif part.name == "iTXt":
        packed, (_, _, text) = text[:1] == b"\x01", _itxt_fields(text[2:])
        text = _inflated(text) if packed else text
    yield (_IPTC, text) if keyword == b"XML:com.adobe.xmp" else ("", keyword + b"\0" + text)


def _itxt_fields(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """(language, translated keyword, text) of an international text chunk."""
    language, _, rest = rest.partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    return language, translated, text


def _inflated(packed: bytes) -> bytes:
    """At most `_MAX_TEXT_BYTES` of a deflated text, as much as can be read."""
    try:
        return zlib.decompressobj().decompress(packed, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _xmp_packet(part: Part) -> Iterator[tuple[str, bytes]]:
    """The XMP item of an AVIF, found by its first and last words: where it stands takes the whole item table to say."""
    whole = bytes(part.content)
    start = whole.find(b"<x:xmpmeta")
    if start >= 0:
        yield _IPTC, whole[start : start + _MAX_TEXT_BYTES].partition(b"</x:xmpmeta>")[0]
