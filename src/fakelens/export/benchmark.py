"""The benchmark of exported files: latency, size and memory on this CPU, side by side."""

import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakelens.core import imaging
from fakelens.core.artifacts import environment, write_json
from fakelens.core.cpus import available_cpus
from fakelens.core.imaging import ImageF32
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.scoring import Scorer
from fakelens.core.table import Table
from fakelens.evaluation.plots import new_figure, save_figure
from fakelens.export.contestants import DEFAULT_DYNAMIC, EAGER, Absent, Contestant, Exported, Score, contestants
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


_SIZE_PX = (4000, 3000)  # 12 megapixels, as telephones take


_DOUBLINGS = 5


# A photograph's amplitude falls as one over frequency: each halving of scale halves it.
_COARSEST = 48.0


def large_jpeg(seed: int, size_px: tuple[int, int] = _SIZE_PX) -> bytes:
    """A JPEG of quality 90 with halved chroma, about 3 MB at 12 megapixels; sizes are (width, height)."""
    rng = np.random.default_rng((seed, 12))
    width, height = (-(-side // 2**_DOUBLINGS) for side in size_px)
    picture = Image.fromarray(rng.integers(40, 216, (height, width, 3), dtype=np.uint8))
    for octave in range(1, _DOUBLINGS + 1):
        picture = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC)
        # Brightness varies more than colour does: one noise for the three channels.
        noise = rng.standard_normal((picture.height, picture.width, 1), dtype=np.float32) * (_COARSEST / 2**octave)
        picture = Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.crop((0, 0, *size_px)).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    return buffer.getvalue()


_FP32, _STATIC, _COMPACT = "fp32", "int8-static", "_compact"


_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp")


_NONE = "–"


@dataclass(frozen=True)
class Ratio:
    """How many times one thing takes what another does, from the medians on one thread at batch 1."""

    detector: str
    what: str
    value: float
    wanted: str
    reached: bool


def ratios(measured: Sequence[Measured]) -> list[Ratio]:
    """Every ratio for which both sides were measured."""
    found = []
    for detector in dict.fromkeys(one.detector for one in measured):
        own = {one.name: one for one in measured if one.detector == detector}
        if _STATIC not in own:
            continue
        static = own[_STATIC]
        for other, words, wanted in (
            (own.get(_FP32), "fp32 / static INT8", 2.0),
            (own.get(DEFAULT_DYNAMIC), f"{DEFAULT_DYNAMIC} / static INT8", 10.0),
            (own.get(EAGER), f"{EAGER} / static INT8", 3.0),
            (
                _named(measured, detector.removesuffix(_COMPACT), detector),
                "fp32 of the full detector / static INT8",
                4.0,
            ),
        ):
            if other is not None:
                value = other.latency["1"].p50_ms / static.latency["1"].p50_ms
                found.append(Ratio(detector, words, round(value, 2), f">= {wanted:g}", value >= wanted))
        found += _whole_way(static)
    return found


def _named(measured: Sequence[Measured], detector: str, compact: str) -> Measured | None:
    """The fp32 file of the detector that `compact` was made from."""
    return next((one for one in measured if (one.detector, one.name) == (detector, _FP32) != (compact, _FP32)), None)


def _whole_way(one: Measured) -> Iterator[Ratio]:
    if one.end_to_end is not None:
        stages = one.end_to_end
        value = stages.total_ms / (stages.decode_ms + stages.inference_ms)
        words = "12 MP JPEG to verdict / Pillow's decoding and inference alone"
        yield Ratio(one.detector, words, round(value, 2), "<= 1.3", value <= 1.3)


def machine() -> dict[str, Any]:
    """The processor, what it can do for INT8, the CPUs that could be used, and versions."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    flags = {flag: flag in words for flag in _FLAGS} if words else "not known on this system"
    return {**environment(), "cpus_available": available_cpus(), "flags": flags}


def write_benchmark(folder: Path, found: Benchmark) -> Path:
    """Write `benchmark.json` and `benchmark.png`; returns the former, which is written last."""
    plot_benchmark(folder / "benchmark.png", found.measured)
    record = {"machine": machine(), **asdict(found), "ratios": [asdict(ratio) for ratio in ratios(found.measured)]}
    write_json(folder / "benchmark.json", record)
    return folder / "benchmark.json"


def described(found: Benchmark) -> str:
    """The processor and the picture, in one line."""
    about = machine()
    return f"{about['cpu']}, {about['cpus_available']} CPUs; {found.picture}"


def tables(measured: Sequence[Measured]) -> tuple[Table, ...]:
    """All that the terminal shows."""
    return main_table(measured), picture_table(measured), ratio_table(ratios(measured))


def main_table(measured: Sequence[Measured]) -> Table:
    """Every contestant: size, loading, memory, latency and pictures a second."""
    columns: dict[str, Callable[[Measured], str]] = {
        "Detector": lambda one: one.detector,
        "Variant": lambda one: one.name,
        "Accuracy": lambda one: _words(one.accuracy, 3),
        "MB": lambda one: _words(one.size_bytes and one.size_bytes / 1e6, 2),
        "Load ms": lambda one: _words(one.load_ms, 0),
        "Peak MB": lambda one: _words(one.peak_mb, 0),
    }
    for threads in map(str, THREADS):
        columns[f"p50/p95 ms, {threads} thr."] = lambda one, threads=threads: _timing(one, threads)  # type: ignore[misc]
    for batch in map(str, BATCHES):
        columns[f"/s at {batch}"] = lambda one, batch=batch: _words(one.images_per_s.get(batch), 1)  # type: ignore[misc]
    return Table(tuple(columns), tuple(tuple(cell(one) for cell in columns.values()) for one in measured))


def picture_table(measured: Sequence[Measured]) -> Table:
    """Where the time of a 12-megapixel picture goes, for each file."""
    head = ("Detector", "Variant", "Decode ms", "Resize ms", "Crop + JPEG ms", "Inference ms", "Total ms")
    rows = []
    for one in measured:
        if one.end_to_end is not None:
            rows.append((one.detector, one.name, *(_words(value, 2) for value in asdict(one.end_to_end).values())))
    return Table(head, tuple(rows))


def ratio_table(found: Sequence[Ratio]) -> Table:
    """The ratios beside the figures to reach."""
    rows = tuple(
        (one.detector, one.what, f"{one.value:.2f}", one.wanted, "yes" if one.reached else "no") for one in found
    )
    return Table(("Detector", "Ratio", "Measured", "Wanted", "Reached"), rows)


def plot_benchmark(path: Path, measured: Sequence[Measured]) -> Path:
    """Accuracy against latency (1 thread, batch 1) and against size: colours are detectors, shapes are variants."""
    from matplotlib.lines import Line2D

    rated = [one for one in measured if one.size_bytes is not None and one.accuracy is not None]
    colours = {name: f"C{index}" for index, name in enumerate(dict.fromkeys(one.detector for one in rated))}
    shapes = dict(zip(dict.fromkeys(one.name for one in rated), itertools.cycle("osD^vP"), strict=False))
    figure, axes = new_figure(13, 5.5, columns=2)
    for one in rated:
        style = {"color": colours[one.detector], "marker": shapes[one.name], "s": 90, "alpha": 0.75}
        axes[0].scatter(one.latency["1"].p50_ms, one.accuracy, **style)
        axes[1].scatter((one.size_bytes or 0) / 1e6, one.accuracy, **style)
    for axis, label in zip(axes, ("milliseconds a picture, 1 thread, batch 1", "size of the file in MB"), strict=True):
        _logarithmic(axis)
        axis.set_xlabel(label)
        axis.set_ylabel("accuracy on the test split")
    if not rated:
        axes[0].set_title("no record says how accurate these files are")
    keys = [Line2D([], [], ls="", marker="o", ms=9, color=colour, label=name) for name, colour in colours.items()]
    keys += [Line2D([], [], ls="", marker=shape, ms=9, color="grey", label=name) for name, shape in shapes.items()]
    axes[1].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.02, 1))
    return save_figure(path, figure)


def _logarithmic(axes: Any) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _words(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _timing(one: Measured, threads: str) -> str:
    timing = one.latency.get(threads)
    return _NONE if timing is None else f"{timing.p50_ms:.2f}/{timing.p95_ms:.2f}"
