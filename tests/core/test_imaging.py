"""Untrusted bytes: what decodes, what is refused and why, and that both resize paths see the same picture."""

import contextlib
import io
import struct
import threading
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fakelens.core import imaging
from fakelens.core.imaging import (
    Container,
    ImageRefused,
    Limits,
    decode,
    harmonise,
    read_image,
    to_model_input,
    to_square,
)
from onnx_models import encoded
from picture_files import png_of, png_promising, tiff_of, with_png_chunk

FORMATS = imaging.FORMATS
ORIENTATION = 0x0112
# By EXIF orientation: where the stored top left corner is seen, as (right, bottom); whether the sides swap.
SEEN = {
    1: ((0, 0), False),
    2: ((1, 0), False),
    3: ((1, 1), False),
    4: ((0, 1), False),
    5: ((0, 0), True),
    6: ((1, 0), True),
    7: ((1, 1), True),
    8: ((0, 1), True),
}


def picture(width_px: int = 320, height_px: int = 240, seed: int = 0) -> Image.Image:
    """Smooth colours with some detail: codecs keep it, and every corner looks different."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width_px, height_px), Image.Resampling.BICUBIC)


def pixels(data: bytes, **options: Any) -> np.ndarray:
    return np.asarray(decode(data, **options)[0])


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """Mean absolute difference in levels of 255."""
    return float(np.abs(left.astype(np.float64) - right).mean())


def refusal(data: bytes, **options: Any) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        read_image(data, **options)
    return caught.value


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block from raw (tag, type, count, value) entries, valid or not."""
    tags = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + b"\0\0\0\0"


