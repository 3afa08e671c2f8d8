"""Ways to score pictures in; their times on this CPU, side by side, out."""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakelens.core import imaging
from fakelens.core.imaging import ImageF32
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.scoring import Scorer
from fakelens.export.benchmark_picture import large_jpeg
from fakelens.export.contestants import Absent, Contestant, Exported, Score, contestants
from fakelens.export.isolated import IsolatedCost, isolated_cost
from fakelens.runtime.detector import OnnxDetector

THREADS, BATCHES = (1, 2), (1, 8, 32)
_WARMUP, _ROUNDS = 5, 31
_RUNS_A_TURN = 3
# Shares of the time limit: a part that has used its share ends after the round that is under way.
_SHARES = {"threads": 0.3, "batches": 0.25, "picture": 0.1}


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 15
    """Turns of each contestant, of three timed runs each."""
    batch_rounds: int = 3
    """Turns at each batch size."""
    processes: int = 3
    """New processes for each file."""
    limit_s: float = 600.0
    """After this time no further round begins; one round of everything is always made."""
    compiled: bool = True
    """Whether PyTorch's compiler is tried, which takes a minute or more for each detector."""


QUICK = Effort(rounds=3, batch_rounds=1, processes=1, limit_s=120.0, compiled=False)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one batch of one picture."""

    p50_ms: float
    p95_ms: float
    num: int


@dataclass(frozen=True)
class EndToEnd:
    """Medians in milliseconds, from the bytes of a 12-megapixel JPEG to its probability, on one thread."""

    decode_ms: float
    """Pillow alone: open, `draft`, load."""
    resize_ms: float
    """What the rest of `imaging.decode` takes: checks, metadata, the bicubic resize."""
    crop_ms: float
    """Centre crop and the harmonising JPEG round trip, and the float array that the model takes."""
    inference_ms: float
    total_ms: float
    """All of it in one go."""


@dataclass(frozen=True)
class Measured:
    """One contestant's figures; those that only a file has are None for the others."""

    detector: str
    name: str
    latency: Mapping[str, Timing]
    """By number of threads, at batch 1."""
    images_per_s: Mapping[str, float]
    """By batch size, on one thread."""
    file: str | None = None
    size_bytes: int | None = None
    accuracy: float | None = None
    load_ms: float | None = None
    peak_mb: float | None = None
    end_to_end: EndToEnd | None = None


@dataclass(frozen=True)
class Benchmark:
    """Everything that was measured, and what was not."""

    measured: Sequence[Measured]
    absent: Sequence[Absent]
    effort: Effort
    seconds: float
    picture: str = field(default="")


def run_benchmark(files: Sequence[Exported], effort: Effort, *, reporter: Reporter = SILENT) -> Benchmark:
    """Time all files, and beside them the other ways to run the same detectors.

    Raises:
        ValueError: when a file or checkpoint cannot be loaded.
    """
    started_s = time.monotonic()
    jpeg = large_jpeg(0)
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        picture = Path(folder) / "picture.jpg"
        picture.write_bytes(jpeg)
        with reporter.task("Loading each file in a process of its own", len(files) * effort.processes) as task:
            fresh = {file: _fresh(file, picture, effort.processes, task) for file in files}
        found = list(contestants(files, Path(folder), compiled=effort.compiled))
        runners = [one for one in found if isinstance(one, Contestant)]
        latency = {threads: _latencies(runners, threads, effort, reporter) for threads in THREADS}
        speed = {batch: _rates(runners, batch, effort, reporter) for batch in BATCHES}
    stages = _end_to_end(files, jpeg, effort, reporter)
    measured = [
        _measured(
            one,
            {str(threads): times[i] for threads, times in latency.items() if i in times},
            {str(batch): rates[i] for batch, rates in speed.items() if i in rates},
            fresh,
            stages,
        )
        for i, one in enumerate(runners)
    ]
    absent = [one for one in found if isinstance(one, Absent)]
    words = f"self-made JPEG, 4000×3000 px, {len(jpeg) / 1e6:.2f} MB, seed 0"
    return Benchmark(measured, absent, effort, round(time.monotonic() - started_s, 1), words)


def median_latencies_ms(scorers: Mapping[str, Scorer], rounds: int = _ROUNDS) -> dict[str, float]:
    """Median time of one picture for each scorer; their runs alternate, so that a noisy machine hits all alike."""
    runs = {name: _on_noise(scorer.score, 1, scorer.input_px) for name, scorer in scorers.items()}
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for number in range(_WARMUP + rounds):
        for name, run in runs.items():
            elapsed = _timed_ms(run)
            if number >= _WARMUP:
                times[name].append(elapsed)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def _fresh(file: Exported, picture: Path, processes: int, task: Task) -> IsolatedCost:
    found = []
    for _ in range(processes):
        found.append(isolated_cost(file.path, picture))
        task.advance()
    load_ms, peak_mb = (statistics.median(getattr(one, name) for one in found) for name in ("load_ms", "peak_mb"))
    return IsolatedCost(load_ms, peak_mb)


