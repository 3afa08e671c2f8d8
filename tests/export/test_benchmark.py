"""The benchmark times all files and says so in one record, whose ratios come from its own medians."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fakelens.core.imaging import decode
from fakelens.export.benchmark import (
    Benchmark,
    Effort,
    EndToEnd,
    Measured,
    Timing,
    large_jpeg,
    main_table,
    median_latencies_ms,
    picture_table,
    ratios,
    run_benchmark,
    write_benchmark,
)
from fakelens.export.contestants import DEFAULT_DYNAMIC, EAGER, OPENVINO, exported_files
from fakelens.export.isolated import isolated_cost
from fakelens.runtime.detector import OnnxDetector
from onnx_models import flat_picture, onnx_bytes

# No time at all: one round of everything is made nevertheless.
LEAST = Effort(rounds=9, batch_rounds=9, processes=1, limit_s=0, compiled=False)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One detector with two files; a record knows the accuracy of one."""
    folder = tmp_path_factory.mktemp("run") / "tiny" / "onnx"
    folder.mkdir(parents=True)
    for variant in ("fp32", "int8-static"):
        (folder / f"{variant}.onnx").write_bytes(onnx_bytes({"fakelens.variant": variant}))
    record = {"variants": [{"file": "int8-static.onnx", "metrics": {"accuracy": 0.875}}]}
    (folder / "export.json").write_text(json.dumps(record))
    return folder.parents[1]


@pytest.fixture(scope="module")
def found(workdir: Path) -> Benchmark:
    return run_benchmark(exported_files(workdir, ["tiny"]), LEAST)


def test_every_file_has_every_figure_and_what_is_missing_is_told(found: Benchmark) -> None:
    files = {one.name: one for one in found.measured if one.file}
    assert set(files) == {"fp32", "int8-static"}
    assert {one.name for one in found.measured} >= {DEFAULT_DYNAMIC, *files}
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
    assert (EAGER, "the checkpoint is not at hand") in {(one.name, one.why) for one in found.absent}


def test_a_limit_ends_after_a_round(found: Benchmark) -> None:
    assert {timing.num for one in found.measured for timing in one.latency.values()} == {3}


def test_the_record_holds_the_medians_that_its_ratios_are_made_of(found: Benchmark, tmp_path: Path) -> None:
    record = json.loads(write_benchmark(tmp_path, found).read_text())
    assert set(record) == {"machine", "measured", "absent", "effort", "seconds", "picture", "ratios"}
    assert {"cpu", "cpus_available", "flags", "versions"} <= set(record["machine"])
    medians = {one["name"]: one["latency"]["1"]["p50_ms"] for one in record["measured"]}
    (ratio,) = (one for one in record["ratios"] if one["what"] == "fp32 / static INT8")
    assert ratio["value"] == pytest.approx(medians["fp32"] / medians["int8-static"], abs=0.006)
    assert ratio["reached"] == (medians["fp32"] / medians["int8-static"] >= 2)
    with Image.open(tmp_path / "benchmark.png") as plot:
        assert plot.width > 800


def test_tables_leave_open_what_a_contestant_does_not_have(found: Benchmark) -> None:
    rows = {row[1]: row for row in main_table(found.measured).rows}
    assert rows[DEFAULT_DYNAMIC][2:6] == ("–",) * 4
    assert "–" not in rows["int8-static"]
    assert [row[1] for row in picture_table(found.measured).rows] == ["fp32", "int8-static"]


def one(detector: str, name: str, p50_ms: float, end_to_end: EndToEnd | None = None) -> Measured:
    return Measured(detector, name, {"1": Timing(p50_ms, p50_ms, 1)}, {}, end_to_end=end_to_end)


def test_ratios_compare_with_the_own_detector_and_a_compact_one_with_the_full() -> None:
    measured = [
        one("net", "fp32", 90), one("net", "int8-static", 36), one("net", DEFAULT_DYNAMIC, 400), one("net", EAGER, 100),
        one("net_compact", "fp32", 40), one("net_compact", "int8-static", 20, EndToEnd(30, 2, 1, 20, 54)),
        one("alone", "fp32", 1),
    ]  # fmt: skip
    assert [(found.detector, found.value, found.reached) for found in ratios(measured)] == [
        ("net", 2.5, True),
        ("net", 11.11, True),
        ("net", 2.78, False),
        ("net_compact", 2.0, True),
        ("net_compact", 4.5, True),
        ("net_compact", 1.08, True),
    ]


def test_openvino_is_named_once_where_it_is_not_installed(found: Benchmark) -> None:
    assert [a.why for a in found.absent if a.name == OPENVINO] == ["not installed"]


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x00 no model")
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    with pytest.raises(ValueError, match=r"(?s)broken\.onnx cannot be measured .*cannot load"):
        isolated_cost(tmp_path / "broken.onnx", tmp_path / "white.png")


def test_without_files_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fakelens export"):
        exported_files(tmp_path, ["tiny"])


def test_medians_are_given_by_name() -> None:
    assert set(median_latencies_ms({"a": OnnxDetector(onnx_bytes())}, rounds=2)) == {"a"}


def test_the_picture_is_seeded_and_compresses_as_photographs_do() -> None:
    data = large_jpeg(3, (800, 600))
    assert data == large_jpeg(3, (800, 600))
    assert data != large_jpeg(4, (800, 600))
    picture, container = decode(data)
    assert (container.width_px, container.height_px, picture.size) == (800, 600, (341, 256))
    assert 0.1 < len(data) / (800 * 600) < 0.5  # noise takes more than a byte a pixel, a flat picture 0.02
