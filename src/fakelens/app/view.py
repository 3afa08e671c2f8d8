"""Judging within the app's limits, one picture at a time in the process; and what the page shows of it.

Knows nothing of Streamlit. The steps are those of `runtime.judgement`.
"""

import contextlib
import ctypes
import threading
from collections.abc import Collection, Iterator

from PIL import Image

from fakelens.app import heatmap
from fakelens.app.limits import LIMITS
from fakelens.app.wording import size_words
from fakelens.core.imaging import ImageRefused
from fakelens.core.scoring import VERDICT_WORDS, Threshold, Verdict, percent, probability_words
from fakelens.runtime import judgement
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import Answer, Assessment, Judgement, Picture, Refusal

FORGOTTEN = "this picture had to make room for those of other visitors: remove it and add it again"
_COLOURS = {Verdict.FAKE: "#c8622a", Verdict.REAL: "#2a7f9a", Verdict.UNCERTAIN: "#7d8790"}
# Decoding and running are what takes memory: one picture at a time, whoever asks, fits a small machine.
_ONE_AT_A_TIME = threading.Lock()
_M_ARENA_MAX = -8  # malloc.h


def judge(data: bytes, detector: OnnxDetector) -> Answer:
    """Judge the untrusted bytes of one picture by the detector's own thresholds."""
    with _alone():
        return judgement.judge(data, detector, limits=LIMITS)


def take(name: str, data: bytes, sides_px: Collection[int]) -> Picture | Refusal:
    """Decode the untrusted bytes of the file `name` for every short side in pixels that is wanted."""
    try:
        with _alone():
            return judgement.read_picture(name, data, sides_px, LIMITS)
    except ImageRefused as refusal:
        return Refusal(name, "", str(refusal))


def assess(detector: OnnxDetector, picture: Picture) -> Assessment | None:
    """Ask a detector about a picture; None when its pixels had to make room."""
    with _alone():
        return judgement.assess(detector, picture) if detector.stored_px in picture.images else None


def answer(picture: Picture | Refusal, assessment: Assessment | None, detector: str, threshold: Threshold) -> Answer:
    """The answer to show for one picture under one detector."""
    if isinstance(picture, Refusal):
        return Refusal(picture.name, detector, picture.error)
    if assessment is None:
        return Refusal(picture.name, detector, FORGOTTEN, picture.sha256)
    return judgement.judgement_of(picture, assessment, threshold)


def shown_jpeg(image: Image.Image, assessment: Assessment | None, opacity: float) -> bytes:
    """A picture for the page, with the heat-map over it where there is one and `opacity` is not 0."""
    if assessment is not None and opacity > 0:
        image = heatmap.overlay(image, assessment.heatmap, assessment.box, opacity)
    return heatmap.as_jpeg(image)


def caption(shown: Judgement) -> str:
    """The file's facts in a line."""
    container = shown.container
    size = f"{container.width_px} × {container.height_px} px"
    return f"{size}, {container.format}, {size_words(container.num_bytes)}. Looked at in {shown.seconds:.2f} s."


def bar_html(probability: float, threshold: Threshold, verdict: Verdict) -> str:
    """The probability as a bar with both thresholds marked; HTML made of numbers alone."""
    ticks = "".join(
        f'<div style="position:absolute;top:0;bottom:0;left:calc({100 * value:.2f}% - 1px);width:2px;'
        'background:currentColor"></div>'
        for value in (threshold.real, threshold.fake)
    )
    words = probability_words(probability)
    return (
        f'<div role="img" aria-label="Probability that the picture is AI-generated: {words}">'
        f'<div style="margin-bottom:.3rem">Probability that it is AI-generated: <b>{words}</b></div>'
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
    shares = [f"{count} {VERDICT_WORDS[verdict]}" for verdict, count in counts.items() if count]
    if len(shares) == 1:
        (only,) = (verdict for verdict, count in counts.items() if count)
        return f"All {len(verdicts)} agree: {VERDICT_WORDS[only]}."
    if counts[Verdict.FAKE] and counts[Verdict.REAL]:
        return f"They contradict each other ({', '.join(shares)}): take this picture for undecided."
    return f"They agree in part: {', '.join(shares)}."


def share_arenas() -> None:
    """Let all threads of this process allocate from two arenas, where glibc gives each one that keeps what it frees."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)


def give_memory_back() -> None:
    """Hand freed pages back to the system, which glibc alone keeps otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with _ONE_AT_A_TIME:
        try:
            yield
        finally:
            give_memory_back()
