"""Untrusted bytes, a detector and thresholds in; what the page shows out. Knows nothing of Streamlit.

Three steps, so that each is done once: `take` decodes a file, `examine` asks a detector, `judged` puts the answer into
words for a pair of thresholds.
"""

import contextlib
import ctypes
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.app import cautions, heatmap, limits, provenance
from fakelens.app.cautions import Caution
from fakelens.app.provenance import Statement
from fakelens.app.wording import capital, percent, probability_words, size_words
from fakelens.core import imaging
from fakelens.core.imaging import Container, ImageRefused
from fakelens.core.scoring import VERDICT_WORDS, Threshold, Verdict
from fakelens.runtime.detector import OnnxDetector

FORGOTTEN = "This picture had to make room for those of other visitors: remove it and add it again."
_COLOURS = {Verdict.FAKE: "#c8622a", Verdict.REAL: "#2a7f9a", Verdict.UNCERTAIN: "#7d8790"}
# Of a very long picture only the middle is kept: the models see the central square, and the rest takes memory.
_MAX_KEPT_ASPECT = 3
# Decoding and running are what takes memory: one picture at a time, whoever asks, fits a small machine.
_ONE_AT_A_TIME = threading.Lock()
_M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True)
class Taken:
    """One file that was taken in; its bytes are not needed any more."""

    name: str
    container: Container
    statements: tuple[Statement, ...]
    """What the file says of itself; see `provenance`."""
    seconds: float
    """Decoding."""
    pictures: dict[int, Image.Image]
    """The upright picture for every short side in pixels that a model of the bundle asks for; `Desk` may empty it."""

    @property
    def num_bytes(self) -> int:
        """Memory that the pictures take."""
        return sum(3 * picture.width * picture.height for picture in self.pictures.values())


@dataclass(frozen=True)
class Refused:
    """One file that cannot be judged, and why."""

    name: str
    message: str


@dataclass(frozen=True)
class Examined:
    """What one detector says of one picture, whatever the thresholds."""

    probability: float
    map_hw: npt.NDArray[np.float32]
    """(h, w) calibrated logits, positive = AI-generated."""
    box: heatmap.Box
    """The square that the detector saw, in pixels of the picture."""
    cautions: tuple[Caution, ...]
    seconds: float
    """Scoring."""


@dataclass(frozen=True)
class Judged:
    """One picture's verdict, as the page shows it."""

    name: str
    verdict: Verdict
    words: str
    probability: float
    sentence: str
    caption: str
    bar_html: str
    cautions: tuple[Caution, ...]
    statements: tuple[Statement, ...]
    seconds: float


def take(name: str, data: bytes, sides_px: Collection[int]) -> Taken | Refused:
    """Decode the untrusted bytes of the file `name` once for every short side in pixels that is wanted."""
    started_s = time.perf_counter()
    try:
        with _ONE_AT_A_TIME:
            limits.checked(data)
            pictures, container = {}, None
            for side_px in sorted(set(sides_px)):
                picture, container = imaging.decode(data, short_side_px=side_px)
                pictures[side_px] = _middle(picture)
            give_memory_back()
    except ImageRefused as refusal:
        return Refused(name, f"This file cannot be judged: {refusal}.")
    assert container is not None, "a bundle has at least one model"
    seconds = time.perf_counter() - started_s
    return Taken(name, container, provenance.statements(data), seconds, pictures)


def examine(detector: OnnxDetector, taken: Taken) -> Examined | Refused:
    """Ask a detector about a picture; one call at a time in the whole process."""
    started_s = time.perf_counter()
    picture = taken.pictures.get(detector.stored_px)
    if picture is None:
        return Refused(taken.name, FORGOTTEN)
    with _ONE_AT_A_TIME:
        probability, map_hw = detector.examine(picture)
        give_memory_back()
    return Examined(
        probability,
        map_hw,
        detector.heatmap_box(picture),
        cautions.cautions(taken.container, picture, detector.input_px),
        time.perf_counter() - started_s,
    )


