"""The benchmark of exported files: latency, size and memory on this CPU, side by side, and beside PyTorch."""

import contextlib
import io
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakelens.config import read_as
from fakelens.core import imaging
from fakelens.core.artifacts import environment, load_record, write_json
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageF32
from fakelens.core.machine import available_cpus
from fakelens.core.progress import SILENT, Reporter, Task
from fakelens.core.records import LATENCY_RUNS, ExportResults
from fakelens.core.run_folder import BENCHMARK_PLOT, BENCHMARK_RECORD, RunFolder, onnx_file
from fakelens.core.table import Table
from fakelens.export.isolated import IsolatedCost, isolated_cost
from fakelens.figure import new_figure, save_figure
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import judge

EAGER = "PyTorch eager"
THREADS, BATCHES = (1, 2), (1, 8, 32)
_FP32 = "fp32"
_WARMUP = 5
_RUNS_A_TURN = 3
# Shares of the time limit: a part that has used its share ends after the round that is under way.
_SHARES = {"threads": 0.3, "batches": 0.25, "image": 0.1}
_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp")
_NONE = "–"
_SIZE_PX = (4000, 3000)  # 12 megapixels, as telephones take
_DOUBLINGS = 5
# A photograph's amplitude falls as one over frequency: each halving of scale halves it.
_COARSEST = 48.0

Score = Callable[[ImageF32], Any]


@dataclass(frozen=True)
class Exported:
    """One ONNX file of one detector."""

    detector: str
    variant: str
    path: Path
    accuracy: float | None
    """On the test split; None where no record says it."""
    checkpoint: Path | None = None
    """What it was exported from, where that is at hand."""


@dataclass(frozen=True)
class Runner:
    """Something that scores images; `open` gives (N, 3, S, S) -> probabilities on that many threads."""

    detector: str
    name: str
    input_px: int
    open: Callable[[int], Score]
    exported: Exported | None = None
    """The file; None for PyTorch, which is only compared with."""


@dataclass(frozen=True)
class Effort:
    """The number of runs and their time limits."""

    rounds: int = 15
    """Turns of each runner, of three timed runs each."""
    batch_rounds: int = 3
    """Turns at each batch size."""
    processes: int = 3
    """New processes for each file."""
    limit_s: float = 600.0
    """After this time no further round begins; one round of everything is always made."""


QUICK = Effort(rounds=3, batch_rounds=1, processes=1, limit_s=120.0)


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
    """One runner's figures; those that only a file has are None for PyTorch."""

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
    """Everything that was measured."""

    measured: Sequence[Measured]
    effort: Effort
    seconds: float
    image: str


def exported_files(workdir: Path, detectors: Sequence[str] | None) -> list[Exported]:
    """Every ONNX file of these detectors in a working folder, None being all that it has files of.

    Raises:
        FakelensError: when there is none.
    """
    run, files = RunFolder(workdir), []
    names = sorted(path.parent.name for path in workdir.glob("*/onnx")) if detectors is None else detectors
    for name in names:
        folder = run.detector(name)
        accuracies: dict[str, float] = {}
        if folder.export_record.exists():
            results = read_as(ExportResults, load_record(folder.export_record).results, folder.export_record)
            accuracies = {variant.file: variant.metrics.accuracy for variant in results.variants}
        checkpoint = folder.best if folder.best.exists() else None
        for path in sorted(folder.onnx.glob(onnx_file("*"))):
            files.append(Exported(name, path.stem, path, accuracies.get(path.name), checkpoint))
    if not files:
        raise FakelensError(
            f"nothing is exported in {workdir}: choose another --workdir, or run `fakelens export DETECTOR` first"
        )
    return files


def bundled_files(folder: Path) -> list[Exported]:
    """The models of a bundle, each checked against `bundle.json`.

    Raises:
        FakelensError: when the folder is no bundle or a file is not the one that it describes.
    """
    bundle = Bundle.open(folder, num_threads=1)
    for model in bundle.models:
        bundle.detector(model.name)
    return [Exported(m.name, m.variant, folder / m.file, m.metrics.accuracy) for m in bundle.models]


