"""Untrusted bytes in; an RGB picture, the stored square and the model's input out.

This is the one code path for prepare, train, evaluate, predict and the app: a detector lives on
resampling traces, so training and serving must resample with the same code.
"""

import contextlib
import functools
import importlib.util
import io
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from fakelens.core.errors import FakelensError
from fakelens.core.metadata import Metadata, metadata_of

RefusalReason = Literal[
    "empty", "unsupported_format", "unreadable", "truncated", "too_small", "too_many_pixels", "too_many_bytes"
]
ImageU8 = npt.NDArray[np.uint8]
ImageF32 = npt.NDArray[np.float32]

# A phone's JPEG with further pictures behind the first is opened as "JPEG" and then calls itself MPO.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
HEIF_REMEDY = "pip install 'fakelens[heif]'"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
STORED_PX = 256
INPUT_PX = 224
MIN_SIDE_PX = 64
MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20  # more than `MAX_PIXELS` take without any compression
# Before the fine resampling a picture is shrunk by a power of two as long as the short side keeps this
# many times the wanted one: memory stays bounded, and the bicubic filter still does the last factor.
_COARSE_MARGIN = 2
ORIENTATION_TAG = 0x0112
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT, _TIFF_SAMPLE = 258, 262, 322, 323, 339
_TIFF_GREY_16 = (16,), 1, (1,)  # bits; black is zero; unsigned
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The one codec history that every picture gets last; see `harmonise`.
_HARMONISING_QUALITY = 85
_HARMONISING_SUBSAMPLING = "4:2:0"
_HIGH_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


class ImageRefused(FakelensError):  # noqa: N818  a refusal is an answer, not a fault
    """A picture that cannot be judged: `reason` is for counting, the message for a person."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(reason, message)  # what pickle makes it anew from
        self.reason: RefusalReason = reason

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class Container:
    """A file's facts before any pixel is decoded: the metadata that may leak a label."""

    format: str
    width_px: int
    height_px: int
    num_bytes: int
    luma_quantisation: float
    """Mean entry of a JPEG's quantisation table for luma, the higher the coarser; 0 where there is none."""
    chroma_quantisation: float


