"""What a benchmark measured in; its ratios, tables, JSON record and plot out."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fakelens.core.artifacts import environment, write_json
from fakelens.core.cpus import available_cpus
from fakelens.evaluation.plots import new_figure, save_figure
from fakelens.evaluation.tables import Table
from fakelens.export.benchmark import BATCHES, THREADS, Benchmark, Measured
from fakelens.export.contestants import DEFAULT_DYNAMIC, EAGER

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
