"""Each caution is said of the picture that deserves it, of no ordinary one, and few of them take the verdict."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fakelens.core.imaging import decode
from fakelens.runtime.cautions import Caution, cautions_of, jpeg_quality
from fakelens.sources.synthetic import example_pictures
from onnx_models import encoded, flat_picture


def said(data: bytes) -> tuple[Caution, ...]:
    picture, container = decode(data)
    return cautions_of(container, picture, 224)


def scene() -> Image.Image:
    return Image.open(io.BytesIO(example_pictures(512)["camera-like-1.jpg"]))


def test_ordinary_pictures_get_none() -> None:
    assert [said(data) for data in example_pictures(512).values()] == [()] * 4


@pytest.mark.parametrize(
    ("data", "words", "undecided"),
    [
        (encoded(scene().resize((200, 300))), "had to be enlarged", True),
        (encoded(scene(), "JPEG", quality=20), "very heavily (JPEG quality about 20)", True),
        (encoded(scene(), "JPEG", quality=40), "heavily compressed (JPEG quality about 40)", False),
        (encoded(scene().resize((40, 40)).resize((900, 900))), "hardly any fine detail", True),
        (encoded(scene().resize((900, 300))), "only the central 33%", False),
        (flat_picture(255, grain=0), "of one colour", True),
    ],
)
def test_what_deserves_care_gets_it(data: bytes, words: str, undecided: bool) -> None:
    (caution,) = said(data)
    assert words in caution.words
    assert caution.undecided is undecided


def test_a_page_of_text_is_taken_for_what_it_is() -> None:
    page = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(page)
    for line in range(8):
        draw.text((30, 30 + 60 * line), "The quick brown fox jumps over the dog", fill="black", font_size=20)
    (caution,) = said(encoded(page))
    assert "screenshot" in caution.words
    assert not caution.undecided


@pytest.mark.parametrize("quality", [20, 30, 50, 75, 90])
def test_the_quality_is_read_off_the_table(quality: int) -> None:
    _, container = decode(encoded(scene(), "JPEG", quality=quality))
    assert jpeg_quality(container.luma_quantisation) == pytest.approx(quality, abs=1.5)
    assert jpeg_quality(0) == 100
    assert np.isfinite(jpeg_quality(1e9))