class TestFormats:
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_decodes_with_its_container(self, file_format: str) -> None:
        data = encoded(picture(320, 240), file_format)
        image, container = decode(data)
        quantisation = container.luma_quantisation, container.chroma_quantisation
        assert container == Container(file_format, 320, 240, len(data), *quantisation)
        assert (min(quantisation) > 1) if file_format == "JPEG" else (quantisation == (0, 0))
        assert (image.mode, image.size) == ("RGB", (341, 256))

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_shows_the_same_picture(self, file_format: str) -> None:
        original = pixels(encoded(picture(), "PNG"))
        limit = 20 if file_format == "GIF" else 4
        assert difference(pixels(encoded(picture(), file_format, quality=90)), original) < limit

    @pytest.mark.parametrize("file_format", ["TGA", "PCX", "PPM", "ICO"])
    def test_refuses_other_formats(self, file_format: str) -> None:
        error = refusal(encoded(picture(128, 128), file_format))
        assert error.reason == "unsupported_format"
        assert imaging.format_words() in str(error)

    def test_progressive_jpeg(self) -> None:
        plain, progressive = (encoded(picture(), "JPEG", quality=90, progressive=p) for p in (False, True))
        assert difference(pixels(plain), pixels(progressive)) < 1

    def test_mpo_is_its_first_picture_and_called_jpeg(self) -> None:
        first, second = picture(seed=1), picture(seed=2)
        data = encoded(first, "MPO", save_all=True, append_images=[second], quality=90)
        image, container = decode(data)
        assert container.format == "JPEG"
        assert difference(np.asarray(image), pixels(encoded(first, "JPEG", quality=90))) < 2

    def test_large_mpo_is_shrunk_too(self) -> None:
        data = encoded(picture(1600, 1200), "MPO", save_all=True, append_images=[picture(1600, 1200, 2)])
        assert decode(data, short_side_px=128)[0].size == (171, 128)

    @pytest.mark.parametrize("file_format", ["WEBP", "PNG", "AVIF"])
    def test_animation_is_its_first_frame(self, file_format: str) -> None:
        frames = [picture(128, 128, seed) for seed in range(3)]
        data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50)
        still = pixels(encoded(frames[0], "PNG"))
        assert difference(pixels(data), still) < 6
        assert difference(pixels(data), pixels(encoded(frames[1], "PNG"))) > 20

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "1", "P"])
    def test_tiff_of_every_kind(self, mode: str, compression: str | None) -> None:
        image = picture().quantize(256) if mode == "P" else picture().convert(mode)
        if compression == "jpeg" and mode in ("1", "P"):
            return  # there is none
        data = encoded(image, "TIFF", compression=compression)
        assert difference(pixels(data), pixels(encoded(image.convert("RGB"), "PNG"))) < 4

    def test_tiff_pages_are_the_first(self) -> None:
        data = encoded(picture(seed=1), "TIFF", save_all=True, append_images=[picture(seed=2)])
        np.testing.assert_array_equal(pixels(data), pixels(encoded(picture(seed=1), "PNG")))

    def test_sixteen_bit_tiff_is_scaled(self) -> None:
        ramp = np.linspace(0, 65535, 256 * 256).reshape(256, 256).astype(np.uint16)
        np.testing.assert_allclose(pixels(encoded(Image.fromarray(ramp), "TIFF"))[..., 0], ramp / 257, atol=1)

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_deeper_tiffs_are_refused(self, dtype: Any) -> None:
        error = refusal(encoded(Image.fromarray(np.zeros((80, 80), dtype)), "TIFF"))
        assert error.reason == "unsupported_format"
        assert "save it with 8 or 16 bits" in str(error)

    @pytest.mark.parametrize("tags", [{262: 0}, {258: 12}, {339: 2}])
    def test_sixteen_bit_tiffs_that_pillow_shows_wrongly_are_refused(self, tags: dict[int, int]) -> None:
        # White is zero; twelve bits; signed.
        assert decode(tiff_of(bytes(8192), {258: 16}))[1].format == "TIFF"
        assert refusal(tiff_of(bytes(8192), {258: 16, **tags})).reason == "unsupported_format"

    @pytest.mark.parametrize("side_px", [20_000, 2**31])
    def test_a_tiff_of_giant_tiles_is_refused(self, side_px: int) -> None:
        # 1.7 MB that would take 400.
        zeros = zlib.compress(bytes(4096))
        tiles = {259: 8, 273: -1, 279: -1, 278: -1, 322: 64, 323: 64, 324: 8, 325: len(zeros)}
        assert decode(tiff_of(zeros, tiles))[0].size == (256, 256)
        assert refusal(tiff_of(zeros, tiles | {322: side_px, 323: side_px})).reason == "too_many_pixels"

    @pytest.mark.parametrize("bits", [1, 4, 8, 24, 32])
    def test_bmp_of_every_depth(self, bits: int) -> None:
        mode = {1: "1", 4: "L", 8: "L", 24: "RGB", 32: "RGBA"}[bits]
        image = picture().convert(mode)
        data = encoded(image, "BMP")
        assert difference(pixels(data), pixels(encoded(image, "PNG"))) < 1

    def test_run_length_coded_bmp_is_refused(self) -> None:
        body = (b"\x40\x05" + b"\0\0") * 64 + b"\0\1"
        head = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, len(body), 0, 0, 256, 0) + bytes(1024)
        data = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(body), 0, 0, 14 + len(head)) + head + body
        error = refusal(data)
        assert (error.reason, "save it as PNG" in str(error)) == ("unsupported_format", True)

    def test_gif_is_its_first_frame(self) -> None:
        frames = [picture(128, 128, seed) for seed in range(3)]
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert decode(data)[1].format == "GIF"
        assert difference(pixels(data), pixels(encoded(frames[0], "PNG"))) < 20
        assert difference(pixels(data), pixels(encoded(frames[1], "PNG"))) > 25

    @pytest.mark.parametrize("side_px", [128, 1100])
    def test_transparent_gif_is_composited_on_white(self, side_px: int) -> None:
        image = Image.new("P", (side_px, side_px), 0)
        image.putpalette([10, 20, 30, 0, 200, 0])
        image.paste(1, (0, 0, side_px // 2, side_px))
        got = pixels(encoded(image, "GIF", transparency=0))
        np.testing.assert_array_equal(got[128, 20], (0, 200, 0))
        np.testing.assert_array_equal(got[128, 230], (255, 255, 255))


class TestHeif:
    """Telephones' pictures; the encoder is that of the extra `heif`."""

    @pytest.fixture(autouse=True)
    def _opener(self) -> None:
        pytest.importorskip("pillow_heif").register_heif_opener()

    def test_decodes_with_its_container(self) -> None:
        data = encoded(picture(), "HEIF", quality=90)
        image, container = decode(data)
        assert container == Container("HEIF", 320, 240, len(data), 0, 0)
        assert difference(np.asarray(image), pixels(encoded(picture(), "PNG"))) < 4

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_upright(self, orientation: int) -> None:
        image = Image.new("RGB", (160, 80))
        image.paste((255, 255, 255), (0, 0, 80, 40))
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        upright = decode(encoded(image, "HEIF", exif=exif.tobytes(), quality=95), short_side_px=80)[0]
        (right, bottom), swapped = SEEN[orientation]
        assert upright.size == ((80, 160) if swapped else (160, 80))
        quarters = np.asarray(upright.convert("L").resize((2, 2), Image.Resampling.BOX))
        expected = np.zeros((2, 2))
        expected[bottom, right] = 255
        np.testing.assert_allclose(quarters, expected, atol=12)

    def test_alpha_and_further_pictures(self) -> None:
        clear = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
        np.testing.assert_allclose(pixels(encoded(clear, "HEIF")), 255, atol=3)
        data = encoded(picture(seed=1), "HEIF", save_all=True, append_images=[picture(seed=2)], quality=90)
        assert difference(pixels(data), pixels(encoded(picture(seed=1), "PNG"))) < 4

    def test_limits(self) -> None:
        data = encoded(picture(320, 240), "HEIF")
        assert refusal(data, limits=Limits(max_megapixels={"HEIF": 0})).reason == "too_many_pixels"
        assert refusal(encoded(picture(80, 40), "HEIF")).reason == "too_small"

    def test_damage_is_an_answer(self) -> None:
        original, rng = encoded(picture(96, 80), "HEIF"), np.random.default_rng(0)
        for number in range(150):
            data = bytearray(original)
            for at in rng.integers(0, len(data) if number % 2 else 400, 3):
                data[at] = int(rng.integers(256))
            answers(bytes(data[: len(data) - int(rng.integers(200)) * (number % 3)]))

    @pytest.mark.parametrize("kept", [0.02, 0.1, 0.5, 0.95])
    def test_a_part_of_one_is_called_damaged(self, kept: float) -> None:
        data = encoded(picture(), "HEIF")
        assert "cannot be decoded" in str(refusal(data[: max(16, int(kept * len(data)))]))

    def test_without_the_extra_the_remedy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imaging, "heif_is_read", lambda: False)
        error = refusal(encoded(picture(), "HEIF"))
        assert error.reason == "unsupported_format"
        assert "pip install 'fakelens[heif]'" in str(error)


class TestQuantisation:
    @staticmethod
    def of(data: bytes) -> tuple[float, float]:
        container = decode(data)[1]
        return container.luma_quantisation, container.chroma_quantisation

    def test_is_the_tables_mean(self) -> None:
        assert self.of(encoded(picture(), "JPEG", qtables=[[1] * 63 + [65], [3] * 64])) == (2, 3)

    def test_one_table_for_all(self) -> None:
        assert self.of(encoded(picture(), "JPEG", qtables=[[5] * 64])) == (5, 5)

    def test_grey_has_no_chroma(self) -> None:
        luma, chroma = self.of(encoded(picture().convert("L"), "JPEG", quality=75))
        assert luma > 1
        assert chroma == 0

    def test_of_an_mpo(self) -> None:
        data = encoded(picture(seed=1), "MPO", save_all=True, append_images=[picture(seed=2)], quality=75)
        assert self.of(data) == self.of(encoded(picture(seed=1), "JPEG", quality=75))

    def test_sixteen_bit_table(self) -> None:
        data = encoded(picture(), "JPEG", qtables=[[7] * 64, [9] * 64])
        narrow = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([7] * 64)
        wide = b"\xff\xdb" + struct.pack(">HB64H", 131, 16, *[65535] * 64)
        assert narrow in data
        assert self.of(data.replace(narrow, wide)) == (65535, 9)

    @pytest.mark.parametrize("table", [3, 7, 255])
    def test_a_table_that_the_file_lacks(self, table: int) -> None:
        data = bytearray(encoded(picture(), "JPEG"))
        header = data.index(b"\xff\xc0")
        data[header + 12] = table  # of the first component
        assert refusal(bytes(data)).reason == "unreadable"

    def test_a_table_too_short(self) -> None:
        data = encoded(picture(), "JPEG")
        assert refusal(data.replace(b"\xff\xdb\x00\x43", b"\xff\xdb\x00\x20", 1)).reason in (
            "unreadable",
            "unsupported_format",
        )


class TestRefusals:
    def test_empty(self) -> None:
        assert refusal(b"").reason == "empty"

    @pytest.mark.parametrize("data", [b"\0" * 100, b"<html>404</html>", b"\xff\xd8\xff", b"RIFF1234WEBP"])
    def test_no_picture(self, data: bytes) -> None:
        assert refusal(data).reason in ("unsupported_format", "unreadable", "truncated")

    @pytest.mark.parametrize("file_format", FORMATS)
    @pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
    def test_cut_off(self, file_format: str, kept: float) -> None:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))
        data = encoded(noise, file_format)
        error = refusal(data[: int(len(data) * kept)])
        assert error.reason in ("truncated", "unreadable", "unsupported_format")
        if file_format in ("JPEG", "PNG"):
            assert error.reason == "truncated"

    @pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (8_001, 8_000)])
    def test_bomb(self, size: tuple[int, int]) -> None:
        error = refusal(png_promising(*size))
        assert error.reason == "too_many_pixels"

    def test_elongated_bomb(self) -> None:
        # 2 KB that would need 3 GB once its short side is enlarged from 64 to 256 px.
        error = refusal(png_promising(64, 900_000))
        assert error.reason == "too_many_pixels"
        assert "elongated" in str(error)

    def test_pixel_limit_is_inclusive(self) -> None:
        data = encoded(picture(100, 80), "PNG")
        assert read_image(data, limits=Limits(max_pixels=8000)).image.size == (320, 256)
        assert refusal(data, limits=Limits(max_pixels=7999)).reason == "too_many_pixels"

    def test_byte_limit_is_inclusive(self) -> None:
        data = encoded(picture(100, 80), "PNG")
        assert read_image(data, limits=Limits(max_bytes=len(data))).container.num_bytes == len(data)
        assert refusal(data, limits=Limits(max_bytes=len(data) - 1)).reason == "too_many_bytes"

    def test_small_side_limit_is_inclusive(self) -> None:
        assert decode(encoded(picture(64, 100), "PNG"))[0].size == (256, 400)
        error = refusal(encoded(picture(63, 100), "PNG"))
        assert error.reason == "too_small"
        assert "63×100" in str(error)
        assert "64" in str(error)

    def test_limits_hold_before_pixels_are_read(self) -> None:
        assert refusal(png_promising(10, 10)).reason == "too_small"

    def test_text_bomb(self) -> None:
        body = b"Comment\0\0" + zlib.compress(b"a" * 4_000_000)
        chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
        whole = encoded(picture(), "PNG")
        assert refusal(whole[:33] + chunk + whole[33:]).reason == "unreadable"


