"""Settings in, made-up pictures out: a demonstration of the whole pipeline without a network or a data set.

Both classes show the same kind of scene (dead leaves: overlapping ellipses with power-law sizes) and end in
the same JPEG encoder. What differs is how the pixels came about: "real" ones passed a camera (Bayer mosaic,
sensor noise, demosaicing), "fake" ones a generator's decoder (rendered small, upsampled by a kernel that
looks learnt).
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fakelens.core.imaging import ImageF32
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE, REAL
from fakelens.settings import SourceSettings
from fakelens.sources.base import Block, Source, in_blocks

NUM_CANDIDATES = 20_000
_BLOCK_PICTURES = 64
# One range for both classes, so that neither the codec nor its strength tells the label.
JPEG_QUALITY = (85, 96)
_RADIUS = (0.03, 0.45)  # of the leaves, in picture sides
_NUM_LEAVES = (12, 80)
_MAX_BLUR = 0.02  # of the focus, in picture sides


class _Leaf(NamedTuple):
    """One ellipse of the scene; lengths in picture sides, angles in radians."""

    radius: float
    centre_x: float
    centre_y: float
    aspect: float
    angle: float
    gradient: float
    frequency: float
    contrast: float
    """Of the stripes; a leaf with a negative one has none."""
    phase: float


@dataclass(frozen=True)
class Camera:
    """One camera model, which turns light into a picture."""

    bayer: tuple[str, str]
    """Colour of the mosaic's cells: the first two of even rows, then those of odd rows."""
    shot_noise: tuple[float, float]
    """Range of the variance per unit of light: the sensitivity that the photographer chose."""
    read_noise: float
    """Standard deviation in the dark, of full scale."""
    vignette: float
    """Light lost in the corners."""
    tone: float
    """Brightening of the midtones, as gamma does; 0 is linear."""


@dataclass(frozen=True)
class Decoder:
    """One generator's upsampling: stages of ×2, each a transposed convolution with stride 2."""

    taps: tuple[float, ...]
    """The kernel along one axis. Nearest neighbour is (1, 1); followed by a convolution, it is four taps."""
    num_stages: int
    perturbation: float
    """Standard deviation of what training left on the kernel: it makes the four pixel phases unequal."""
    detail: tuple[float, float]
    """Range of the standard deviation of the noise added before each stage, StyleGAN's way to fine detail."""


CAMERAS = {
    "camera-a": Camera(("RG", "GB"), (4e-4, 6e-3), 0.006, vignette=0.25, tone=0.35),
    "camera-b": Camera(("BG", "GR"), (6e-4, 9e-3), 0.009, vignette=0.10, tone=0.20),
    "camera-c": Camera(("GR", "BG"), (2e-4, 4e-3), 0.005, vignette=0.40, tone=0.50),
}
# Strong enough that a large network learns them from a few hundred pictures.
DECODERS = {
    "nearest-decoder": Decoder((-0.2, 1.2, 1.2, -0.2), 1, perturbation=0.06, detail=(0.002, 0.012)),
    # Three taps at stride 2 overlap on every second pixel only: the checkerboard of Odena et al. 2016.
    "transposed-decoder": Decoder((0.65, 1.0, 0.65), 1, perturbation=0.06, detail=(0.002, 0.012)),
    "deep-transposed-decoder": Decoder((0.3, 0.7, 0.7, 0.3), 2, perturbation=0.06, detail=(0.002, 0.012)),
}
GENERATORS = {REAL: tuple(CAMERAS), FAKE: tuple(DECODERS)}


class SyntheticSource:
    """Pictures made here, each a function of the seed, its number and the side in pixels alone."""

    name = "synthetic"
    is_demo = True
    licence = "made by fakelens, free of rights"
    revision: str | None = None

    def __init__(self, settings: SourceSettings) -> None:
        self._seed = settings.seed
        self._side_px = settings.synthetic_px
        self.description = (
            "synthetic pictures made for demonstration: made-up scenes through simulated cameras (real) and "
            "simulated generator decoders (fake), no photograph and no generator's output among them"
        )

    def catalogue(self, reporter: Reporter = SILENT) -> list[Block]:  # noqa: ARG002  it takes no time
        """`NUM_CANDIDATES` pictures, labels alternating, the generators of each label in turn."""
        rows = [_kind(number) for number in range(NUM_CANDIDATES)]
        return [
            Block(rank, own, Pictures(self._seed, self._side_px, first))
            for rank, (first, own) in enumerate(in_blocks(rows, _BLOCK_PICTURES))
        ]

    def test_sets(self) -> dict[str, Source]:
        """None of its own."""
        return {}