def run_benchmark(files: Sequence[Exported], effort: Effort, *, reporter: Reporter = SILENT) -> Benchmark:
    """Time all files, and PyTorch beside them where the checkpoint is at hand.

    Raises:
        FakelensError: when a file or checkpoint cannot be loaded.
    """
    started_s = time.monotonic()
    jpeg = large_jpeg(0)
    with tempfile.TemporaryDirectory(prefix="fakelens-") as folder:
        path = Path(folder) / "image.jpg"
        path.write_bytes(jpeg)
        with reporter.task("Loading each file in a process of its own", len(files) * effort.processes) as task:
            costs = {file: _cost(file, path, effort.processes, task) for file in files}
    runners = [_file_runner(file) for file in files]
    runners += [_eager_runner(file, file.checkpoint) for file in files if file.variant == _FP32 and file.checkpoint]
    with _torch_threads_kept():
        latency = {str(threads): _latencies(runners, threads, effort, reporter) for threads in THREADS}
    speed = {str(batch): _rates(runners, batch, effort, reporter) for batch in BATCHES}
    stages = _end_to_end(files, jpeg, effort, reporter)
    measured = []
    for i, runner in enumerate(runners):
        latencies = {threads: times[i] for threads, times in latency.items()}
        rates = {batch: rates[i] for batch, rates in speed.items() if i in rates}
        one = Measured(runner.detector, runner.name, latencies, rates)
        if file := runner.exported:
            one = replace(
                one, file=file.path.name, size_bytes=file.path.stat().st_size, accuracy=file.accuracy,
                load_ms=costs[file].load_ms, peak_mb=costs[file].peak_mb, end_to_end=stages[file],
            )  # fmt: skip
        measured.append(one)
    words = f"self-made JPEG, 4000×3000 px, {len(jpeg) / 1e6:.2f} MB, seed 0"
    return Benchmark(measured, effort, round(time.monotonic() - started_s, 1), words)


def median_latencies_ms(detectors: Mapping[str, OnnxDetector]) -> dict[str, float]:
    """Median time of one image for each detector; their runs alternate, so that a noisy machine hits all alike."""
    runs = {name: _on_noise(detector.score, 1, detector.input_px) for name, detector in detectors.items()}
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for number in range(_WARMUP + LATENCY_RUNS):
        for name, run in runs.items():
            elapsed = _timed_ms(run)
            if number >= _WARMUP:
                times[name].append(elapsed)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def _file_runner(file: Exported) -> Runner:
    def open_file(num_threads: int) -> Score:
        return OnnxDetector(file.path, num_threads=num_threads).score

    return Runner(file.detector, file.variant, OnnxDetector(file.path, num_threads=1).input_px, open_file, file)


def _eager_runner(file: Exported, checkpoint: Path) -> Runner:
    import torch

    from fakelens.detectors.checkpoint import load_checkpoint

    network, info = load_checkpoint(checkpoint)

    def open_network(num_threads: int) -> Score:
        def score(images_nchw: ImageF32) -> Any:
            torch.set_num_threads(num_threads)
            with torch.inference_mode():
                return network(torch.from_numpy(images_nchw))

        return score

    return Runner(file.detector, EAGER, info.settings.input_px, open_network)


def _cost(file: Exported, image: Path, processes: int, task: Task) -> IsolatedCost:
    costs = []
    for _ in range(processes):
        costs.append(isolated_cost(file.path, image))
        task.advance()
    load_ms, peak_mb = (statistics.median(getattr(one, name) for one in costs) for name in ("load_ms", "peak_mb"))
    return IsolatedCost(load_ms, peak_mb)


@contextlib.contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Give torch, if it is timed, its number of threads back: another one changes the last digits of a training."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)


