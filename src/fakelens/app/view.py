"""Judging within the app's limits, one picture at a time in the process; and the page's words and bars for the results.

Knows nothing of Streamlit. The steps are those of `runtime.judgement`.
"""

import contextlib
import html
import io
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from PIL import Image

from fakelens.app import heatmap
from fakelens.app.limits import LIMITS
from fakelens.app.wording import size_words
from fakelens.core.imaging import ImageRefused, read_image
from fakelens.core.machine import give_memory_back
from fakelens.core.scoring import VERDICT_WORDS, Threshold, Verdict, capital, percent, probability_words
from fakelens.runtime import judgement
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import Answer, Assessment, Judgement, Picture, Refusal

FORGOTTEN = "this picture had to make room for those of other visitors: remove it and add it again"
_PREVIEW_PX = 640  # short side of what a screen is shown
_LEAST_MAPPED_PX = 480  # short side of a picture under its heat-map
_HEATMAP_OPACITY = 0.6
COLOURS = {Verdict.FAKE: "#c8622a", Verdict.REAL: "#2a7f9a", Verdict.UNCERTAIN: "#7d8790"}
# Decoding and running are what takes memory: one picture at a time, whoever asks, fits a small machine.
_ONE_AT_A_TIME = threading.Lock()


def judge(data: bytes, detector: OnnxDetector) -> Answer:
    """Judge the untrusted bytes of one picture by the detector's own thresholds."""
    with _alone():
        return judgement.judge(data, detector, limits=LIMITS)


def take(name: str, data: bytes, sides_px: Collection[int]) -> Picture | Refusal:
    """Decode the untrusted bytes of the file `name` for every short side in pixels that is wanted, and for the page."""
    try:
        with _alone():
            picture = judgement.read_picture(name, data, sides_px, LIMITS)
            side_px, image = max(picture.images.items())
            # Not enlarged: a small picture is as sharp as it is.
            shown_px = min(_PREVIEW_PX, picture.container.width_px, picture.container.height_px)
            if shown_px > side_px:
                image = judgement.middle(read_image(data, short_side_px=shown_px, limits=LIMITS).image)
            return replace(picture, preview=heatmap.as_jpeg(image))
    except ImageRefused as refusal:
        return Refusal(name, "", str(refusal))


def assess(detector: OnnxDetector, picture: Picture) -> Assessment | None:
    """One detector's assessment of a picture; None when its pixels had to make room."""
    with _alone():
        return judgement.assess(detector, picture) if detector.stored_px in picture.images else None


def answer(picture: Picture | Refusal, assessment: Assessment | None, detector: str, threshold: Threshold) -> Answer:
    """The answer to show for one picture under one detector."""
    if isinstance(picture, Refusal):
        return Refusal(picture.name, detector, picture.error)
    if assessment is None:
        return Refusal(picture.name, detector, FORGOTTEN, picture.sha256)
    return judgement.judgement_of(picture, assessment, threshold)


def with_heatmap(picture: Picture, assessment: Assessment, stored_px: int) -> bytes:
    """The picture for the page with the heat-map over what the detector saw of it at `stored_px`."""
    with Image.open(io.BytesIO(picture.preview)) as image:
        # So large that the frame around what was seen stays thin.
        enlarged = max(1, _LEAST_MAPPED_PX // min(image.size))
        shown = image.resize((enlarged * image.width, enlarged * image.height), Image.Resampling.BICUBIC)
    scale = min(shown.size) / stored_px
    left, top, right, bottom = (round(scale * edge) for edge in assessment.box)
    box = left, top, min(shown.width, right), min(shown.height, bottom)
    return heatmap.as_jpeg(heatmap.overlay(shown, assessment.heatmap, box, _HEATMAP_OPACITY))


def caption(shown: Judgement) -> str:
    """The file's facts in a line."""
    container = shown.container
    size = f"{container.width_px} × {container.height_px} px"
    return (
        f"{size}, {container.format}, {size_words(container.num_bytes)}. Processed in {max(0.01, shown.seconds):.2f} s."
    )


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
        f'<div style="height:100%;width:{100 * probability:.2f}%;background:{COLOURS[verdict]}"></div>{ticks}</div>'
        '<div style="display:flex;justify-content:space-between;gap:1rem;font-size:.85rem;margin-top:.25rem">'
        f"<span>photograph below {percent(threshold.real)}</span>"
        f'<span style="text-align:right">AI-generated from {percent(threshold.fake)}</span></div></div>'
    )


def row_html(detector: str, shown: Judgement) -> str:
    """One detector's verdict in a line with a small bar; the name is escaped, the rest is numbers and our words."""
    but = ", which says nothing here: see the reason below" if shown.is_overruled else ""
    return (
        '<div style="margin-bottom:.15rem"><div style="display:flex;justify-content:space-between;gap:1rem">'
        f"<b>{html.escape(detector)}</b><span>{capital(shown.words)}</span></div>"
        f'<div role="img" aria-label="Probability that the picture is AI-generated: '
        f'{probability_words(shown.probability)}" style="height:.55rem;border-radius:.3rem;overflow:hidden;'
        f'background:rgba(128,128,128,.2)"><div style="height:100%;width:{100 * shown.probability:.2f}%;'
        f'background:{COLOURS[shown.verdict]}"></div></div>'
        f'<div style="font-size:.85rem">Probability of AI: {probability_words(shown.probability)}{but}</div></div>'
    )


def combined(verdicts: Collection[Verdict]) -> str:
    """One sentence for what several detectors say about one picture."""
    counts = Counter(verdicts).most_common()
    (most, count), num = counts[0], len(verdicts)
    if num == 1:
        return capital(VERDICT_WORDS[most])
    if count == num:
        return f"{'Both' if num == 2 else f'All {num}'} detectors: {VERDICT_WORDS[most]}"
    shares = ", ".join(f"{count} {VERDICT_WORDS[verdict]}" for verdict, count in counts)
    if {Verdict.FAKE, Verdict.REAL} <= set(verdicts):
        return f"The detectors contradict each other ({shares}): treat this picture as undecided"
    decided = next(verdict for verdict, _ in counts if verdict is not Verdict.UNCERTAIN)
    share = sum(verdict is decided for verdict in verdicts)
    return f"{share} of {num} detectors: {VERDICT_WORDS[decided]}; {num - share} uncertain"


def combined_briefly(verdicts: Collection[Verdict]) -> str:
    """What several detectors say about one picture, in a few words: `Likely AI-generated (2 of 3)`."""
    decided = Counter(verdict for verdict in verdicts if verdict is not Verdict.UNCERTAIN)
    if len(decided) > 1:
        return "Undecided: contradictory"
    verdict, count = next(iter(decided.items()), (Verdict.UNCERTAIN, len(verdicts)))
    share = f" ({count} of {len(verdicts)})" if len(verdicts) > 1 else ""
    return f"{capital(VERDICT_WORDS[verdict])}{share}"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with _ONE_AT_A_TIME:
        try:
            yield
        finally:
            give_memory_back()