MEMORY_KINDS = {"JPEG", "PROGRESSIVE", "PNG", "DEEP", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"}


@dataclass(frozen=True)
class Limits:
    """Limits of decoding: the defaults protect one's own machine, an app for strangers sets narrower ones."""

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    max_megapixels: Mapping[str, int] = field(default_factory=dict)
    """By what the decoder holds in memory: a format's name, or `PROGRESSIVE` (JPEG), or `DEEP` (16 bits a channel).
    Without a limit: all others."""
    max_aspect: float = float("inf")
    """Long side by short side."""

    def __post_init__(self) -> None:
        assert self.max_megapixels.keys() <= MEMORY_KINDS, self.max_megapixels


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB picture, and everything that was read of its file on the way."""

    image: Image.Image
    container: Container
    metadata: Metadata
    is_one_of_several: bool
    """Whether the file holds further pages or frames, which were not read."""


def decode(
    data: bytes, *, short_side_px: int = STORED_PX, min_side_px: int = MIN_SIDE_PX
) -> tuple[Image.Image, Container]:
    """The picture and container of `read_image`."""
    decoded = read_image(data, short_side_px=short_side_px, min_side_px=min_side_px)
    return decoded.image, decoded.container


def read_image(
    data: bytes, *, short_side_px: int = STORED_PX, min_side_px: int = MIN_SIDE_PX, limits: Limits = DEFAULT_LIMITS
) -> DecodedImage:
    """Decode `data` to an upright RGB picture whose short side is exactly `short_side_px`.

    Large pictures are first shrunk by a power of two, JPEG in the DCT domain (`Image.draft`), others by a
    box filter, which is nearly the same operator; then one bicubic resize with antialiasing. Aspect is kept.
    Transparency is composited on white, 16-bit is scaled, EXIF orientation applied, only the first frame read.

    Raises:
        ImageRefused: with one of `RefusalReason`; no other error leaves this function.
    """
    if not data:
        raise ImageRefused("empty", "the file is empty")
    if len(data) > limits.max_bytes:
        size = f"{len(data) / 1e6:.1f} MB"
        raise ImageRefused("too_many_bytes", f"it has {size}, and the limit is {limits.max_bytes >> 20} MB a file")
    with _typed_errors():
        image = _open(data)
        container = Container(_format_of(image), image.width, image.height, len(data), *_quantisation(image))
        _check_limits(container, _memory_kind(image), limits)
        _check_size(container, short_side_px, min_side_px, limits.max_pixels)
        _check_form(image)
        small = _shrunk(_with_key_colour(image, data), short_side_px)
        # A PNG's text may stand behind its pixels, so only now is everything there.
        metadata = metadata_of(image, data)
        # Pillow's own `exif_transpose` also rewrites all other tags, which throws on those that are odd.
        turn = _TURNS.get(orientation_of(image))
        # Behind a phone's JPEG stand a preview and a gain map of the same picture.
        is_one_of_several = image.format != "MPO" and getattr(image, "is_animated", False)
        del image
        rgb = _resized(_to_rgb(small), short_side_px)
        return DecodedImage(rgb if turn is None else rgb.transpose(turn), container, metadata, is_one_of_several)


def to_square(image: Image.Image) -> ImageU8:
    """Centre crop of an RGB picture to its short side, harmonised; (S, S, 3) uint8. Never squishes."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return harmonise(np.array(image.crop((left, top, left + side, top + side)), dtype=np.uint8))


def harmonise(square: ImageU8) -> ImageU8:
    """Give a picture the codec history that all pictures share: one JPEG round trip; (S, S, 3) uint8 to the same.

    Photographs are JPEG and fakes often are not; the difference survives resizing, and a detector would learn it
    instead of what pictures show (Grommelt et al. 2024, arXiv 2403.17608). Among 1,053 fakes the audit's tree tells
    JPEG from other originals with 0.82 balanced accuracy before this and 0.52 after. Halving the chroma does most of
    it: at quality 90 without it the tree keeps 0.77. Quality 85 is the highest at which a boosted probe on the same
    numbers comes near chance as well: 0.53, after 0.55 at 90 and 0.60 at 95.

    Not idempotent: `to_square` applies it, once, to every picture that is trained on or judged.
    """
    buffer = io.BytesIO()
    Image.fromarray(square).save(buffer, "JPEG", quality=_HARMONISING_QUALITY, subsampling=_HARMONISING_SUBSAMPLING)
    with Image.open(buffer, formats=("JPEG",)) as image:
        return np.array(image, dtype=np.uint8)


def centre_crops(squares_nhwc: ImageU8, input_px: int) -> ImageU8:
    """(N, S, S, 3) uint8 to their centres, (N, 3, input_px, input_px) uint8.

    Raises:
        FakelensError: when the squares are smaller.
    """
    side = squares_nhwc.shape[1]
    if input_px > side:
        raise FakelensError(
            f"the detector looks at {input_px} px, the stored pictures have {side} px: choose a smaller input_px, or "
            "prepare larger pictures (data.stored_px)"
        )
    offset = (side - input_px) // 2
    crops = squares_nhwc[:, offset : offset + input_px, offset : offset + input_px]
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))


def to_model_input(squares_nhwc: ImageU8, input_px: int = INPUT_PX) -> ImageF32:
    """(N, S, S, 3) uint8 to the detectors' input: centre crop, (N, 3, input_px, input_px) float32 in [0, 1]."""
    return centre_crops(squares_nhwc, input_px).astype(np.float32) / np.float32(255)