def _latencies(runners: Sequence[Runner], threads: int, effort: Effort, reporter: Reporter) -> dict[int, Timing]:
    """Timings by position in `runners`."""
    runs = {i: _on_noise(runner.open(threads), 1, runner.input_px) for i, runner in enumerate(runners)}
    limit_s = effort.limit_s * _SHARES["threads"]
    times = _in_turns(runs, effort.rounds, limit_s, f"Timing, threads: {threads}", reporter)
    return {i: Timing(_percentile(values, 50), _percentile(values, 95), len(values)) for i, values in times.items()}


def _percentile(values: Sequence[float], q: int) -> float:
    return round(float(np.percentile(values, q)), 3)


def _rates(runners: Sequence[Runner], batch: int, effort: Effort, reporter: Reporter) -> dict[int, float]:
    """Images per second on one thread by position in `runners`; PyTorch is only compared with at batch 1."""
    runs = {i: _on_noise(runner.open(1), batch, runner.input_px) for i, runner in enumerate(runners) if runner.exported}
    limit_s = effort.limit_s * _SHARES["batches"] / len(BATCHES)
    times = _in_turns(runs, effort.batch_rounds, limit_s, f"Timing, batch size: {batch}", reporter)
    return {i: round(1000 * batch / float(np.median(values)), 2) for i, values in times.items()}


def _in_turns(
    runs: Mapping[int, Callable[[], object]], rounds: int, limit_s: float, title: str, reporter: Reporter
) -> dict[int, list[float]]:
    """Milliseconds of every run. A turn is one run that fills the caches again and some that are timed."""
    times: dict[int, list[float]] = {i: [] for i in runs}
    with reporter.task(title, rounds * len(runs)) as task:
        for _ in _rounds(rounds, limit_s):
            for i, run in runs.items():
                run()
                times[i] += [_timed_ms(run) for _ in range(_RUNS_A_TURN)]
                task.advance()
    return times


def _rounds(num: int, limit_s: float) -> Iterator[int]:
    """The numbers of at most `num` rounds, at least one; none begins after `limit_s`."""
    until_s = time.monotonic() + limit_s
    for number in range(num):
        if number and time.monotonic() > until_s:
            return
        yield number


def _end_to_end(files: Sequence[Exported], jpeg: bytes, effort: Effort, reporter: Reporter) -> dict[Exported, EndToEnd]:
    detectors = {file: OnnxDetector(file.path, num_threads=1) for file in files}
    times: dict[Exported, list[dict[str, float]]] = {file: [] for file in files}
    with reporter.task("Timing a 12-megapixel picture", effort.rounds * len(files)) as task:
        for _ in _rounds(effort.rounds, effort.limit_s * _SHARES["image"]):
            for file, detector in detectors.items():
                times[file].append(_stages_ms(detector, jpeg))
                task.advance()
    return {
        file: EndToEnd(**{f"{name}_ms": round(statistics.median(t[name] for t in turns), 3) for name in turns[0]})
        for file, turns in times.items()
    }


def _stages_ms(detector: OnnxDetector, jpeg: bytes) -> dict[str, float]:
    """One turn: the yardstick, each stage by itself, and the whole."""
    picture, container = imaging.decode(jpeg, short_side_px=detector.stored_px)
    factor = 2 ** max(0, int(np.log2(min(container.width_px, container.height_px) / detector.stored_px)) - 1)
    size = container.width_px // factor, container.height_px // factor
    decode = _timed_ms(lambda: _drafted(jpeg, size))
    decode_and_resize = _timed_ms(lambda: imaging.decode(jpeg, short_side_px=detector.stored_px))
    image = _model_input(detector, picture)
    return {
        "decode": decode,
        "resize": max(0.0, decode_and_resize - decode),
        "crop": _timed_ms(lambda: _model_input(detector, picture)),
        "inference": _timed_ms(lambda: detector.score(image)),
        "total": _timed_ms(lambda: judge(jpeg, detector)),
    }


