"""What degradations cost: figures worked out by hand, a detector that is fooled, and a sweep that stays small."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fakelens.core.imaging import ImageF32, ImageU8, to_model_input
from fakelens.dataset.store import ManifestRow, SplitData
from fakelens.evaluation import robustness
from fakelens.evaluation.degradations import STEPS, Step, degrade
from fakelens.evaluation.plots import plot_robustness
from fakelens.evaluation.robustness import RobustnessScores, StepFigures, summarise, sweep

SIDE = 64
BLUR = next(step for step in STEPS if step.family == "blur" and step.severity == 3)
NOISE = next(step for step in STEPS if step.family == "noise" and step.severity == 3)


def split(labels: list[int]) -> SplitData:
    """Grainy pictures, the fakes redder than the photographs."""
    rng = np.random.default_rng(len(labels))
    squares = rng.integers(40, 200, (len(labels), SIDE, SIDE, 3), dtype=np.uint8)
    squares[np.array(labels) == 1, :, :, 0] += 50
    rows = tuple(
        ManifestRow("test", row, label, "", f"{row}", "", "", row, "PNG", SIDE, SIDE, 1, 0.0, 0.0)
        for row, label in enumerate(labels)
    )
    return SplitData("test", squares, rows)


def redness(images: ImageF32) -> ImageF32:
    return (images[:, 0].mean(axis=(1, 2)) - images[:, 1].mean(axis=(1, 2)) - 0.1) * 100


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep of two degradations only, for speed."""
    monkeypatch.setattr(robustness, "STEPS", (BLUR, NOISE))


def table(*steps: tuple[Step, list[float]], labels: list[int]) -> RobustnessScores:
    num = len(labels)
    return RobustnessScores(
        step=np.repeat(np.arange(len(steps)), num),
        family=np.repeat([step.family for step, _ in steps], num),
        step_label=np.repeat([step.label for step, _ in steps], num),
        severity=np.repeat([step.severity for step, _ in steps], num),
        index=np.tile(np.arange(num) * 3, len(steps)),
        label=np.tile(labels, len(steps)),
        logit=np.concatenate([logits for _, logits in steps]).astype(np.float32),
    )


def by_hand() -> RobustnessScores:
    stored = (Step("none", "as stored", 0, ()), [-2, -1, 1, -1, 3, 2])
    blurred = (BLUR, [-2.5, 1.5, 2.5, -1, 4, 0.5])
    return table(stored, blurred, labels=[0, 0, 0, 1, 1, 1])


def test_figures_by_hand() -> None:
    stored, blurred = summarise(by_hand())
    # Undegraded: photographs −2, −1, 1 and fakes −1, 3, 2; of nine pairs 7 are in order and one is a tie.
    assert (stored.family, stored.label, stored.severity, stored.num_images) == ("none", "as stored", 0, 6)
    assert stored.auc == stored.one_class_auc == pytest.approx(7.5 / 9)
    assert stored.recall == stored.balanced_accuracy == pytest.approx(2 / 3)
    assert stored.false_positive_rate == stored.false_positive_rate_as_stored == pytest.approx(1 / 3)
    assert stored.flips == 0
    # Blurred: photographs −2.5, 1.5, 2.5 and fakes −1, 4, 0.5; only the second photograph's verdict is another.
    assert (blurred.family, blurred.label, blurred.severity) == ("blur", "σ 2 px", 3)
    assert blurred.auc == pytest.approx(5 / 9)
    assert blurred.flips == pytest.approx(1 / 6)
    assert blurred.recall == pytest.approx(2 / 3)
    assert blurred.false_positive_rate == pytest.approx(2 / 3)
    assert blurred.false_positive_rate_as_stored == pytest.approx(1 / 3)
    assert blurred.balanced_accuracy == pytest.approx(1 / 2)
    # Blurred photographs −2.5, 1.5, 2.5 against undegraded fakes −1, 3, 2.
    assert blurred.one_class_auc == pytest.approx(6 / 9)


def test_the_threshold_itself_is_fake() -> None:
    scores = table((Step("none", "as stored", 0, ()), [0, 0]), labels=[0, 1])
    (stored,) = summarise(scores)
    assert (stored.recall, stored.false_positive_rate, stored.auc) == (1, 1, 0.5)


def test_figures_are_ready_for_json() -> None:
    figures = summarise(by_hand())
    plain = json.loads(json.dumps([asdict(step) for step in figures], allow_nan=False))
    assert tuple(StepFigures(**step) for step in plain) == figures


def test_other_pictures_cannot_be_compared() -> None:
    scores = by_hand()
    scores.index[-1] += 1
    with pytest.raises(AssertionError, match="the undegraded pictures"):
        summarise(scores)


@pytest.mark.usefixtures("two_steps")
def test_a_detector_that_takes_blur_for_fake_is_caught() -> None:
    def smoothness(images: ImageF32) -> ImageF32:
        steps = np.abs(np.diff(images, axis=3)).mean(axis=(1, 2, 3))
        return redness(images) + np.where(steps < 0.05, 100, 0)

    data = split([0, 1] * 8)
    stored, blurred, _ = summarise(sweep(smoothness, data, 48, 16, seed=0))
    assert (stored.auc, stored.one_class_auc, stored.false_positive_rate) == (1, 1, 0)
    # Both classes rise alike, so that AUC on blurred pictures alone sees nothing.
    assert (blurred.auc, blurred.recall) == (1, 1)
    assert (blurred.false_positive_rate, blurred.false_positive_rate_as_stored) == (1, 0)
    assert (blurred.one_class_auc, blurred.balanced_accuracy, blurred.flips) == (0, 0.5, 0.5)


