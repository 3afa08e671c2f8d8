"""Limits of an upload, each with its reason.

Memory is what a stranger can take from a small machine, and pixels are what takes it: how many are allowed depends on
what a format's decoder holds at once. A JPEG is shrunk while it is decoded, unless it is progressive, which keeps all
its coefficients; PNG, BMP and GIF are decoded whole; the decoders of WebP, AVIF and TIFF hold several whole pictures.
HEIC takes 190 MB for 24 megapixels, which is what telephones make.
"""

from fakelens.core.imaging import Limits
from fakelens.core.picture_folder import HEIF_SUFFIXES, SUFFIXES

ENDPOINT = "/api/verdict"
HEALTH = "/api/health"
PATIENCE_S = 120  # for one request: nobody may hold a place by sending slowly
MAX_FILE_MB = 10
MAX_PICTURES = 30
# HEIC also where it is not read: the drop zone alone would not say why it is refused.
FILE_TYPES = tuple(sorted(suffix.removeprefix(".") for suffix in {*SUFFIXES, *HEIF_SUFFIXES}))
LIMITS = Limits(
    max_bytes=MAX_FILE_MB * 2**20,
    max_megapixels={
        "JPEG": 64,
        "PROGRESSIVE": 24,
        "PNG": 24,
        "DEEP": 12,
        "WEBP": 16,
        "AVIF": 16,
        "HEIF": 25,
        "TIFF": 16,
        "BMP": 24,
        "GIF": 24,
    },
    # A strip must stay large where its short side is to reach the model's: what the shrinking saves is lost.
    max_aspect=16,
)