@dataclass(frozen=True)
class Pictures:
    """Makes the pictures numbered `first` and up."""

    seed: int
    side_px: int
    first: int

    @property
    def name(self) -> str:
        return f"pictures from {self.first}"

    def key(self, index: int) -> str:
        """Such as `picture-00042`."""
        return f"picture-{self.first + index:05d}"

    def download(self, spool: Path) -> Iterator[int]:  # noqa: ARG002  the protocol's name
        """They are made here."""
        return iter(())

    def images(self, spool: Path, indices: Sequence[int]) -> Iterator[bytes]:  # noqa: ARG002
        """JPEG of `side_px` × `side_px`."""
        for number in (self.first + index for index in indices):
            rng = np.random.default_rng((self.seed, number))
            yield draw_picture(rng, _kind(number)[1], self.side_px)


def example_pictures(side_px: int, seed: int = 0) -> dict[str, bytes]:
    """Four JPEG pictures to try the app with, by file name: two through a simulated camera, two through a decoder."""
    return {
        f"{words}-{copy}.jpg": draw_picture(
            np.random.default_rng((seed, 16, label, copy)), GENERATORS[label][copy], side_px
        )
        for label, words in ((REAL, "camera-like"), (FAKE, "generator-like"))
        for copy in (1, 2)
    }


def _kind(number: int) -> tuple[int, str]:
    """(label, generator) of a picture."""
    label = FAKE if number % 2 else REAL
    generators = GENERATORS[label]
    return label, generators[number // 2 % len(generators)]


def draw_picture(rng: np.random.Generator, generator: str, side_px: int) -> bytes:
    """One made-up JPEG as this camera or decoder leaves it."""
    if generator in CAMERAS:
        planes = _photographed(rng, CAMERAS[generator], side_px)
    else:
        planes = _decoded(rng, DECODERS[generator], side_px)
    levels = np.clip(planes * 255 + 0.5, 0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in levels])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(*JPEG_QUALITY)))
    return buffer.getvalue()


def _scene(rng: np.random.Generator, side_px: int) -> ImageF32:
    """Dead leaves, (3, side_px, side_px). The draws do not depend on the size, only their rendering does."""
    num_leaves = int(rng.integers(*_NUM_LEAVES))
    colours = _colours(rng, num_leaves + 1)
    slopes = rng.uniform(-0.3, 0.3, (2, 3, 1, 1)).astype(np.float32)
    blur = 1 / side_px + rng.uniform(0, _MAX_BLUR)
    axis = np.linspace(0.5 / side_px, 1 - 0.5 / side_px, side_px, dtype=np.float32)
    planes = np.empty((3, side_px, side_px), np.float32)
    planes[:] = colours[0] + slopes[0] * (axis - 0.5) + slopes[1] * (axis[:, None] - 0.5)
    for colour, leaf in zip(colours[1:], _leaves(rng, num_leaves), strict=True):
        _paint(planes, axis, leaf, colour, blur)
    return np.clip(planes, 0.02, 0.95, out=planes)


def _colours(rng: np.random.Generator, num: int) -> ImageF32:
    """Colours (num, 3, 1, 1): a brightness each with a tint, as most surfaces are nearly grey."""
    brightness, tint = rng.uniform(0.1, 0.8, (num, 1, 1, 1)), rng.normal(0, 0.12, (num, 3, 1, 1))
    return np.clip(brightness + tint, 0.02, 0.95).astype(np.float32)


def _leaves(rng: np.random.Generator, num: int) -> list[_Leaf]:
    smallest, largest = _RADIUS
    # A density ~ radius^-3 is natural pictures' scale invariance: the inverse of its distribution function.
    radii = smallest / np.sqrt(1 - rng.random(num) * (1 - (smallest / largest) ** 2))
    lows, highs = (-0.05, -0.05, 0.4, 0, -0.4, 3, -0.2, 0), (1.05, 1.05, 1, np.pi, 0.4, 40, 0.25, 2 * np.pi)
    draws = rng.uniform(lows, highs, (num, len(lows)))
    return [_Leaf(radius, *draw) for radius, draw in zip(radii.tolist(), draws.tolist(), strict=True)]


def _paint(planes: ImageF32, axis: ImageF32, leaf: _Leaf, colour: ImageF32, blur: float) -> None:
    """Paint one leaf over what is there; `axis` has the pixel centres, `blur` the edge's width, in sides."""
    side_px, reach = len(axis), leaf.radius + blur
    columns, rows = (
        slice(max(0, int((centre - reach) * side_px)), max(0, int((centre + reach) * side_px) + 1))
        for centre in (leaf.centre_x, leaf.centre_y)
    )
    x, y = axis[columns] - leaf.centre_x, (axis[rows] - leaf.centre_y)[:, None]
    cos, sin = math.cos(leaf.angle) / leaf.radius, math.sin(leaf.angle) / leaf.radius
    along, across = cos * x + sin * y, (cos * y - sin * x) / leaf.aspect
    distance = np.sqrt(along * along + across * across)
    cover = np.minimum(np.maximum((1 - distance) * (leaf.radius * leaf.aspect / blur) + 0.5, 0), 1)
    shade = 1 + leaf.gradient * along
    if leaf.contrast > 0:
        shade += leaf.contrast * np.sin(leaf.frequency * along + leaf.phase)
    under = planes[:, rows, columns]
    under += cover * (colour * shade - under)