def _latencies(runners: Sequence[Contestant], threads: int, effort: Effort, reporter: Reporter) -> dict[int, Timing]:
    """Timings by position in `runners`, of those that can run on so many threads."""
    runs = {i: _on_noise(one.open(threads), 1, one.input_px) for i, one in enumerate(runners) if threads in one.threads}
    limit_s = effort.limit_s * _SHARES["threads"]
    times = _in_turns(runs, effort.rounds, limit_s, f"Timing, threads: {threads}", reporter)
    return {i: Timing(_percentile(values, 50), _percentile(values, 95), len(values)) for i, values in times.items()}


def _percentile(values: Sequence[float], q: int) -> float:
    return round(float(np.percentile(values, q)), 3)


def _rates(runners: Sequence[Contestant], batch: int, effort: Effort, reporter: Reporter) -> dict[int, float]:
    """Pictures a second on one thread by position in `runners`; the others are only compared with, at batch 1."""
    runs = {i: _on_noise(one.open(1), batch, one.input_px) for i, one in enumerate(runners) if one.exported}
    limit_s = effort.limit_s * _SHARES["batches"] / len(BATCHES)
    times = _in_turns(runs, effort.batch_rounds, limit_s, f"Timing, batch size: {batch}", reporter)
    return {i: round(1000 * batch / float(np.median(values)), 2) for i, values in times.items()}


def _in_turns(
    runs: Mapping[int, Callable[[], object]], rounds: int, limit_s: float, title: str, reporter: Reporter
) -> dict[int, list[float]]:
    """Milliseconds of every run. A turn is one run that fills the caches again and some that are timed."""
    times: dict[int, list[float]] = {i: [] for i in runs}
    until_s = time.monotonic() + limit_s
    with reporter.task(title, rounds * len(runs)) as task:
        for number in range(rounds):
            if number and time.monotonic() > until_s:
                break
            for i, run in runs.items():
                run()
                times[i] += [_timed_ms(run) for _ in range(_RUNS_A_TURN)]
                task.advance()
    return times


def _end_to_end(files: Sequence[Exported], jpeg: bytes, effort: Effort, reporter: Reporter) -> dict[Exported, EndToEnd]:
    detectors = {file: OnnxDetector(file.path, num_threads=1) for file in files}
    times: dict[Exported, list[dict[str, float]]] = {file: [] for file in files}
    until_s = time.monotonic() + effort.limit_s * _SHARES["picture"]
    with reporter.task("Timing a 12-megapixel picture", effort.rounds * len(files)) as task:
        for number in range(effort.rounds):
            if number and time.monotonic() > until_s:
                break
            for file, detector in detectors.items():
                times[file].append(_stages_ms(detector, jpeg))
                task.advance()
    return {
        file: EndToEnd(**{f"{name}_ms": round(statistics.median(t[name] for t in turns), 3) for name in turns[0]})
        for file, turns in times.items()
    }


def _stages_ms(detector: OnnxDetector, jpeg: bytes) -> dict[str, float]:
    """One turn: the yardstick, each stage by itself, and the whole."""
    picture, container = detector.decode(jpeg)
    factor = 2 ** max(0, int(np.log2(min(container.width_px, container.height_px) / detector.stored_px)) - 1)
    size = container.width_px // factor, container.height_px // factor
    decode = _timed_ms(lambda: _drafted(jpeg, size))
    decode_and_resize = _timed_ms(lambda: detector.decode(jpeg))
    image = _model_input(detector, picture)
    return {
        "decode": decode,
        "resize": max(0.0, decode_and_resize - decode),
        "crop": _timed_ms(lambda: _model_input(detector, picture)),
        "inference": _timed_ms(lambda: detector.score(image)),
        "total": _timed_ms(lambda: detector.predict(jpeg)),
    }


def _drafted(jpeg: bytes, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        image.draft(None, size)
        image.load()


def _model_input(detector: OnnxDetector, picture: Image.Image) -> ImageF32:
    return imaging.to_model_input(imaging.to_square(picture)[None], detector.input_px)


def _measured(
    one: Contestant,
    latency: Mapping[str, Timing],
    images_per_s: Mapping[str, float],
    fresh: Mapping[Exported, IsolatedCost],
    stages: Mapping[Exported, EndToEnd],
) -> Measured:
    file = one.exported
    if file is None:
        return Measured(one.detector, one.name, latency, images_per_s)
    return Measured(
        one.detector, one.name, latency, images_per_s, file.path.name, file.path.stat().st_size, file.accuracy,
        fresh[file].load_ms, fresh[file].peak_mb, stages[file],
    )  # fmt: skip


def _on_noise(score: Score, batch: int, input_px: int) -> Callable[[], Any]:
    images_nchw = np.random.default_rng(0).random((batch, 3, input_px, input_px), dtype=np.float32)
    return lambda: score(images_nchw)


def _timed_ms(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return (time.perf_counter() - started_s) * 1000
