"""A file's bytes and a detector in; a judgement out. The one path of command line, page, endpoint and Python.

`judge` is all of it. For several detectors or thresholds of one picture its three steps are called, so that each is
done once: `read_picture` decodes a file, `assess` asks a detector, `judgement_of` draws the verdict at its thresholds.
"""

import hashlib
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fakelens.core.imaging import DEFAULT_LIMITS, Container, ImageRefused, Limits, read_image
from fakelens.core.scoring import VERDICT_WORDS, Threshold, Verdict, percent, probability_words
from fakelens.runtime.cautions import DEMO, Caution, cautions_of
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.provenance import Mark, credentials_mark, marks_of

# Of a very long picture only the middle is kept: the models see the central square, and the rest takes memory.
_MAX_KEPT_ASPECT = 3
_DIGITS = 6  # of a probability that is written down


@dataclass(frozen=True)
class Picture:
    """A decoded file; its bytes are not needed any more."""

    name: str
    sha256: str
    """Of the file's bytes."""
    container: Container
    marks: tuple[Mark, ...]
    seconds: float
    """Decoding."""
    images: dict[int, Image.Image]
    """The upright RGB picture for each short side in pixels that was asked for; may be emptied to save memory."""
    is_one_of_several: bool
    """Whether the file holds further pages or frames, which are not judged."""
    preview: bytes = b""
    """The picture as a JPEG for a screen; empty where nobody looks at it."""

    @property
    def num_bytes(self) -> int:
        """Memory that the pixels take."""
        return len(self.preview) + sum(3 * image.width * image.height for image in self.images.values())


@dataclass(frozen=True)
class Assessment:
    """One detector's score of one picture, whatever the thresholds."""

    detector: str
    detector_sha256: str
    """Of its ONNX file."""
    probability: float
    heatmap: npt.NDArray[np.float32]
    """(h, w) calibrated logits, positive for AI-generated."""
    box: tuple[int, int, int, int]
    """The square that the detector saw: left, top, right, bottom in pixels of the picture."""
    cautions: tuple[Caution, ...]
    seconds: float
    """Scoring."""


@dataclass(frozen=True)
class Judgement:
    """A verdict on one file, and everything that a record of it needs."""

    name: str
    """The file's path or name."""
    sha256: str
    """Of the file's bytes."""
    detector: str
    """Its name."""
    detector_sha256: str
    """Of its ONNX file."""
    threshold: Threshold
    """The pair of thresholds that decided."""
    probability: float
    """That the picture is AI-generated."""
    verdict: Verdict
    """`"fake"`, `"real"` or `"uncertain"`, with which it compares equal."""
    cautions: tuple[Caution, ...]
    """Reasons for care."""
    marks: tuple[Mark, ...]
    """What the file says about its origin."""
    container: Container
    """Format, size in pixels and bytes, and compression."""
    seconds: float = field(compare=False)
    """Decoding and scoring."""

    @property
    def words(self) -> str:
        """The verdict for a person."""
        return VERDICT_WORDS[self.verdict]

    @property
    def is_overruled(self) -> bool:
        """Whether a caution decided against the score."""
        return self.verdict is not self.threshold.verdict(self.probability)

    @property
    def sentence(self) -> str:
        """The meaning of the score at these thresholds, as a sentence."""
        given = f"The detector gives {probability_words(self.probability)}"
        if self.is_overruled:
            return f"{given}, but for the reason below that says nothing."
        real, fake = percent(self.threshold.real), percent(self.threshold.fake)
        if self.verdict is Verdict.FAKE:
            return f"{given}; from {fake} on it calls a picture AI-generated."
        if self.verdict is Verdict.REAL:
            return f"{given}; below {real} it calls a picture a photograph."
        return f"{given}; between {real} and {fake} it does not decide."

    @property
    def remarks(self) -> tuple[str, ...]:
        """Marks and cautions in words."""
        return (*(mark.words for mark in self.marks), *(caution.words for caution in self.cautions))

    def as_dict(self) -> dict[str, Any]:
        """A row of JSON and CSV; the same keys as a refusal's."""
        words = tuple(caution.words for caution in self.cautions)
        marks = tuple(mark.words for mark in self.marks)
        return _row(self.name, self.detector, round(self.probability, _DIGITS), str(self.verdict), None, words, marks)


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be judged, and why."""

    name: str
    """The file's path or name."""
    detector: str
    """Its name; empty where none was asked."""
    error: str
    """Why, for a person."""
    sha256: str = ""
    """Of the file's bytes; empty where they could not be read."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """The reason."""
        return (self.error,)

    def as_dict(self) -> dict[str, Any]:
        """A row of JSON and CSV; the same keys as a judgement's."""
        return _row(self.name, self.detector, None, None, self.error, (), ())


