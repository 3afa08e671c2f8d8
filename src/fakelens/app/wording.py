"""Figures and thresholds in; the words and sentences of the page out."""

from collections.abc import Sequence

from fakelens.app.limits import MAX_FILE_MB, MAX_PICTURES
from fakelens.core.scoring import OperatingPoint, Threshold, capital, percent
from fakelens.runtime.bundle import BundledModel

INTRO = "Was this picture taken by a camera, or made by an AI? Give pictures, and each detector gives its estimate."
NOTHING_STORED = (
    "Nothing is stored: a file is discarded as soon as it has been processed, and what is shown is forgotten when you "
    "remove it or close the page. Nothing is sent anywhere else."
)
LIMITS = (
    f"At most {MAX_PICTURES} pictures at a time, {MAX_FILE_MB} MB each. A file that turns red was not taken: it is "
    "larger, of another kind, or too much at once."
)
CANNOT_TELL = (
    "A verdict is a statistical guess, not a proof. A detector misses pictures from generators that it never "
    "saw in training, and it sometimes takes a real photograph for a generated one.",
    "It cannot tell whether what a picture shows is true: a real photograph can mislead, and it does not see "
    "retouching or small edits for what they are.",
    "Screenshots, strong compression, filters and resizing blur the traces that it looks for. It sees the "
    "central square of the picture only, at a small size.",
    "The heat-map shows which regions moved the score, not which regions are fake.",
    "Do not accuse anybody on the strength of it.",
)
THRESHOLD_HELP = (
    "Standard decides around 50 %. A careful setting asks for more: a line that no more than the stated share of the "
    "photographs reached when it was chosen. Between a detector's two lines a picture is uncertain."
)
NOT_VERIFIED = (
    "The file itself says so; it is no part of the score. Where no signature is verified, anybody can write such a "
    "statement. That a picture carries no mark proves nothing: most generated pictures carry none."
)
MAP_HELP = (
    "Which regions moved the score: orange towards AI-generated, blue towards a photograph, strongest where they moved "
    "it most in this picture. The frame is what the detector saw."
)


def figure_rows(model: BundledModel) -> list[tuple[str, str, str]]:
    """The model's own test figures as (label, value, what it means), in words for people; verdicts at 0.5."""
    figures = model.metrics
    return [
        ("Judged rightly", percent(figures.accuracy), "accuracy: of all test pictures, if it must always decide"),
        ("Fakes found", percent(figures.recall), "recall: of the AI-generated test pictures"),
        (
            "False alarms",
            percent(figures.false_positive_rate),
            "of the test photographs, so many were called AI-generated",
        ),
        ("Test pictures", f"{figures.num_images:,}", "half of them AI-generated; none was used in training"),
        ("Time", f"{model.latency_ms:.1f} ms", "a picture, measured on a CPU when the model was exported"),
        ("Model size", size_words(model.size_bytes), f"the {model.variant} ONNX file"),
    ]


def threshold_choices(models: Sequence[BundledModel]) -> list[str]:
    """Names of the verdict thresholds that a visitor may choose between; the first model's default comes first.

    Where validation is separable, several false-positive rates ask for the same thresholds: one of them is enough.
    """
    names = sorted(_thresholds(models[0]), key=lambda name: threshold_of(models[0], name) != models[0].threshold)
    choices: dict[tuple[Threshold, ...], str] = {}
    for name in names:
        choices.setdefault(tuple(threshold_of(model, name) for model in models), name)
    return list(choices.values())


def threshold_of(model: BundledModel, choice: str) -> Threshold:
    """The model's thresholds of a name out of `threshold_choices`; its default where it has none of this name."""
    return _thresholds(model).get(choice, model.threshold)


def _thresholds(model: BundledModel) -> dict[str, Threshold]:
    return {_point_words(point): point.threshold for point in model.operating_points}


def measured_words(model: BundledModel, choice: str) -> str:
    """Figures of a setting's own thresholds on the test split, and why its rate may not hold; empty if not measured.

    `choice` is one of `threshold_choices`, as for the verdict; a model that has none of it takes its default.
    """
    names = [_point_words(point) for point in model.operating_points]
    thresholds = [point.threshold for point in model.operating_points]
    if choice in names:
        number = names.index(choice)
    elif model.threshold in thresholds:
        number = thresholds.index(model.threshold)
    else:
        return ""
    caution = model.operating_points[number].caution
    sentences = [*model.point_facts[number : number + 1], *([f"{caution}."] if caution else [])]
    return " ".join(capital(words) for words in sentences)


def _point_words(point: OperatingPoint) -> str:
    rate = point.false_positive_rate
    return "Standard" if rate is None else f"Careful: {percent(rate)} false alarms"


def as_text(words: str) -> str:
    """Words as Markdown that shows them as they are: a generator's name may hold what Markdown would read."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#+!|$~:" else c for c in words)


def size_words(num_bytes: int) -> str:
    """A file's size: `2.6 MB`, `48 kB`."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{max(1, round(num_bytes / 1e3))} kB"
