"""Cautions: a decoded picture and its file's facts in; reasons to trust its verdict less out.

A caution makes a verdict uncertain only where nothing was measured: pictures smaller than any in the evaluation, JPEG
coarser than its coarsest, and pictures in which there is nothing that detectors could look at. The others are said and
no more: the evaluation covers them, or an ordinary picture may look like that too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import Container
from fakelens.core.scoring import percent

# The strongest JPEG step of `fakelens evaluate`; the robustness table says what it does to verdicts.
MIN_EVALUATED_JPEG_QUALITY = 30
STRONG_JPEG_QUALITY = 50
# Of 400 validation pictures of the stand-in for OpenFake (256 px) 1 has a share of fine detail below 0.03; of the same
# ones after shrinking and enlarging by 4 two in five have, by 8 all but 4.
MIN_FINE_SHARE = 0.03
# None of those 400 has more than 0.66 of equal neighbours; what was drawn, typed or rendered by a screen has.
MAX_FLAT_SHARE = 0.75
_MIN_CONTRAST = 2.0  # standard deviation of luma, of 255: below it there is nothing to see, and no share of anything
_MIN_SEEN_SHARE = 0.5
_MEAN_LUMA_AT_50 = 57.6  # mean of the standard's luma table (ITU-T T.81, annex K), which quality scales


@dataclass(frozen=True)
class Caution:
    """One reason for care."""

    words: str
    undecided: bool = False
    """Whether the verdict becomes `uncertain` whatever the score."""


DEMO = Caution("Demonstration, trained on synthetic pictures: verdicts on real pictures mean nothing.")
"""Of every verdict of such a detector, so that it is in each file and answer that a verdict leaves in."""


def cautions_of(
    container: Container, picture: Image.Image, input_px: int, *, is_one_of_several: bool = False
) -> tuple[Caution, ...]:
    """The cautions for a decoded picture (RGB, its short side as stored) that a model sees at `input_px`."""
    further = [Caution("Only the first page or frame is judged: the file holds several.")] if is_one_of_several else []
    return (*further, *_of_the_file(container, input_px), *_of_the_pixels(picture))


def jpeg_quality(luma_quantisation: float) -> float:
    """The quality, 1 to 100, at which libjpeg's own table has this mean; 100 where there is no table."""
    if luma_quantisation <= 1:
        return 100.0
    scale = luma_quantisation / _MEAN_LUMA_AT_50  # 50 / quality below 50, and 2 - quality / 50 above
    return max(1.0, 50 / scale if scale > 1 else 100 - 50 * scale)


def _of_the_file(container: Container, input_px: int) -> list[Caution]:
    cautions = []
    short, long = sorted((container.width_px, container.height_px))
    if short < input_px:
        cautions.append(
            Caution(
                f"It has {container.width_px} × {container.height_px} px and had to be enlarged to the {input_px} px "
                "that the detector looks at: pictures this small were not part of its evaluation.",
                undecided=True,
            )
        )
    quality = jpeg_quality(container.luma_quantisation)
    if quality < MIN_EVALUATED_JPEG_QUALITY - 1:  # tables are rounded
        words = (
            f"It is compressed very heavily (JPEG quality about {quality:.0f}), more than anything in the evaluation."
        )
        cautions.append(Caution(words, undecided=True))
    elif quality < STRONG_JPEG_QUALITY:
        cautions.append(
            Caution(f"It is heavily compressed (JPEG quality about {quality:.0f}), which blurs the traces.")
        )
    if container.format == "GIF":
        words = (
            "It is a GIF, of at most 256 colours: the dithering that stands for others was not part of the evaluation."
        )
        cautions.append(Caution(words, undecided=True))
    if short / long < _MIN_SEEN_SHARE:
        cautions.append(Caution(f"The detector sees only the central {percent(short / long, 0)} of this long picture."))
    return cautions


def _of_the_pixels(picture: Image.Image) -> list[Caution]:
    luma = np.asarray(picture.convert("L"), dtype=np.float32)
    if luma.std() < _MIN_CONTRAST:
        words = "It is nearly of one colour (what is transparent counts as white): there is next to nothing to judge."
        return [Caution(words, undecided=True)]
    if fine_share(luma) < MIN_FINE_SHARE:
        return [
            Caution(
                "It has hardly any fine detail, as if enlarged from a much smaller picture or strongly blurred: what "
                "the detector looks for cannot be there.",
                undecided=True,
            )
        ]
    if flat_share(luma) > MAX_FLAT_SHARE:
        return [
            Caution(
                "Large parts are perfectly even, as in a screenshot, a drawing or a slide: the detector was trained "
                "and measured on photographs and on generated pictures that look like them."
            )
        ]
    return []


def fine_share(luma: npt.NDArray[np.float32]) -> float:
    """Share of the contrast of an (H, W) picture that is lost at half its size, 0 to 1."""
    image = Image.fromarray(luma)
    half = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
    coarse = np.asarray(half.resize(image.size, Image.Resampling.BILINEAR))
    return float((luma - coarse).std() / luma.std())


def flat_share(luma: npt.NDArray[np.float32]) -> float:
    """The share of (H, W) pixels that equal their right neighbour."""
    return float((np.diff(luma, axis=1) == 0).mean())