class TestColours:
    def test_sixteen_bit_grey_is_scaled(self) -> None:
        ramp = np.linspace(0, 65535, 256 * 256).reshape(256, 256).astype(np.uint16)
        grey = pixels(encoded(Image.fromarray(ramp), "PNG"))
        np.testing.assert_allclose(grey[..., 0], ramp / 257, atol=1)
        assert (grey[..., 0] == grey[..., 2]).all()

    def test_sixteen_bit_grey_when_large(self) -> None:
        ramp = np.linspace(0, 65535, 2048).astype(np.uint16)[None].repeat(2048, 0)
        grey = pixels(encoded(Image.fromarray(ramp), "PNG", compress_level=1))
        np.testing.assert_allclose(grey[128, :, 1], np.linspace(0, 255, 256), atol=2)

    def test_cmyk(self) -> None:
        data = encoded(picture().convert("CMYK"), "JPEG", quality=95)
        assert difference(pixels(data), pixels(encoded(picture(), "PNG"))) < 3

    @pytest.mark.parametrize("side_px", [128, 600])
    @pytest.mark.parametrize("file_format", ["PNG", "WEBP", "AVIF"])
    def test_alpha_is_composited_on_white(self, file_format: str, side_px: int) -> None:
        image = Image.new("RGBA", (side_px, side_px), (200, 0, 0, 255))
        image.paste((0, 0, 0, 0), (0, 0, side_px // 2, side_px))
        image.paste((0, 0, 0, 128), (0, 0, side_px // 2, side_px // 2))
        got = pixels(encoded(image, file_format, lossless=True, quality=100), short_side_px=128)
        np.testing.assert_allclose(got[100, 15], (255, 255, 255), atol=4)
        np.testing.assert_allclose(got[15, 15], (127, 127, 127), atol=4)
        np.testing.assert_allclose(got[100, 110], (200, 0, 0), atol=6)

    @pytest.mark.parametrize("side_px", [128, 1100])
    def test_palette_with_transparency(self, side_px: int) -> None:
        image = Image.new("P", (side_px, side_px), 0)
        image.putpalette([10, 20, 30, 0, 200, 0])
        image.paste(1, (0, 0, side_px // 2, side_px))
        got = pixels(encoded(image, "PNG", transparency=0))
        np.testing.assert_array_equal(got[128, 20], (0, 200, 0))
        np.testing.assert_array_equal(got[128, 230], (255, 255, 255))

    def test_palette_without_transparency(self) -> None:
        image = picture().quantize(64)
        expected = pixels(encoded(image.convert("RGB"), "PNG"))
        np.testing.assert_array_equal(pixels(encoded(image, "PNG")), expected)

    def test_key_colour(self) -> None:
        image = Image.new("RGB", (128, 128), (1, 2, 3))
        got = pixels(encoded(image, "PNG", transparency=(1, 2, 3)))
        np.testing.assert_array_equal(got, 255)

    @pytest.mark.parametrize("side_px", [256, 1104])
    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_key_colour_of_every_depth(self, bits: int, channels: int, side_px: int) -> None:
        if channels == 3 and bits < 8:
            return  # there are none
        largest = 2**bits - 1
        samples = np.zeros((side_px, side_px, channels), np.uint16)
        samples[: side_px // 2, side_px // 2 :] = largest // 2
        key = (0,) * channels  # hidden black on the left and below: white; the rest is grey
        got = pixels(png_of(samples[..., 0] if channels == 1 else samples, bits, key), short_side_px=128)
        grey = round(255 * (largest // 2) / largest)
        np.testing.assert_allclose(got[10, 100], 255 if bits == 1 else grey, atol=1)
        np.testing.assert_array_equal(got[100, 20], 255)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_key_colour_is_compared_in_all_sixteen_bits(self, channels: int) -> None:
        samples = np.full((256, 256, channels), 0x1234, np.uint16)
        samples[:, 128:] = 0x1235
        data = png_of(samples[..., 0] if channels == 1 else samples, 16, (0x1235,) * channels)
        got = pixels(data)
        np.testing.assert_allclose(got[100, 20], 0x12, atol=1)
        np.testing.assert_array_equal(got[100, 200], 255)

    @pytest.mark.parametrize("key", [(0x10005, 1, 2), (300, 300, 300), (0,), (1, 2)])
    def test_an_impossible_key_colour_hides_nothing(self, key: tuple[int, ...]) -> None:
        samples = np.full((64, 64, 3), 99, np.uint16)
        content = b"".join((value & 0xFFFF).to_bytes(2) for value in key)
        for bits in (8, 16):
            data = with_png_chunk(png_of(samples if bits == 8 else samples * 257, bits), b"tRNS", content)
            with contextlib.suppress(ImageRefused):
                np.testing.assert_allclose(pixels(data), 99, atol=1)

    @pytest.mark.parametrize("side_px", [128, 1100])
    @pytest.mark.parametrize("mode", ["L", "LA", "1"])
    def test_grey_modes(self, mode: str, side_px: int) -> None:
        image = Image.linear_gradient("L").resize((side_px, side_px)).convert(mode)
        got = pixels(encoded(image, "PNG"))
        assert got.shape == (256, 256, 3)
        assert (got[..., 0] == got[..., 1]).all()
        assert got[:32].mean() < 40
        assert got[-32:].mean() > 215

    def test_large_one_bit_is_averaged(self) -> None:
        checks = Image.fromarray(np.indices((1024, 1024)).sum(0) % 2 == 1)
        got = pixels(encoded(checks, "PNG"))
        np.testing.assert_allclose(got, 127.5, atol=2)


class TestOrientation:
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_upright(self, orientation: int, file_format: str) -> None:
        image = Image.new("RGB", (160, 80))
        image.paste((255, 255, 255), (0, 0, 80, 40))
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        upright, container = decode(encoded(image, file_format, exif=exif), short_side_px=80)
        (right, bottom), swapped = SEEN[orientation]
        assert upright.size == ((80, 160) if swapped else (160, 80))
        # AVIF turns by its own properties, so that Pillow's header already has the upright size.
        assert sorted((container.width_px, container.height_px)) == [80, 160]
        quarters = np.asarray(upright.convert("L").resize((2, 2), Image.Resampling.BOX))
        expected = np.zeros((2, 2))
        expected[bottom, right] = 255
        np.testing.assert_allclose(quarters, expected, atol=8)

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
    def test_large_pictures_too(self, file_format: str) -> None:
        image = Image.new("RGB", (1200, 600))
        image.paste((255, 0, 0), (0, 0, 600, 600))
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        upright = pixels(encoded(image, file_format, exif=exif), short_side_px=100)
        assert upright.shape == (200, 100, 3)
        np.testing.assert_allclose(upright[20, 50], (255, 0, 0), atol=3)

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
    def test_damaged_metadata_is_none(self, file_format: str) -> None:
        data = encoded(picture(), file_format, exif=b"Exif\0\0garbage that is no TIFF header")
        assert decode(data)[0].size == (341, 256)

    @pytest.mark.parametrize(
        "odd",
        [
            (0x0100, 12, 1, struct.pack("<I", 3)),
            (0x0100, 2, 4, b"abc\0"),
            (0x0111, 4, 1, b"\xff\xff\xff\xff"),
            (0x8825, 4, 1, struct.pack("<I", 99_999)),
            (0x010F, 3, 2, struct.pack("<HH", 3, 4)),
        ],
    )
    def test_odd_tags_beside_the_orientation(self, odd: tuple[int, int, int, bytes]) -> None:
        # Pillow's exif_transpose throws struct.error on some of these, since it writes every tag anew.
        exif = exif_block((ORIENTATION, 3, 1, b"\x06\0\0\0"), odd)
        assert decode(encoded(picture(), "JPEG", exif=exif))[0].size == (256, 341)

    @pytest.mark.parametrize("value", [(3, 1, b"\x09\0\0\0"), (3, 1, b"\0\0\0\0"), (2, 2, b"6\0\0\0")])
    def test_meaningless_orientation_is_none(self, value: tuple[int, int, bytes]) -> None:
        data = encoded(picture(), "JPEG", exif=exif_block((ORIENTATION, *value)))
        assert decode(data)[0].size == (341, 256)


class TestResizing:
    @pytest.mark.parametrize("size", [(256, 256), (257, 300), (64, 301), (1000, 333), (1025, 2051), (1024, 700)])
    @pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
    def test_short_side_is_exact_and_aspect_kept(self, size: tuple[int, int], file_format: str) -> None:
        for short_side_px in (96, 256):
            got = decode(encoded(picture(*size), file_format), short_side_px=short_side_px)[0].size
            assert min(got) == short_side_px
            assert abs(max(got) - short_side_px * max(size) / min(size)) <= 0.5
            assert (got[0] < got[1]) == (size[0] < size[1])

    def test_the_wanted_size_is_left_alone(self) -> None:
        image = picture(256, 256)
        np.testing.assert_array_equal(pixels(encoded(image, "PNG")), np.asarray(image))

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
    def test_coarse_shrinking_is_nearly_the_fine_resize(self, file_format: str) -> None:
        # Detail of all scales: after one resampling only what both operators agree on remains.
        size = (4000, 3000) if file_format == "JPEG" else (2000, 1500)
        rng = np.random.default_rng(0)
        noise = Image.fromarray(rng.integers(0, 256, (500, 667, 3), dtype=np.uint8))
        image = Image.blend(picture(*size), noise.resize(size), 0.3)
        data = encoded(image, file_format, **({"quality": 92} if file_format == "JPEG" else {"compress_level": 1}))
        with Image.open(io.BytesIO(data)) as full:
            expected = np.asarray(full.convert("RGB").resize((341, 256), Image.Resampling.BICUBIC))
        assert difference(pixels(data), expected) < 1.5

    def test_large_jpeg_is_shrunk_while_decoding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        large = encoded(picture(4000, 3000), "JPEG")
        medium = encoded(picture(2000, 1500), "PNG", compress_level=1)
        just_under = encoded(picture(1022, 1022), "JPEG")
        sizes, resize = [], Image.Image.resize
        monkeypatch.setattr(
            Image.Image, "resize", lambda image, *args: sizes.append(image.size) or resize(image, *args)
        )
        for data in (large, medium, just_under):
            decode(data)
        assert sizes == [
            (1000, 750),
            (1000, 750),
            (1022, 1022),
        ]  # the short side is never under twice the wanted one

    def test_no_aliasing(self) -> None:
        stripes = np.zeros((2048, 2048, 3), np.uint8)
        stripes[:, ::2] = 255
        got = pixels(encoded(Image.fromarray(stripes), "PNG", compress_level=1))
        np.testing.assert_allclose(got, 127.5, atol=2)


class TestSquare:
    @pytest.mark.parametrize(("size", "left", "top"), [((341, 256), 42, 0), ((256, 400), 0, 72), ((256, 256), 0, 0)])
    def test_is_the_centre_harmonised(self, size: tuple[int, int], left: int, top: int) -> None:
        image = picture(*size)
        square = to_square(image)
        assert square.dtype == np.uint8
        np.testing.assert_array_equal(square, harmonise(np.asarray(image)[top : top + 256, left : left + 256]))


def textured(seed: int, side_px: int = 288) -> Image.Image:
    """Coloured noise of all scales, as strong at each: what codecs throw away first is there."""
    rng = np.random.default_rng(seed)
    sides = [side_px // factor for factor in (1, 2, 4, 8, 32)]
    layers = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for side in sides]
    grown = [np.asarray(layer.resize((side_px, side_px), Image.Resampling.BICUBIC), float) for layer in layers]
    return Image.fromarray(np.mean(grown, axis=0).astype(np.uint8))


class TestHarmonise:
    @pytest.mark.parametrize("side_px", [33, 64, 100, 256])
    def test_keeps_shape_and_picture(self, side_px: int) -> None:
        square = np.asarray(picture(256, 256).crop((0, 0, side_px, side_px)))
        harmonised = harmonise(square)
        assert (harmonised.shape, harmonised.dtype) == (square.shape, np.uint8)
        assert difference(harmonised, square) < 4

    def test_same_pixels_same_answer(self) -> None:
        square = np.asarray(textured(0))
        np.testing.assert_array_equal(harmonise(square), harmonise(square.copy()))
        np.testing.assert_array_equal(harmonise(square), harmonise(np.asfortranarray(square)))

    def test_leaves_its_argument_alone(self) -> None:
        square = np.asarray(textured(0)).copy()
        before = square.copy()
        harmonise(square)
        np.testing.assert_array_equal(square, before)

    @pytest.mark.parametrize(("file_format", "quality"), [("JPEG", 95), ("JPEG", 90), ("WEBP", 95)])
    def test_formats_become_more_alike(self, file_format: str, quality: int) -> None:
        for seed in range(3):
            files = encoded(textured(seed), "PNG"), encoded(textured(seed), file_format, quality=quality)
            before = difference(*(pixels(data) for data in files))
            after = difference(*(to_square(decode(data)[0]) for data in files))
            assert after < 0.75 * before


class TestModelInput:
    def test_is_the_centre_in_zero_to_one(self) -> None:
        squares = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
        got = to_model_input(squares)
        assert (got.shape, got.dtype) == ((3, 3, 224, 224), np.float32)
        assert got.flags.c_contiguous
        expected = squares[:, 16:240, 16:240].transpose(0, 3, 1, 2) / 255
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        assert (got.min(), got.max()) == (0, 1)

    def test_whole_square(self) -> None:
        squares = np.full((1, 96, 96, 3), 51, np.uint8)
        np.testing.assert_array_equal(to_model_input(squares, 96), np.full((1, 3, 96, 96), np.float32(0.2)))

    def test_odd_margin_and_empty_batch(self) -> None:
        squares = np.zeros((1, 7, 7, 3), np.uint8)
        squares[0, 1, 1] = 255
        assert to_model_input(squares, 4)[0, :, 0, 0].tolist() == [1, 1, 1]
        assert to_model_input(squares[:0], 4).shape == (0, 3, 4, 4)

    def test_too_large_an_input_names_both_sizes(self) -> None:
        with pytest.raises(ValueError, match=r"224 px, .* 128 px: choose a smaller input_px"):
            to_model_input(np.zeros((1, 128, 128, 3), np.uint8))

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_bit_for_bit_repeatable(self, file_format: str) -> None:
        data = encoded(picture(700, 500), file_format)
        first, second = (to_model_input(to_square(decode(data)[0])[None]).tobytes() for _ in range(2))
        assert first == second

    def test_a_batch_is_its_pictures(self) -> None:
        squares = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
        together = to_model_input(squares, 48)
        alone = np.concatenate([to_model_input(square[None], 48) for square in squares])
        np.testing.assert_array_equal(together, alone)


SAMPLES = tuple(
    encoded(picture(96, 80), file_format, exif=exif_block((ORIENTATION, 3, 1, b"\x06\0\0\0")))
    for file_format in FORMATS
)
FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def answers(data: bytes) -> None:
    """A picture of the promised shape, or a refusal: nothing else may come out."""
    try:
        decoded = read_image(data, short_side_px=32, limits=Limits(max_pixels=1_000_000))
    except ImageRefused:
        return
    image, container = decoded.image, decoded.container
    assert image.mode == "RGB"
    assert min(image.size) == 32
    assert container.num_bytes == len(data)
    assert np.isfinite([container.luma_quantisation, container.chroma_quantisation]).all()


@FUZZ
@given(data=st.binary(max_size=300), prefix=st.sampled_from((b"", *(sample[:40] for sample in SAMPLES))))
def test_random_bytes(data: bytes, prefix: bytes) -> None:
    answers(prefix + data)


@FUZZ
@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    kept=st.floats(0.2, 1),
)
def test_mutated_pictures(sample: bytes, changes: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(sample)
    for where, value in changes:
        data[int(where**2 * len(data))] = value  # headers lie in front: hit them more often
    answers(bytes(data[: max(1, int(kept * len(data)))]))


def test_warnings_are_ignored_while_any_thread_decodes_and_come_back_after_the_last() -> None:
    before, both_inside, first_out = list(warnings.filters), threading.Barrier(2), threading.Event()
    seen: list[str] = []

    def first() -> None:
        with imaging.NO_WARNINGS:
            both_inside.wait()
        first_out.set()

    def second() -> None:
        with imaging.NO_WARNINGS:
            both_inside.wait()
            first_out.wait()
            try:
                warnings.warn("a decoder grumbles", stacklevel=1)
            except UserWarning as warning:
                seen.append(str(warning))

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not seen
    assert warnings.filters == before


def test_a_limit_for_a_kind_that_there_is_not() -> None:
    with pytest.raises(AssertionError, match="PROGRESSIV"):
        Limits(max_megapixels={"PROGRESSIV": 1})