@functools.cache
def heif_is_read() -> bool:
    """Whether HEIC and HEIF pictures are read: where the extra `heif` is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def format_words() -> str:
    """The formats that are read here: `JPEG, PNG, …, BMP or GIF`."""
    *words, last = ("JPEG", "PNG", "WebP", "AVIF", *(["HEIC"] if heif_is_read() else []), "TIFF", "BMP", "GIF")
    return f"{', '.join(words)} or {last}"


def _open(data: bytes) -> Image.Image:
    try:
        return _open_heif(data) if _is_heif(data) else Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        # These two have at their end what tells what they are, or say no more than this of a fault.
        if not _is_heif(data) and not data.startswith((b"II*\0", b"MM\0*")):
            raise
        raise ImageRefused("unreadable", "the picture cannot be decoded: its file is damaged or cut off") from error


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _open_heif(data: bytes) -> Image.Image:
    if not heif_is_read():
        with contextlib.suppress(UnidentifiedImageError):  # an AVIF may have a brand of both
            return Image.open(io.BytesIO(data), formats=("AVIF",))
        raise ImageRefused("unsupported_format", f"HEIC pictures are not read here: save it as JPEG, or {HEIF_REMEDY}")
    _register_heif()
    return Image.open(io.BytesIO(data), formats=("AVIF", "HEIF"))


@functools.cache
def _register_heif() -> None:
    from pillow_heif import register_heif_opener

    # One thread: other pictures are decoded beside it. Of the file's pictures only the main one is wanted.
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _check_form(image: Image.Image) -> None:
    """Refuse forms of TIFF and BMP that Pillow shows wrongly, or that cost far more than their pixels."""
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        depth = tags.get(_TIFF_BITS), tags.get(_TIFF_PHOTOMETRIC), tags.get(_TIFF_SAMPLE, (1,))
        if image.mode in _HIGH_BIT_MODES and depth != _TIFF_GREY_16:
            words = "TIFF pictures of this depth are not read: save it with 8 or 16 bits a channel"
            raise ImageRefused("unsupported_format", words)
        # The decoder holds a whole tile, which may promise to be larger than the picture.
        if tags.get(_TIFF_TILE_WIDTH, 1) * tags.get(_TIFF_TILE_HEIGHT, 1) > max(2**20, 4 * image.width * image.height):
            raise ImageRefused("too_many_pixels", "its tiles are too large to be decoded safely")
    elif any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", [])):
        # Decoded byte by byte in Python: seconds for what a stranger may send.
        raise ImageRefused("unsupported_format", "run-length coded BMP pictures are not read: save it as PNG")


def _format_of(image: Image.Image) -> str:
    return "JPEG" if image.format == "MPO" else str(image.format)


def _quantisation(image: Image.Image) -> tuple[float, float]:
    """Mean of the tables of a JPEG's first and second component, 0 for what it lacks."""
    # Which component uses which table is the file's own choice; a hostile one may name tables that it does not have.
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    used = [tables.get(layer[3], []) for layer in getattr(image, "layer", [])[:2]]
    luma, chroma, *_ = *(float(np.mean(table)) if table else 0.0 for table in used), 0.0, 0.0
    return luma, chroma


def _memory_kind(image: Image.Image) -> str:
    """The kind of file by which decoding takes memory: the format, and two expensive forms of it."""
    if image.info.get("progressive"):
        return "PROGRESSIVE"
    return "DEEP" if image.format in ("PNG", "TIFF") and "16" in _raw_mode(image) else _format_of(image)


_KIND_WORDS = {"PROGRESSIVE": "progressive JPEG", "DEEP": "16-bit pictures", "WEBP": "WebP"}


def _check_limits(container: Container, kind: str, limits: Limits) -> None:
    megapixels = container.width_px * container.height_px / 1e6
    limit = limits.max_megapixels.get(kind, megapixels)
    if megapixels > limit:
        words = f"it has {megapixels:.1f} megapixels, and the limit for {_KIND_WORDS.get(kind, kind)} is {limit}"
        raise ImageRefused("too_many_pixels", words)
    short, long = sorted((container.width_px, container.height_px))
    if long > limits.max_aspect * short:
        words = f"its sides are as 1 to {long / short:.0f}, and the limit is 1 to {limits.max_aspect:g}"
        raise ImageRefused("too_many_pixels", words)


def _check_size(container: Container, short_side_px: int, min_side_px: int, max_pixels: int) -> None:
    width, height = container.width_px, container.height_px
    if width * height > max_pixels:
        limit = max_pixels // 1_000_000
        raise ImageRefused("too_many_pixels", f"{width}×{height} px is more than the limit of {limit} megapixels")
    if min(width, height) < min_side_px:
        raise ImageRefused("too_small", f"{width}×{height} px is too small: the short side needs {min_side_px} px")
    # A strip that is enlarged until its short side fits may need gigabytes, though its file is tiny.
    if width * height * (short_side_px / min(width, height)) ** 2 > MAX_PIXELS:
        raise ImageRefused("too_many_pixels", f"{width}×{height} px is too elongated to be resized safely")


