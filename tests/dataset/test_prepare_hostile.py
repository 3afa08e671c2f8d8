"""Broken, hostile and merely odd images of every kind: what can be shown is in, the rest is counted by its reason."""

import functools
import io
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fake_source import (
    STORED_PX,
    FakeSource,
    Shot,
    assert_exact,
    assert_rows_are_their_pictures,
    encoded,
    jpeg,
    picture,
    shots,
    small,
    use,
)
from fakelens.core.imaging import ImageRefused
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.examine import examine_image
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import PreparedData

GOOD = None


@functools.cache
def odd_but_good() -> dict[str, bytes]:
    """Every one different for the eye: the number is the picture's seed."""
    made = {
        "16-bit grey": png(Image.fromarray(np.asarray(picture(1).convert("L"), dtype=np.uint16) * 257)),
        "grey": png(picture(2).convert("L")),
        "one bit": png(picture(3).convert("1")),
        "palette": png(picture(4).quantize(64)),
        "palette with a transparent colour": encoded(picture(5).quantize(16), "PNG", transparency=3),
        "alpha": png(with_alpha(6)),
        "grey with alpha": png(with_alpha(7).convert("LA")),
        "invisible": png(Image.new("RGBA", (80, 80), (9, 9, 9, 0))),
        "CMYK": encoded(picture(8).convert("CMYK")),
        "grey JPEG": encoded(picture(9).convert("L")),
        "progressive": encoded(picture(10), progressive=True),
        "quality 1": encoded(picture(11), quality=1),
        "no subsampling": encoded(picture(12), subsampling=0),
        "animated PNG": encoded(picture(13), "PNG", save_all=True, append_images=[picture(14)]),
        "animated WebP": encoded(picture(15), "WEBP", save_all=True, append_images=[picture(16)]),
        "lossless WebP": encoded(picture(17), "WEBP", lossless=True),
        "WebP with alpha": encoded(with_alpha(18), "WEBP"),
        "AVIF": encoded(picture(19), "AVIF"),
        "several pictures": encoded(picture(20), "MPO", save_all=True, append_images=[picture(21)]),
        "bytes behind the end": encoded(picture(22)) + b"<script>" * 99,
        "damaged EXIF": encoded(picture(23), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"),
        "a long text": png(picture(24), pnginfo=long_text()),
        "wide": encoded(picture(25).resize((900, 70))),
        "large": encoded(picture(26).resize((2000, 1500))),
        "damaged profile": encoded(picture(27), icc_profile=b"no profile"),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        made[f"EXIF orientation {orientation}"] = encoded(picture(100 + orientation), exif=exif.tobytes())
    return made


@functools.cache
def refused() -> dict[str, tuple[str, bytes]]:
    """Name -> the reason that is expected, and the bytes."""
    whole, as_png, as_webp = jpeg(200), png(picture(201)), encoded(picture(202), "WEBP")
    made = {
        "no bytes": ("empty", b""),
        "one byte": ("unsupported_format", b"\xff"),
        "text": ("unsupported_format", b"no picture" * 50),
        "a page": ("unsupported_format", b"<!doctype html><title>404</title>"),
        "SVG": ("unsupported_format", b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>'),
        "zeros": ("unsupported_format", bytes(5000)),
        "cut JPEG": ("truncated", whole[: len(whole) // 2]),
        "cut WebP": ("unreadable", as_webp[: len(as_webp) // 2]),
        "JPEG's magic alone": ("unsupported_format", whole[:3]),
        "1×1": ("too_small", png(Image.new("RGB", (1, 1)))),
        "a pixel too small": ("too_small", encoded(picture(203).resize((STORED_PX - 1, 200)))),
        "bomb": ("too_many_pixels", png(Image.new("1", (8100, 8000)))),
        "a claimed bomb": ("too_many_pixels", claimed_png(60_000, 60_000)),
        "a strip": ("too_many_pixels", claimed_png(STORED_PX, 2_000_000)),
        "no pixels behind the header": ("truncated", claimed_png(100, 100)),
    }
    for codec in ("ICO", "PPM", "PDF", "JPEG2000", "TGA", "SGI"):
        made[codec] = ("unsupported_format", encoded(picture(204), codec))
    for cut in (10, 20, 40, 60, 80):
        made[f"PNG cut at {cut} %"] = ("truncated", as_png[: len(as_png) * cut // 100])
    return made


def flipped() -> dict[str, bytes]:
    """Pictures with some flipped bits: whatever becomes of them, it is an answer."""
    made = {}
    for seed in range(24):
        codec = ("JPEG", "PNG", "WEBP", "AVIF")[seed % 4]
        data, rng = bytearray(encoded(picture(300 + seed), codec)), np.random.default_rng(seed)
        for position in rng.integers(0, len(data), 1 + seed % 5):
            data[position] ^= 1 << int(rng.integers(8))
        made[f"{codec} with flipped bits {seed}"] = bytes(data)
    return made


def png(image: Image.Image, pnginfo: PngImagePlugin.PngInfo | None = None) -> bytes:
    return encoded(image, "PNG") if pnginfo is None else encoded(image, "PNG", pnginfo=pnginfo)


def with_alpha(seed: int) -> Image.Image:
    image = picture(seed)
    image.putalpha(picture(seed + 500).convert("L"))
    return image


def long_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 500_000, zip=True)
    return info


def claimed_png(width: int, height: int) -> bytes:
    """A header that promises more than follows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def reason(data: bytes) -> str | None:
    try:
        examine_image(data, STORED_PX, STORED_PX)
    except ImageRefused as refusal:
        return refusal.reason
    return GOOD


@pytest.mark.parametrize("name", odd_but_good())
def test_odd_images_are_supported(name: str) -> None:
    assert reason(odd_but_good()[name]) is GOOD


@pytest.mark.parametrize("name", refused())
def test_bad_images_have_their_reason(name: str) -> None:
    expected, data = refused()[name]
    assert reason(data) == expected


def test_all_of_them_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = [*odd_but_good().values(), *(data for _, data in refused().values()), *flipped().values()]
    assert len(hostile) > 80
    reasons = [reason(data) for data in hostile]
    own = [Shot((REAL, FAKE)[i % 2], "odd", data) for i, data in enumerate(hostile)]
    good = Counter(shot.label for shot, why in zip(own, reasons, strict=True) if why is GOOD)
    plain = [*shots(REAL, "p", 70 - good[REAL], 1000), *shots(FAKE, "ab", 70 - good[FAKE], 2000)]
    # All good ones are asked for, so that nearly every bad one is met too.
    source = use(monkeypatch, FakeSource(own + plain, block_size=1))
    record = prepare(tmp_path, small(140))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 140)
    assert_rows_are_their_pictures(data, source)
    read = set(source.log.read)
    by_key = {f"main/{i}": why for i, why in enumerate(reasons)}
    assert record.results["refused"] == Counter(why for key, why in by_key.items() if key in read and why is not GOOD)
    assert len(source.log.read) == len(read) == 140 + sum(record.results["refused"].values())
    # It may stop at the last good one of a label.
    assert len(read) > len(source.shots) - 10
    supported = {f"main/{i}" for i, why in enumerate(reasons) if why is GOOD}
    assert supported <= {row.key for row in data.rows}
    assert {row.format for row in data.rows} == {"JPEG", "PNG", "WEBP", "AVIF"}


def test_orientation_is_that_which_a_viewer_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[0x0112] = 3
    own = [Shot(REAL, "p", encoded(picture(i), "PNG", exif=turned.tobytes())) for i in range(7)]
    source = use(monkeypatch, FakeSource(own + shots(FAKE, "a", 7, 1000)))
    prepare(tmp_path, small(14))
    data = PreparedData(tmp_path / "data")
    assert_rows_are_their_pictures(data, source)
    for row in (row for row in data.rows if row.label == REAL):
        upright = io.BytesIO(encoded(Image.open(io.BytesIO(source.data(row.key))).rotate(180), "PNG", exif=b""))
        expected, _, _ = examine_image(upright.getvalue(), STORED_PX, STORED_PX)
        assert np.array_equal(data.split(row.split).squares[row.row], expected)


def test_the_suffix_of_a_file_does_not_matter(tmp_path: Path) -> None:
    for number in range(10):
        for label, seed in (("real", number), ("fake", 1000 + number)):
            path = tmp_path / "pictures" / label / "x" / f"{number}{('.png', '.webp', '.jpg')[number % 3]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(seed), ("JPEG", "PNG", "AVIF")[number % 3]))
    record = prepare(tmp_path, small(20, source="folder", path=str(tmp_path / "pictures")))
    assert record.results["refused"] == {}
    found = {Path(row.key).suffix + " " + row.format for row in PreparedData(tmp_path / "data").rows}
    assert found == {".png JPEG", ".webp PNG", ".jpg AVIF"}