@pytest.mark.usefixtures("two_steps")
def test_a_detector_that_blur_does_not_move_is_not() -> None:
    stored, blurred, _ = summarise(sweep(redness, split([0, 1] * 8), 48, 16, seed=0))
    for figures in (stored, blurred):
        assert (figures.auc, figures.one_class_auc, figures.flips, figures.false_positive_rate) == (1, 1, 0, 0)


@pytest.mark.usefixtures("two_steps")
def test_rows_belong_to_their_pictures() -> None:
    data = split([0, 1, 1, 0, 1, 1])
    scores = sweep(redness, data, 48, 4, seed=2)
    assert len(scores) == 3 * 4
    for number, step in enumerate((None, BLUR, NOISE)):
        rows = scores.of(number)
        assert rows.label.tolist() == data.labels[rows.index].tolist()
        squares = [degraded(data, index, step, seed=2) for index in rows.index.tolist()]
        assert rows.logit == pytest.approx(redness(to_model_input(np.stack(squares), 48)), rel=1e-4)
        assert set(zip(rows.family.tolist(), rows.severity.tolist(), strict=True)) == {
            (step.family, step.severity) if step else ("none", 0)
        }


def degraded(data: SplitData, index: int, step: Step | None, seed: int) -> ImageU8:
    square = data.squares[index]
    return degrade(square, step, np.random.default_rng((seed, 9, index))) if step else square


@pytest.mark.usefixtures("two_steps")
def test_a_balanced_and_seeded_choice() -> None:
    data = split([0] * 30 + [1] * 12)

    def chosen(num: int, seed: int) -> list[int]:
        return sweep(redness, data, 48, num, seed).of(0).index.tolist()

    assert chosen(10, 1) == chosen(10, 1) == sorted(set(chosen(10, 1)))
    assert chosen(10, 1) != chosen(10, 2)
    assert data.labels[chosen(10, 1)].tolist() == [0] * 5 + [1] * 5
    assert len(chosen(11, 1)) == 10
    assert data.labels[chosen(1000, 1)].tolist() == [0] * 12 + [1] * 12
    assert set(chosen(10, 1)) < set(chosen(16, 1))


@pytest.mark.usefixtures("two_steps")
def test_noise_belongs_to_the_picture_and_not_to_the_choice() -> None:
    data = split([0, 1] * 10)
    few, many = (sweep(redness, data, 48, num, seed=4).of(2) for num in (6, 20))
    among = np.isin(many.index, few.index)
    assert many.logit[among] == pytest.approx(few.logit, rel=1e-5)


@pytest.mark.parametrize(("labels", "num"), [([0, 0, 0], 10), ([1, 1], 10), ([0, 1], 1), ([0, 1], 0)])
def test_one_kind_missing_is_refused(labels: list[int], num: int) -> None:
    with pytest.raises(ValueError, match="needs photographs and fakes"):
        sweep(redness, split(labels), 48, num, seed=0)


class Counting:
    """A Reporter that adds up what it is told."""

    def __init__(self) -> None:
        self.total = 0.0
        self.done = 0.0
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        raise AssertionError(text)

    @contextmanager
    def task(self, title: str, total: float) -> Iterator["Counting"]:  # noqa: ARG002
        self.total = total
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.done += steps
        self.notes.append(note)


def test_one_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is degraded only when the one before it has been scored."""
    monkeypatch.setattr(robustness, "STEPS", (BLUR,))
    log: list[str] = []

    def logged(square: ImageU8, step: Step, rng: np.random.Generator) -> ImageU8:
        log.append("degrade")
        return degrade(square, step, rng)

    def score(images: ImageF32) -> ImageF32:
        log.append(f"score {len(images)}")
        return redness(images)

    monkeypatch.setattr(robustness, "degrade", logged)
    reporter = Counting()
    sweep(score, split([0, 1] * 35), 48, 70, seed=0, reporter=reporter)
    stored = ["score 32", "score 32", "score 6"]
    assert log == [*stored, *["degrade"] * 32, stored[0], *["degrade"] * 32, stored[1], *["degrade"] * 6, stored[2]]
    assert reporter.done == reporter.total == 2 * 70
    assert list(dict.fromkeys(reporter.notes)) == ["none, as stored", "blur, σ 2 px"]


def test_only_the_chosen_squares_are_read() -> None:
    class Watched(np.ndarray):  # type: ignore[type-arg]
        reads: list[int] = []  # noqa: RUF012

        def __getitem__(self, key: npt.NDArray[np.int64]) -> ImageU8:
            self.reads.append(len(key))
            return np.asarray(super().__getitem__(key))

    data = split([0, 1] * 50)
    watched = SplitData(data.name, data.squares.view(Watched), data.rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robustness, "STEPS", ())
        sweep(redness, watched, 48, 40, seed=0)
    assert Watched.reads == [32, 8]


def test_every_step_is_swept_in_order_and_drawn(tmp_path: Path) -> None:
    figures = summarise(sweep(redness, split([0, 1]), 48, 2, seed=0))
    expected = [("none", "as stored", 0), *((step.family, step.label, step.severity) for step in STEPS)]
    assert [(step.family, step.label, step.severity) for step in figures] == expected
    path = plot_robustness(tmp_path / "plots" / "robustness.png", figures, "A detector")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 800


def test_round_trip(tmp_path: Path) -> None:
    scores = by_hand()
    scores.write(tmp_path / "deep" / "robustness.parquet")
    read = RobustnessScores.read(tmp_path / "deep" / "robustness.parquet")
    for name, column in scores.__dict__.items():
        assert column.tolist() == getattr(read, name).tolist(), name
        assert column.dtype.kind == getattr(read, name).dtype.kind, name
    assert read.logit.dtype == np.float32
    assert summarise(read) == summarise(scores)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["robustness.parquet"]
