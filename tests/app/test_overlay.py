"""The map lies over its box alone, in its two colours, as strong as the opacity says."""

import numpy as np
from PIL import Image

from fakelens.app.heatmap import GENERATED_RGB, PHOTOGRAPH_RGB, overlay

PICTURE = Image.new("RGB", (100, 60), (128, 128, 128))
MAP = np.array([[9, -9], [9, -9]], np.float32)


def laid(opacity: float) -> np.ndarray:
    return np.asarray(overlay(PICTURE, MAP, (20, 10, 80, 50), opacity))


def test_the_two_sides_have_their_colours_and_the_outside_stays() -> None:
    shown = laid(1.0)
    assert tuple(shown[30, 25]) == GENERATED_RGB
    assert tuple(shown[30, 74]) == PHOTOGRAPH_RGB
    assert (shown[:, :20] == 128).all()
    assert (shown[:10] == 128).all()
    assert (shown[50:] == 128).all()


def test_without_opacity_only_the_border_is_drawn() -> None:
    shown = laid(0.0)
    assert (shown[12:48, 22:78] == 128).all()
    assert tuple(shown[10, 20]) == (20, 20, 20)
    assert tuple(shown[11, 21]) == (255, 255, 255)
    assert PICTURE.getpixel((20, 10)) == (128, 128, 128)


def test_the_colours_are_relative_to_the_pictures_own_range_but_not_to_noise() -> None:
    weak = np.asarray(overlay(PICTURE, MAP / 20, (20, 10, 80, 50), 1.0))
    assert (weak == laid(1.0)).all()
    noise = np.asarray(overlay(PICTURE, MAP / 9000, (20, 10, 80, 50), 1.0))
    assert np.abs(noise[12:48, 22:78].astype(int) - 128).max() <= 1


def test_half_the_opacity_is_half_way_to_the_colour() -> None:
    assert np.abs(laid(0.5)[30, 25] - (np.array(GENERATED_RGB) + 128) / 2).max() <= 1