def _shrunk(image: Image.Image, short_side_px: int) -> Image.Image:
    """Load the picture, shrunk by the largest power of two that keeps the coarse margin."""
    factor = 1
    while min(image.size) // (factor * 2) >= short_side_px * _COARSE_MARGIN:
        factor *= 2
    full_width = image.width
    if factor > 1 and image.format in ("JPEG", "MPO"):
        image.draft(None, (image.width // factor, image.height // factor))  # by 8 at most
        factor //= max(1, round(full_width / image.width))
    size = image.size
    image.load()
    if image.format == "HEIF" and image.size != size:  # which was checked
        raise ImageRefused("unreadable", "its header states another size than its picture has")
    if factor > 1 and image.mode not in _HIGH_BIT_MODES:
        image = _direct_colour(image).reduce(factor)
    return image


def _with_key_colour(image: Image.Image, data: bytes) -> Image.Image:
    """A PNG's key colour brought to the depth of the samples that Pillow compares it with; others as they are.

    Pillow expands samples of 2 and 4 bits to 8 but not the key, and of 16-bit colours it keeps the upper byte alone.
    """
    key, raw_mode = image.info.get("transparency"), _raw_mode(image)
    if image.format != "PNG" or not isinstance(key, int | tuple):
        return image
    if raw_mode in ("L;2", "L;4"):
        largest = 2 ** int(raw_mode[-1]) - 1
        image.info["transparency"] = (key & largest) * (255 // largest)
    elif raw_mode == "RGB;16B" and isinstance(key, tuple):
        with Image.open(io.BytesIO(data), formats=("PNG",)) as low:
            low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
            upper_and_lower = zip(image.split(), low.split(), key, strict=True)
            other = [(np.asarray(u) != k >> 8) | (np.asarray(v) != k & 255) for u, v, k in upper_and_lower]
        del image.info["transparency"]
        image.putalpha(Image.fromarray(np.logical_or.reduce(other)).convert("L"))
    return image


def _raw_mode(image: Image.Image) -> str:
    """Layout of the samples of an image that is not loaded yet, by Pillow's name; empty if unknown."""
    options = next((tile[3] for tile in getattr(image, "tile", [])), "")
    return str(options[0] if isinstance(options, tuple) and options else options)


def _direct_colour(image: Image.Image) -> Image.Image:
    """A palette, one-bit or key-colour picture as colours, which alone can be averaged."""
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB") if image.mode in ("P", "1") else image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _HIGH_BIT_MODES:
        # 16-bit grey, of PNG and TIFF. Pillow's own conversion clips it to white.
        values, key = np.asarray(image, dtype=np.float32), image.info.get("transparency")
        image = Image.fromarray(np.clip(values * (255 / 65535), 0, 255).astype(np.uint8))
        if isinstance(key, int):
            image.putalpha(Image.fromarray(values != key).convert("L"))
    image = _direct_colour(image)
    if image.mode in ("RGBA", "LA"):
        # Dropping alpha would show colours that nobody sees: composite on a background instead.
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(background, rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def _resized(image: Image.Image, short_side_px: int) -> Image.Image:
    scale = short_side_px / min(image.size)
    size = (max(short_side_px, round(image.width * scale)), max(short_side_px, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where there is none that can be read."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # parsing throws as many things as decoding, and browsers show such pictures
        return 1
    return orientation if isinstance(orientation, int) else 1


class _NoWarnings:
    """Ignores warnings while any thread is inside.

    `warnings.catch_warnings` is for one thread: of two that overlap, the first to leave brings the other's warnings
    back, and the second leaves the whole process without any.
    """

    def __init__(self) -> None:
        self._lock, self._num_inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._num_inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._num_inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if not self._num_inside:
                self._caught.__exit__(None, None, None)


NO_WARNINGS = _NoWarnings()


@contextlib.contextmanager
def _typed_errors() -> Iterator[None]:
    """Turn whatever a decoder throws at hostile bytes into `ImageRefused`."""
    try:
        # Our own pixel limit is the one that counts; metadata that Pillow grumbles about is dropped anyway.
        with NO_WARNINGS:
            yield
    except (ImageRefused, MemoryError):  # what this machine lacks is no fault of the picture
        raise
    except UnidentifiedImageError as error:
        raise ImageRefused("unsupported_format", f"not a {format_words()} picture") from error
    except Image.DecompressionBombError as error:
        raise ImageRefused("too_many_pixels", "the picture has too many pixels to be decoded safely") from error
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error, EOFError …
        if "truncated" in str(error).lower():
            raise ImageRefused("truncated", "the picture cannot be decoded: its file is damaged or cut off") from error
        raise ImageRefused("unreadable", f"the picture cannot be decoded: {' '.join(str(error).split())}") from error
