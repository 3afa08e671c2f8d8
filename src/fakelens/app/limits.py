"""What the app takes in, per file, and why.

Memory is what a stranger can take from a small machine, and pixels are what takes it: how many are allowed depends on
what a format's decoder holds at once. A JPEG is shrunk while it is decoded, unless it is progressive, which keeps all
its coefficients; PNG is decoded whole; the decoders of WebP and AVIF hold several whole pictures.
"""

from fakelens.core.imaging import Limits
from fakelens.core.picture_folder import SUFFIXES

ENDPOINT = "/api/verdict"
MAX_FILE_MB = 10
MAX_PICTURES = 30
FILE_TYPES = tuple(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
LIMITS = Limits(
    max_bytes=MAX_FILE_MB * 2**20,
    max_megapixels={"JPEG": 64, "PROGRESSIVE": 24, "PNG": 24, "DEEP": 12, "WEBP": 16, "AVIF": 16},
    # A strip must stay large where its short side is to reach the model's: what the shrinking saves is lost.
    max_aspect=16,
)