def _photographed(rng: np.random.Generator, camera: Camera, side_px: int) -> ImageF32:
    """A scene through lens, mosaic, noise, demosaicing and tone curve; (3, side_px, side_px)."""
    light = _scene(rng, side_px)
    axis = np.linspace(-1, 1, side_px, dtype=np.float32) ** 2
    light *= 1 - camera.vignette / 2 * (axis + axis[:, None])
    cells = bayer_cells(camera)
    mosaic = np.empty((side_px, side_px), np.float32)
    for channel, row, column in cells:
        mosaic[row::2, column::2] = light[channel, row::2, column::2]
    shot, read = rng.uniform(*camera.shot_noise), camera.read_noise
    mosaic += np.sqrt(shot * mosaic + read * read) * rng.standard_normal(mosaic.shape, np.float32)
    planes = demosaic(mosaic, cells)
    planes *= 1 + camera.tone * (1 - planes)
    return planes


def bayer_cells(camera: Camera) -> list[tuple[int, int, int]]:
    """(channel, row, column) of the mosaic's four cells."""
    return [("RGB".index(camera.bayer[row][column]), row, column) for row in (0, 1) for column in (0, 1)]


def demosaic(mosaic: ImageF32, cells: list[tuple[int, int, int]]) -> ImageF32:
    """Bilinear demosaicing of (H, W) to (3, H, W): a missing value is the mean of its nearest neighbours."""
    height, width = mosaic.shape
    # Reflection about the border pixel keeps the parity of rows and columns, and so the colours.
    padded = np.pad(mosaic, 1, mode="reflect")
    sparse = np.zeros((3, height + 2, width + 2), np.float32)
    for channel, row, column in cells:
        at = np.s_[1 - row :: 2, 1 - column :: 2]
        sparse[channel][at] = padded[at]
    return np.stack([_filled(sparse[0]), _filled_green(sparse[1]), _filled(sparse[2])])


def _filled(sparse: ImageF32) -> ImageF32:
    """Red or blue, one sample in four: (H + 2, W + 2) to (H, W)."""
    centre = sparse[1:-1]
    columns = (sparse[:-2] + sparse[2:]) / np.float32(2) + centre
    return (columns[:, :-2] + columns[:, 2:]) / np.float32(2) + columns[:, 1:-1]


def _filled_green(sparse: ImageF32) -> ImageF32:
    """Green, every other sample, has four direct neighbours: (H + 2, W + 2) to (H, W)."""
    vertical = sparse[:-2, 1:-1] + sparse[2:, 1:-1]
    horizontal = sparse[1:-1, :-2] + sparse[1:-1, 2:]
    total: ImageF32 = vertical + horizontal
    return total / np.float32(4) + sparse[1:-1, 1:-1]


def _decoded(rng: np.random.Generator, decoder: Decoder, side_px: int) -> ImageF32:
    """A scene rendered small and upsampled in stages of ×2; (3, side_px, side_px)."""
    small_px = -(-side_px // 2**decoder.num_stages)
    planes = _scene(rng, small_px)
    detail = rng.uniform(*decoder.detail)
    for _ in range(decoder.num_stages):
        planes += detail * rng.standard_normal(planes.shape, np.float32)
        planes = upsample(planes, decoder_kernel(rng, decoder))
    return planes[:, :side_px, :side_px]


def decoder_kernel(rng: np.random.Generator, decoder: Decoder) -> ImageF32:
    """The (K, K) kernel of one stage, scaled so that the mean brightness stays."""
    kernel = np.outer(decoder.taps, decoder.taps)
    kernel = kernel + decoder.perturbation * rng.standard_normal(kernel.shape)
    return np.asarray(kernel * (4 / kernel.sum()), np.float32)


def upsample(planes: ImageF32, kernel: ImageF32) -> ImageF32:
    """Transposed convolution with stride 2: (3, H, W) to (3, 2H, 2W)."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    _, height, width = padded.shape
    size = len(kernel)
    full = np.zeros((3, 2 * height + size, 2 * width + size), np.float32)
    for row, column in np.ndindex(size, size):
        full[:, row : row + 2 * height : 2, column : column + 2 * width : 2] += kernel[row, column] * padded
    # The padding is two pixels of the result, and the kernel's centre lies behind its first tap.
    start = 2 + (size - 1) // 2
    return full[:, start : start + 2 * planes.shape[1], start : start + 2 * planes.shape[2]]
