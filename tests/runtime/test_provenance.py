"""What files say of themselves is found in every place it may stand, and nothing is found where nothing is said."""

import contextlib
import struct
import time
import zlib

import pytest
from PIL import Image

from fakelens.core.imaging import ImageRefused, read_image
from fakelens.runtime.provenance import Mark, marks_of
from onnx_models import encoded
from picture_files import with_png_chunk, with_segments

PICTURE = Image.new("RGB", (64, 64), "grey")
TERM = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP = b'<x:xmpmeta><d Iptc4xmpExt:DigitalSourceType="' + TERM + b'"/></x:xmpmeta>'
JUMBF = b"jumb\0\0\0\x1ejumdc2pa" + b"x" * 40 + b"qdigitalSourceTypexF" + TERM + b"y" * 40
CREDENTIALS = Mark("Content credentials (C2PA)", "made by a trained model")
IPTC = Mark("IPTC digital source type", "made by a trained model")


def marks(data: bytes) -> tuple[Mark, ...]:
    return marks_of(read_image(data).metadata)


def riff_with(webp: bytes, name: bytes, content: bytes) -> bytes:
    whole = webp[12:] + name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(whole) + 4) + b"WEBP" + whole


def jumbf_segments(box: bytes, size: int) -> list[bytes]:
    """A box in APP11 segments, each but the first repeating its header."""
    whole = struct.pack(">I", len(box) + 4) + box
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    return [
        b"JP\0\1" + struct.pack(">I", number) + (b"" if number == 1 else whole[:8]) + piece
        for number, piece in enumerate(pieces, start=1)
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_plain_picture_says_nothing(kind: str) -> None:
    assert marks(encoded(PICTURE, kind)) == ()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_xmp_names_a_trained_model(kind: str) -> None:
    assert marks(encoded(PICTURE, kind, xmp=XMP)) == (IPTC,)


@pytest.mark.parametrize("packed", [True, False])
def test_xmp_in_a_png(packed: bool) -> None:
    head = b"XML:com.adobe.xmp\0" + (b"\1\0" if packed else b"\0\0") + b"\0\0"
    data = with_png_chunk(encoded(PICTURE), b"iTXt", head + (zlib.compress(XMP) if packed else XMP))
    assert marks(data) == (IPTC,)


def test_a_composition_is_called_one() -> None:
    xmp = XMP.replace(b"trainedAlg", b"compositeWithTrainedAlg")
    (said,) = marks(encoded(PICTURE, "JPEG", xmp=xmp))
    assert said.says == "composed with parts made by a trained model"


@pytest.mark.parametrize("other", [b"digitalCapture", b"untrainedAlgorithmicMedia"])
def test_other_source_types_say_nothing_of_an_ai(other: bytes) -> None:
    assert marks(encoded(PICTURE, "JPEG", xmp=XMP.replace(b"trainedAlgorithmicMedia", other))) == ()


@pytest.mark.parametrize("size", [1000, 97, 100, 110])
def test_content_credentials_in_a_jpeg_however_they_are_cut(size: int) -> None:
    assert marks(with_segments(encoded(PICTURE, "JPEG"), 0xEB, *jumbf_segments(JUMBF, size))) == (CREDENTIALS,)


def test_content_credentials_in_the_other_formats() -> None:
    assert marks(with_png_chunk(encoded(PICTURE), b"caBX", JUMBF)) == (CREDENTIALS,)
    assert marks(riff_with(encoded(PICTURE, "WEBP"), b"C2PA", JUMBF)) == (CREDENTIALS,)
    box = b"uuid" + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + JUMBF
    assert marks(encoded(PICTURE, "AVIF") + struct.pack(">I", len(box) + 4) + box) == (CREDENTIALS,)


@pytest.mark.parametrize(
    ("chunk", "content", "program"),
    [
        (b"tEXt", b"parameters\0a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7", "a Stable Diffusion program"),
        (b"zTXt", b"prompt\0\0" + zlib.compress(b'{"3": {"class_type": "KSampler"}}'), "ComfyUI"),
        (b"tEXt", b"invokeai_metadata\0{}", "InvokeAI"),
        (b"tEXt", b"Software\0NovelAI", "NovelAI"),
        (b"tEXt", b"Description\0a cat --v 6 Job ID: 01234567-89ab-cdef-0123-456789abcdef", "Midjourney"),
    ],
)
def test_the_text_of_known_generators(chunk: bytes, content: bytes, program: str) -> None:
    (said,) = marks(with_png_chunk(encoded(PICTURE), chunk, content))
    assert said == Mark("Text in the file", f"settings of {program}")


def test_a_user_comment_in_exif() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "a cat, Steps: 20, Sampler: Euler".encode("utf-16-be")
    assert marks(encoded(PICTURE, "JPEG", exif=exif))[0].says == "settings of a Stable Diffusion program"


def test_an_honest_description_is_no_statement() -> None:
    text = b"Description\0A walk. Steps: we took 2,000. Software by hand."
    assert marks(with_png_chunk(encoded(PICTURE), b"tEXt", text)) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\xff\xeb\0\2" * 100_000,
        b"\x89PNG\r\n\x1a\n" + (b"\0\0\0\0tEXt" + bytes(4)) * 100_000,
        b"RIFF\0\0\0\0WEBP" + b"XMP \0\0\0\0" * 100_000,
        bytes(4) + b"ftyp" * 100_000,
        b"\xff\xd8\xff\xeb\xff\xff",
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffzTXt" + bytes(50),
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 60_000) + b"zTXta\0\0" + zlib.compress(bytes(50_000_000)),
    ],
)
def test_hostile_framing_takes_no_time_and_raises_nothing(data: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(ImageRefused):
        assert marks(data) == ()
    assert time.process_time() - started < 2