Answer = Judgement | Refusal
COLUMNS = ("path", "detector", "probability", "verdict", "error", "cautions", "marks")


def judge(
    data: bytes,
    detector: OnnxDetector,
    threshold: Threshold | None = None,
    *,
    name: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> Answer:
    """Judge the untrusted bytes of one picture, by the detector's own thresholds or another pair."""
    try:
        return judge_or_raise(data, detector, threshold, name=name, limits=limits)
    except ImageRefused as refusal:
        return Refusal(name, detector.name, str(refusal), hashlib.sha256(data).hexdigest())


def judge_or_raise(
    data: bytes,
    detector: OnnxDetector,
    threshold: Threshold | None = None,
    *,
    name: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> Judgement:
    """Judge as `judge` does, with a refusal raised.

    Raises:
        ImageRefused: when the bytes are no picture that can be judged.
    """
    picture = read_picture(name, data, [detector.stored_px], limits)
    return judgement_of(picture, assess(detector, picture), threshold or detector.threshold)


def read_picture(name: str, data: bytes, sides_px: Collection[int], limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode the untrusted bytes of a file once for each of the short sides that detectors ask for.

    Raises:
        ImageRefused: when the bytes are no picture that can be judged.
    """
    started_s = time.perf_counter()
    decoded = {side_px: read_image(data, short_side_px=side_px, limits=limits) for side_px in sorted(set(sides_px))}
    first = next(iter(decoded.values()))
    images = {side_px: middle(each.image) for side_px, each in decoded.items()}
    marks, sha256 = marks_of(first.metadata), hashlib.sha256(data).hexdigest()
    if credentials := credentials_mark(data, first.container.format, first.metadata.credentials):
        marks = (credentials, *(mark for mark in marks if mark.origin != credentials.origin))
    seconds = time.perf_counter() - started_s
    return Picture(name, sha256, first.container, marks, seconds, images, first.is_one_of_several)


def assess(detector: OnnxDetector, picture: Picture) -> Assessment:
    """Ask a detector about a picture that was decoded for its size."""
    started_s = time.perf_counter()
    image = picture.images[detector.stored_px]
    probability, heatmap = detector.examine(image)
    cautions = cautions_of(picture.container, image, detector.input_px, is_one_of_several=picture.is_one_of_several)
    cautions = (*([DEMO] if detector.demo else []), *cautions)
    seconds = time.perf_counter() - started_s
    box = detector.heatmap_box(image)
    return Assessment(detector.name, detector.sha256, probability, heatmap, box, cautions, seconds)


def judgement_of(picture: Picture, assessment: Assessment, threshold: Threshold) -> Judgement:
    """The verdict; a caution of the undecided kind makes it uncertain, and the score stays."""
    verdict = threshold.verdict(assessment.probability)
    if any(caution.undecided for caution in assessment.cautions):
        verdict = Verdict.UNCERTAIN
    return Judgement(
        name=picture.name,
        sha256=picture.sha256,
        detector=assessment.detector,
        detector_sha256=assessment.detector_sha256,
        threshold=threshold,
        probability=assessment.probability,
        verdict=verdict,
        cautions=assessment.cautions,
        marks=picture.marks,
        container=picture.container,
        seconds=picture.seconds + assessment.seconds,
    )


def _row(*values: Any) -> dict[str, Any]:
    return dict(zip(COLUMNS, values, strict=True))


def middle(image: Image.Image) -> Image.Image:
    """The image without the ends of its long side; as much from each, so that the central square stays the same."""
    width, height = image.size
    across = max(0, (width - _MAX_KEPT_ASPECT * height) // 2)
    down = max(0, (height - _MAX_KEPT_ASPECT * width) // 2)
    return image.crop((across, down, width - across, height - down)) if across or down else image
