"""What the app takes in, per file, and why; a file's bytes in, its facts or a refusal out. Nothing is decoded yet.

Memory is what a stranger can take from a small machine, and pixels are what takes it: how many are allowed depends on
what a format's decoder holds at once. A JPEG is shrunk while it is decoded, unless it is progressive, which keeps all
its coefficients; PNG is decoded whole; the decoders of WebP and AVIF hold several whole pictures.
"""

from fakelens.app.provenance import format_of, parts
from fakelens.core.imaging import Container, ImageRefused, container_of

ENDPOINT = "/api/verdict"
MAX_FILE_MB = 10
MAX_PICTURES = 30
FILE_TYPES = ("jpg", "jpeg", "png", "webp", "avif")
MAX_MEGAPIXELS = {"JPEG": 64, "PROGRESSIVE": 24, "PNG": 24, "DEEP": 12, "WEBP": 16, "AVIF": 16}
# A strip must stay large where its short side is to reach the model's: what the shrinking saves is lost.
MAX_ASPECT = 16
_PROGRESSIVE_STARTS = ("C2", "C6", "CA", "CE")  # SOF markers of progressive scans


def checked(data: bytes) -> Container:
    """The file's facts.

    Raises:
        ImageRefused: when the app does not take it in.
    """
    if len(data) > MAX_FILE_MB * 2**20:
        size = f"{len(data) / 1e6:.1f} MB"
        raise ImageRefused("too_many_bytes", f"it has {size}, and the limit is {MAX_FILE_MB} MB a file")
    container = container_of(data)
    megapixels = container.width_px * container.height_px / 1e6
    kind = _kind(data, container)
    if megapixels > MAX_MEGAPIXELS[kind]:
        raise ImageRefused(
            "too_many_pixels",
            f"it has {megapixels:.1f} megapixels, and the limit for {_WORDS.get(kind, kind)} is {MAX_MEGAPIXELS[kind]}",
        )
    short, long = sorted((container.width_px, container.height_px))
    if long > MAX_ASPECT * short:
        raise ImageRefused(
            "too_many_pixels", f"its sides are as 1 to {long / short:.0f}, and the limit is 1 to {MAX_ASPECT}"
        )
    return container


_WORDS = {"PROGRESSIVE": "progressive JPEG", "DEEP": "16-bit PNG", "WEBP": "WebP"}


def _kind(data: bytes, container: Container) -> str:
    if container.format == "JPEG":
        return "PROGRESSIVE" if any(part.name in _PROGRESSIVE_STARTS for part in parts(data)) else "JPEG"
    # The ninth byte of a PNG's first chunk, IHDR, is the bit depth.
    return "DEEP" if format_of(data) == "PNG" and data[24:25] == b"\x10" else container.format
