"""Each caution is said of the picture that deserves it, of no ordinary one, and few of them take the verdict."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fakelens.core.imaging import read_image
from fakelens.runtime.cautions import Caution, cautions_of, jpeg_quality
from fakelens.sources.synthetic import example_pictures
from onnx_models import encoded, flat_picture


def said(data: bytes) -> tuple[Caution, ...]:
    decoded = read_image(data)
    return cautions_of(decoded.container, decoded.image, 224, is_one_of_several=decoded.is_one_of_several)


def scene() -> Image.Image:
    return Image.open(io.BytesIO(example_pictures(512)["camera-like-1.jpg"]))


def repr_of_words(value: object) -> str | None:
    """Bytes of an AVIF hold the time: no name that two processes of pytest could agree on."""
    return "" if isinstance(value, bytes) else None


def several(codec: str) -> bytes:
    return encoded(scene(), codec, save_all=True, append_images=[scene().rotate(90)])


def test_a_telephones_second_picture_in_one_file_is_nothing_to_mention() -> None:
    assert said(several("MPO")) == ()


def test_ordinary_pictures_get_none() -> None:
    assert [said(data) for data in example_pictures(512).values()] == [()] * 4


@pytest.mark.parametrize(
    ("data", "words", "undecided"),
    [
        (encoded(scene().resize((200, 300))), "had to be enlarged", True),
        (encoded(scene(), "JPEG", quality=20), "very heavily (JPEG quality about 20)", True),
        (encoded(scene(), "JPEG", quality=40), "heavily compressed (JPEG quality about 40)", False),
        (encoded(scene().resize((40, 40)).resize((900, 900))), "hardly any fine detail", True),
        (encoded(scene().resize((900, 300))), "only the central 33 %", False),
        (flat_picture(255, grain=0), "of one colour", True),
        (encoded(Image.new("RGBA", (300, 300), (200, 0, 0, 0))), "what is transparent counts as white", True),
        *((several(codec), "Only the first page or frame", False) for codec in ("TIFF", "PNG", "WEBP", "AVIF")),
    ],
    ids=repr_of_words,
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
    container = read_image(encoded(scene(), "JPEG", quality=quality)).container
    assert jpeg_quality(container.luma_quantisation) == pytest.approx(quality, abs=1.5)
    assert jpeg_quality(0) == 100
    assert np.isfinite(jpeg_quality(1e9))
