"""A seed in; the bytes of a large JPEG with the texture of a photograph out: what decoding is timed with."""

import io

import numpy as np
from PIL import Image

_SIZE_PX = (4000, 3000)  # 12 megapixels, as telephones take
_DOUBLINGS = 5
# A photograph's amplitude falls as one over frequency: each halving of scale halves it.
_COARSEST = 48.0


def large_jpeg(seed: int, size_px: tuple[int, int] = _SIZE_PX) -> bytes:
    """A JPEG of quality 90 with halved chroma, about 3 MB at 12 megapixels; sizes are (width, height)."""
    rng = np.random.default_rng((seed, 12))
    width, height = (-(-side // 2**_DOUBLINGS) for side in size_px)
    picture = Image.fromarray(rng.integers(40, 216, (height, width, 3), dtype=np.uint8))
    for octave in range(1, _DOUBLINGS + 1):
        picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)
        # Brightness varies more than colour does: one noise for the three channels.
        noise = rng.standard_normal((picture.height, picture.width, 1), dtype=np.float32) * (_COARSEST / 2**octave)
        picture = Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.crop((0, 0, *size_px)).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    return buffer.getvalue()