def judged(taken: Taken, examined: Examined, threshold: Threshold) -> Judged:
    """The answer in words; a caution of the undecided kind makes the verdict uncertain, and the score stays."""
    verdict = threshold.verdict(examined.probability)
    if any(caution.undecided for caution in examined.cautions):
        verdict = Verdict.UNCERTAIN
    seconds = taken.seconds + examined.seconds
    return Judged(
        name=taken.name,
        verdict=verdict,
        words=capital(VERDICT_WORDS[verdict]),
        probability=examined.probability,
        sentence=_sentence(examined.probability, verdict, threshold),
        caption=f"{_caption(taken.container)}. Looked at in {seconds:.2f} s.",
        bar_html=bar_html(examined.probability, threshold, verdict),
        cautions=examined.cautions,
        statements=taken.statements,
        seconds=seconds,
    )


def shown_jpeg(picture: Image.Image, examined: Examined | None, opacity: float) -> bytes:
    """A picture for the page, with the heat-map over it where there is one and `opacity` is not 0."""
    if examined is not None and opacity > 0:
        picture = heatmap.overlay(picture, examined.map_hw, examined.box, opacity)
    return heatmap.as_jpeg(picture)


def bar_html(probability: float, threshold: Threshold, verdict: Verdict) -> str:
    """The probability as a bar with both thresholds marked; HTML made of numbers alone."""
    ticks = "".join(
        f'<div style="position:absolute;top:0;bottom:0;left:calc({100 * value:.2f}% - 1px);width:2px;'
        'background:currentColor"></div>'
        for value in (threshold.real, threshold.fake)
    )
    said = probability_words(probability)
    return (
        f'<div role="img" aria-label="Probability that the picture is AI-generated: {said}">'
        f'<div style="margin-bottom:.3rem">Probability that it is AI-generated: <b>{said}</b></div>'
        '<div style="position:relative;height:1.1rem;border-radius:.35rem;overflow:hidden;'
        'background:rgba(128,128,128,.2)">'
        f'<div style="height:100%;width:{100 * probability:.2f}%;background:{_COLOURS[verdict]}"></div>{ticks}</div>'
        '<div style="display:flex;justify-content:space-between;gap:1rem;font-size:.85rem;margin-top:.25rem">'
        f"<span>photograph below {percent(threshold.real)}</span>"
        f'<span style="text-align:right">AI-generated from {percent(threshold.fake)}</span></div></div>'
    )


def agreement(verdicts: Collection[Verdict]) -> str:
    """One sentence on how far several detectors agree about one picture."""
    counts = {verdict: sum(1 for other in verdicts if other is verdict) for verdict in Verdict}
    told = [f"{count} {VERDICT_WORDS[verdict]}" for verdict, count in counts.items() if count]
    if len(told) == 1:
        (only,) = (verdict for verdict, count in counts.items() if count)
        return f"All {len(verdicts)} agree: {VERDICT_WORDS[only]}."
    if counts[Verdict.FAKE] and counts[Verdict.REAL]:
        return f"They contradict each other ({', '.join(told)}): take this picture for undecided."
    return f"They agree in part: {', '.join(told)}."


def share_arenas() -> None:
    """Let all threads of this process allocate from two arenas, where glibc gives each one that keeps what it frees."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)


def give_memory_back() -> None:
    """Hand freed pages back to the system, which glibc alone keeps otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _middle(picture: Image.Image) -> Image.Image:
    """The picture without the ends of its long side; as much from each, so that the central square stays the same."""
    width, height = picture.size
    across = max(0, (width - _MAX_KEPT_ASPECT * height) // 2)
    down = max(0, (height - _MAX_KEPT_ASPECT * width) // 2)
    return picture.crop((across, down, width - across, height - down)) if across or down else picture


def _sentence(probability: float, verdict: Verdict, threshold: Threshold) -> str:
    given = f"The detector gives {probability_words(probability)}"
    if verdict is not threshold.verdict(probability):
        return f"{given}, but for the reason below that says nothing."
    if verdict is Verdict.FAKE:
        return f"{given}; from {percent(threshold.fake)} on it calls a picture AI-generated."
    if verdict is Verdict.REAL:
        return f"{given}; below {percent(threshold.real)} it calls a picture a photograph."
    return f"{given}; between {percent(threshold.real)} and {percent(threshold.fake)} it does not decide."


def _caption(container: Container) -> str:
    size = f"{container.width_px} × {container.height_px} px"
    return f"{size}, {container.format}, {size_words(container.num_bytes)}"
