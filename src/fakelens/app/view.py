"""A picture's bytes and a detector in; what the page shows out. Knows nothing of Streamlit."""

import contextlib
import ctypes
import io
import threading
from dataclasses import dataclass

from PIL import Image

from fakelens.core.imaging import Container, ImageRefused
from fakelens.core.scoring import VERDICT_WORDS, OperatingPoint, Threshold, Verdict
from fakelens.runtime.bundle import BundledModel
from fakelens.runtime.detector import OnnxDetector

MAX_FILE_MB = 10
MAX_PICTURES = 20
FILE_TYPES = ("jpg", "jpeg", "png", "webp")
THUMBNAIL_PX = 512

DEMO_NOTICE = (
    "This is a demonstration, trained on synthetic pictures: its verdicts on real pictures mean nothing. "
    "It shows how the page works, not how well a detector does."
)
NOTHING_STORED = "Nothing is stored: a picture is forgotten when you remove it or close the page."
CANNOT_TELL = (
    "A verdict is a statistical guess, not a proof. A detector misses pictures from generators that it never "
    "saw in training, and it sometimes takes a real photograph for a generated one.",
    "It cannot tell whether what a picture shows is true: a real photograph can mislead, and it does not see "
    "retouching or small edits for what they are.",
    "Screenshots, strong compression, filters and resizing blur the traces that it looks for. It sees the "
    "central square of the picture only, at a small size.",
    "Do not accuse anybody on the strength of it.",
)
_COLOURS = {Verdict.FAKE: "#c8622a", Verdict.REAL: "#2a7f7a", Verdict.UNCERTAIN: "#7d8790"}
# Decoding is what takes memory: one picture at a time, whoever asks, keeps the server within a small machine.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class PictureView:
    """One judged picture, as the page shows it."""

    name: str
    verdict: Verdict
    words: str
    probability: float
    sentence: str
    caption: str
    bar_html: str
    thumbnail_png: bytes


@dataclass(frozen=True)
class RefusedView:
    """One file that could not be judged, and why."""

    name: str
    message: str


def judge(
    detector: OnnxDetector, name: str, data: bytes, threshold: Threshold | None = None
) -> PictureView | RefusedView:
    """Judge the untrusted bytes of the uploaded file `name`; one call at a time in the whole process.

    The verdict is that of `threshold`, by default the detector's own.
    """
    threshold = threshold or detector.threshold
    if len(data) > MAX_FILE_MB * 2**20:
        return RefusedView(name, f"The file has {size_words(len(data))}; the limit is {MAX_FILE_MB} MB a file.")
    try:
        with _ONE_AT_A_TIME:
            picture, container = detector.decode(data)
            probability = detector.probability(picture)
            thumbnail_png = _thumbnail_png(picture)
            _give_memory_back()
    except ImageRefused as refusal:
        return RefusedView(name, f"This file cannot be judged: {refusal}.")
    verdict = threshold.verdict(probability)
    return PictureView(
        name=name,
        verdict=verdict,
        words=_capital(VERDICT_WORDS[verdict]),
        probability=probability,
        sentence=_sentence(probability, verdict, threshold),
        caption=_caption(container),
        bar_html=bar_html(probability, threshold),
        thumbnail_png=thumbnail_png,
    )


def figure_rows(model: BundledModel) -> list[tuple[str, str, str]]:
    """The model's own test figures as (label, value, what it means)."""
    figures = model.metrics
    return [
        ("Accuracy", percent(figures.accuracy), "share of all test images that it judged rightly"),
        ("Precision", percent(figures.precision), "share of those it called AI-generated that are"),
        ("Recall", percent(figures.recall), "share of the AI-generated that it found"),
        ("F1", f"{figures.f1:.3f}", "harmonic mean of precision and recall"),
        ("AUC", f"{figures.auc:.3f}", "how well it ranks generated above real images; 0.5 is chance"),
        ("Test images", f"{figures.num_images:,}", "none of them was used in training"),
        ("Model size", size_words(model.size_bytes), f"the {model.variant} ONNX file"),
        ("Time", f"{model.latency_ms:.1f} ms", "an image, measured on a CPU when the model was exported"),
    ]


def threshold_choices(detector: OnnxDetector) -> dict[str, Threshold]:
    """The verdict thresholds that a visitor may choose between, by their names; the detector's default comes first."""
    named = {_point_words(point): point.threshold for point in detector.operating_points}
    return dict(sorted(named.items(), key=lambda item: item[1] != detector.threshold))


def _point_words(point: OperatingPoint) -> str:
    rate = point.false_positive_rate
    if rate is None:
        return "Balanced: the likelier side"
    return f"Few false alarms: {percent(rate)} of validation photographs"


def bar_html(probability: float, threshold: Threshold) -> str:
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
        f'<div style="height:100%;width:{100 * probability:.2f}%;'
        f'background:{_COLOURS[threshold.verdict(probability)]}"></div>{ticks}</div>'
        '<div style="display:flex;justify-content:space-between;gap:1rem;font-size:.85rem;margin-top:.25rem">'
        f"<span>photograph below {percent(threshold.real)}</span>"
        f'<span style="text-align:right">AI-generated from {percent(threshold.fake)}</span></div></div>'
    )


def percent(share: float) -> str:
    """A share of one to at most three digits: `40 %`, `97.5 %`."""
    return f"{100 * share:.3g} %"


def probability_words(probability: float) -> str:
    """A probability to a tenth of a percent that never claims to be certain."""
    if probability >= 0.999:
        return "over 99.9 %"
    return "under 0.1 %" if probability < 0.001 else f"{100 * probability:.1f} %"


def as_text(words: str) -> str:
    """Words as Markdown that shows them as they are: a generator's name may hold what Markdown would read."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#+!|$~:" else c for c in words)


def size_words(num_bytes: int) -> str:
    """A file's size: `2.6 MB`, `48 kB`."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{max(1, round(num_bytes / 1e3))} kB"


def _sentence(probability: float, verdict: Verdict, threshold: Threshold) -> str:
    given = f"The detector gives {probability_words(probability)}"
    if verdict is Verdict.FAKE:
        return f"{given}; from {percent(threshold.fake)} on it calls a picture AI-generated."
    if verdict is Verdict.REAL:
        return f"{given}; below {percent(threshold.real)} it calls a picture a photograph."
    return f"{given}; between {percent(threshold.real)} and {percent(threshold.fake)} it does not decide."


def _caption(container: Container) -> str:
    size = f"{container.width_px} × {container.height_px} px"
    return f"{size}, {container.format}, {size_words(container.num_bytes)}"


def _thumbnail_png(picture: Image.Image) -> bytes:
    small = picture.copy()
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _give_memory_back() -> None:
    """Hand freed pages back to the system, which glibc alone keeps otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
