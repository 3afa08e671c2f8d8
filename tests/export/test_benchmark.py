"""The benchmark times all files and says so in one record, whose ratios come from its own medians."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from fakelens.core.artifacts import Stage
from fakelens.core.imaging import decode
from fakelens.core.records import ExportResults
from fakelens.detectors.spec import discover
from fakelens.export.benchmark import (
    EAGER,
    Benchmark,
    Effort,
    EndToEnd,
    Measured,
    Timing,
    exported_files,
    image_table,
    large_jpeg,
    main_table,
    median_latencies_ms,
    run_benchmark,
    write_benchmark,
)
from fakelens.export.isolated import isolated_cost
from fakelens.runtime.detector import OnnxDetector
from onnx_models import VARIANT, flat_picture, onnx_bytes

# No time at all: one round of everything is made nevertheless.
LEAST = Effort(rounds=9, batch_rounds=9, processes=1, limit_s=0)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One detector with two files; a record knows the accuracy of one."""
    folder = tmp_path_factory.mktemp("run") / "tiny" / "onnx"
    folder.mkdir(parents=True)
    for variant in ("fp32", "int8-static"):
        (folder / f"{variant}.onnx").write_bytes(onnx_bytes({"fakelens.variant": variant}))
    stage = Stage("export", folder, version=1, settings={}, inputs={})
    stage.finish(
        [folder / "int8-static.onnx"],
        asdict(
            ExportResults("int8-static", "", (replace(VARIANT, metrics=replace(VARIANT.metrics, accuracy=0.875)),), ())
        ),
    )
    return folder.parents[1]


@pytest.fixture(scope="module")
def found(workdir: Path) -> Benchmark:
    return run_benchmark(exported_files(workdir, ["tiny"]), LEAST)


def test_every_file_has_every_figure_and_what_is_missing_is_told(found: Benchmark) -> None:
    files = {one.name: one for one in found.measured if one.file}
    assert set(files) == {"fp32", "int8-static"}
    assert (files["fp32"].accuracy, files["int8-static"].accuracy) == (None, 0.875)
    for one in files.values():
        assert set(one.latency) == {"1", "2"}
        assert set(one.images_per_s) == {"1", "8", "32"}
        assert all(0 < timing.p50_ms <= timing.p95_ms for timing in one.latency.values())
        assert one.end_to_end is not None
        assert one.size_bytes == len(onnx_bytes({"fakelens.variant": one.name}))
        assert one.load_ms is not None
        assert one.peak_mb is not None
        assert 20 < one.peak_mb < 400


def test_a_limit_ends_after_a_round(found: Benchmark) -> None:
    assert {timing.num for one in found.measured for timing in one.latency.values()} == {3}


def test_the_record_and_the_plot_are_written(found: Benchmark, tmp_path: Path) -> None:
    record = json.loads(write_benchmark(tmp_path, found).read_text())
    assert set(record) == {"machine", "measured", "effort", "seconds", "image"}
    assert {"cpu", "cpus_available", "flags", "versions"} <= set(record["machine"])
    assert [one["name"] for one in record["measured"]] == [one.name for one in found.measured]
    with Image.open(tmp_path / "benchmark.png") as plot:
        assert plot.width > 800


def test_pytorch_is_timed_beside_a_file_whose_checkpoint_is_at_hand(finished_run: Path) -> None:
    name, num_threads = next(iter(discover())), torch.get_num_threads()
    result = run_benchmark(exported_files(finished_run, [name]), LEAST)
    (eager,) = (one for one in result.measured if one.name == EAGER)
    assert (eager.file, eager.images_per_s) == (None, {})
    assert eager.latency["1"].p50_ms > 0
    assert torch.get_num_threads() == num_threads


def measured(detector: str, name: str, p50_ms: float) -> Measured:
    return Measured(detector, name, {"1": Timing(p50_ms, p50_ms, 1)}, {})


def test_speeds_stand_beside_those_of_the_own_fp32_file() -> None:
    rows = main_table(
        [
            measured("net", "fp32", 90), measured("net", "int8-static", 36), measured("net", EAGER, 100),
            measured("alone", "int8-static", 1),
        ]
    ).rows  # fmt: skip
    assert [row[6] for row in rows] == ["1.00", "2.50", "0.90", "–"]


def test_tables_leave_open_what_pytorch_does_not_have() -> None:
    stages = EndToEnd(30, 2, 1, 20, 54)
    file = Measured("net", "fp32", {}, {}, end_to_end=stages)
    assert image_table([file, Measured("net", EAGER, {}, {})]).rows == (
        ("net", "fp32", "30.00", "2.00", "1.00", "20.00", "54.00"),
    )


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x00 no model")
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    with pytest.raises(ValueError, match=r"(?s)broken\.onnx does not work .*cannot load"):
        isolated_cost(tmp_path / "broken.onnx", tmp_path / "white.png")


def test_without_files_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fakelens export"):
        exported_files(tmp_path, ["tiny"])


def test_medians_are_given_by_name() -> None:
    assert set(median_latencies_ms({"a": OnnxDetector(onnx_bytes())})) == {"a"}


def test_the_picture_is_seeded_and_compresses_as_photographs_do() -> None:
    data = large_jpeg(3, (800, 600))
    assert data == large_jpeg(3, (800, 600))
    assert data != large_jpeg(4, (800, 600))
    picture, container = decode(data)
    assert (container.width_px, container.height_px, picture.size) == (800, 600, (341, 256))
    assert 0.1 < len(data) / (800 * 600) < 0.5  # noise takes more than a byte a pixel, a flat picture 0.02