def _drafted(jpeg: bytes, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        image.draft(None, size)
        image.load()


def _model_input(detector: OnnxDetector, picture: Image.Image) -> ImageF32:
    return imaging.to_model_input(imaging.to_square(picture)[None], detector.input_px)


def _on_noise(score: Score, batch: int, input_px: int) -> Callable[[], Any]:
    images_nchw = np.random.default_rng(0).random((batch, 3, input_px, input_px), dtype=np.float32)
    return lambda: score(images_nchw)


def _timed_ms(run: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    run()
    return (time.perf_counter() - started_s) * 1000


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


def machine() -> dict[str, Any]:
    """The processor, what it can do for INT8, the CPUs that could be used, and versions."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    flags = {flag: flag in words for flag in _FLAGS} if words else "not known on this system"
    return {**asdict(environment()), "cpus_available": available_cpus(), "flags": flags}


def write_benchmark(folder: Path, result: Benchmark) -> Path:
    """Write `benchmark.json` and `benchmark.png`; returns the former, which is written last."""
    plot_benchmark(folder / BENCHMARK_PLOT, result.measured)
    write_json(folder / BENCHMARK_RECORD, {"machine": machine(), **asdict(result)})
    return folder / BENCHMARK_RECORD


def cpu_words() -> str:
    """The processor in one line."""
    return f"{environment().cpu}, {available_cpus()} CPUs"


def main_table(measured: Sequence[Measured]) -> Table:
    """Every runner: size, loading, memory, latency, speed beside fp32's, and images per second."""
    fp32 = {one.detector: one.latency["1"].p50_ms for one in measured if one.name == _FP32}
    columns: dict[str, Callable[[Measured], str]] = {
        "Detector": lambda one: one.detector,
        "Variant": lambda one: one.name,
        "Accuracy": lambda one: _words(one.accuracy, 3),
        "MB": lambda one: _words(one.size_bytes and one.size_bytes / 1e6, 2),
        "Load ms": lambda one: _words(one.load_ms, 0),
        "Peak MB": lambda one: _words(one.peak_mb, 0),
        "× fp32": lambda one: _words(fp32[one.detector] / one.latency["1"].p50_ms if one.detector in fp32 else None, 2),
    }
    for threads in map(str, THREADS):
        columns[f"p50/p95 ms, {threads} thr."] = lambda one, threads=threads: _timing(one, threads)  # type: ignore[misc]
    for batch in map(str, BATCHES):
        columns[f"/s at {batch}"] = lambda one, batch=batch: _words(one.images_per_s.get(batch), 1)  # type: ignore[misc]
    return Table(tuple(columns), tuple(tuple(cell(one) for cell in columns.values()) for one in measured))


def image_table(measured: Sequence[Measured]) -> Table:
    """Where the time of a 12-megapixel image goes, for each file."""
    head = ("Detector", "Variant", "Decode ms", "Resize ms", "Crop + JPEG ms", "Inference ms", "Total ms")
    rows = []
    for one in measured:
        if one.end_to_end is not None:
            rows.append((one.detector, one.name, *(_words(value, 2) for value in asdict(one.end_to_end).values())))
    return Table(head, tuple(rows))


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
    for axis, label in zip(axes, ("Time per picture, 1 thread, batch 1 (ms)", "Size of the file (MB)"), strict=True):
        _logarithmic(axis)
        axis.set_xlabel(label)
        axis.set_ylabel("Accuracy on the test split")
    if not rated:
        axes[0].set_title("no record says how accurate these files are")
    keys = [Line2D([], [], ls="", marker="o", ms=9, color=colour, label=name) for name, colour in colours.items()]
    keys += [Line2D([], [], ls="", marker=shape, ms=9, color="grey", label=name) for name, shape in shapes.items()]
    axes[1].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.02, 1))
    reading = "Up and to the left is better; colours are detectors, shapes are variants; both scales are logarithmic."
    return save_figure(path, figure, "Accuracy against time and size", cpu_words(), reading)


def _logarithmic(axes: Any) -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _words(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _timing(one: Measured, threads: str) -> str:
    timing = one.latency.get(threads)
    return _NONE if timing is None else f"{timing.p50_ms:.2f}/{timing.p95_ms:.2f}"
