"""Files are whole or absent; a record says when a stage is done, and for which inputs."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fakelens.core import artifacts
from fakelens.core.artifacts import Stage, StageRecord, environment


def stage(folder: Path, **changes: Any) -> Stage:
    arguments: dict[str, Any] = {"version": 1, "settings": {"seed": 0, "path": [1, 2]}, "inputs": {"data": "abc"}}
    return Stage("prepare", folder, **(arguments | changes))


def finish(folder: Path) -> StageRecord:
    made = stage(folder)
    made.begin()
    outputs = [folder / "b.npy", folder / "deep" / "a.txt"]
    artifacts.write_bytes(outputs[0], b"pixels")
    artifacts.write_text(outputs[1], "größe")
    return made.finish(outputs, {"num_images": 12})


def test_writing_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    for data in (b"first", b"second"):
        artifacts.write_bytes(target, data)
        assert target.read_bytes() == data
    assert list(target.parent.iterdir()) == [target]


def test_a_broken_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    artifacts.write_text(target, "old")

    def write_half() -> None:
        with artifacts.atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            assert target.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": "größe"}
    artifacts.write_json(tmp_path / "x.json", value)
    assert artifacts.read_json(tmp_path / "x.json") == value
    assert "größe" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "command"),
    [
        ("data/prepare.json", "fakelens prepare"),
        ("some_net/train.json", "fakelens train some_net"),
        ("some_net_compact/train.json", "fakelens compress some_net"),
        ("some_net_compact/evaluation/evaluate.json", "fakelens evaluate some_net_compact"),
        ("some_net/onnx/export.json", "fakelens export some_net"),
    ],
)
def test_a_missing_record_names_the_command_that_writes_it(record: str, command: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{record} is missing: run `{command} --workdir {tmp_path}`"):
        artifacts.load_record(tmp_path / record)


def test_unreadable_json_names_file_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    with pytest.raises(ValueError, match=r"train\.json is missing: run the stage"):
        artifacts.read_json(path)
    for damage in (b"", b'{"stage": ', b"\xff\xfe\x00"):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"train\.json is not readable JSON .* --force"):
            artifacts.read_json(path)


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert artifacts.sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_json_ignores_the_order_of_keys() -> None:
    assert artifacts.sha256_json({"a": 1, "b": [2]}) == artifacts.sha256_json({"b": [2], "a": 1})
    assert artifacts.sha256_json({"a": 1, "b": [2, 3]}) != artifacts.sha256_json({"a": 1, "b": [3, 2]})


def test_finished_stage_is_recognised(tmp_path: Path) -> None:
    assert stage(tmp_path).finished() is None
    made = finish(tmp_path)
    assert stage(tmp_path).finished() == artifacts.load_record(tmp_path / "prepare.json")
    assert made.outputs == {
        "b.npy": hashlib.sha256(b"pixels").hexdigest(),
        "deep/a.txt": hashlib.sha256("größe".encode()).hexdigest(),
    }


@pytest.mark.parametrize(
    "changes", [{"version": 2}, {"settings": {"seed": 1, "path": [1, 2]}}, {"inputs": {"data": "abd"}}]
)
def test_any_changed_input_asks_for_a_redo(tmp_path: Path, changes: dict[str, Any]) -> None:
    finish(tmp_path)
    assert stage(tmp_path, **changes).finished() is None


def test_a_missing_output_asks_for_a_redo(tmp_path: Path) -> None:
    finish(tmp_path)
    (tmp_path / "deep" / "a.txt").unlink()
    assert stage(tmp_path).finished() is None


def test_a_stage_that_began_again_is_not_done(tmp_path: Path) -> None:
    finish(tmp_path)
    stage(tmp_path).begin()
    assert stage(tmp_path).finished() is None


def test_record_on_disk(tmp_path: Path) -> None:
    made = finish(tmp_path)
    plain = json.loads((tmp_path / "prepare.json").read_text(encoding="utf-8"))
    assert plain["num_images"] == 12  # results stand at the top level
    assert (plain["stage"], plain["settings"]["seed"], plain["inputs"]) == ("prepare", 0, {"data": "abc"})
    assert 0 <= plain["seconds"] < 60
    assert {"revision", "python", "versions", "cpu", "num_cpus", "written"} <= set(plain["environment"])
    read = artifacts.load_record(tmp_path / "prepare.json")
    assert read.results == made.results == {"num_images": 12}
    assert read.digest == made.digest


@pytest.mark.parametrize(
    ("place", "stage", "command"),
    [
        ("some_cnn", "train", "fakelens train some_cnn --force"),
        ("some_cnn_compact", "train", "fakelens compress some_cnn --force"),
        ("some_cnn/evaluation", "evaluate", "fakelens evaluate some_cnn --force"),
        ("data", "prepare", "fakelens prepare --force"),
    ],
)
def test_a_damaged_output_names_the_command_that_makes_it_again(
    tmp_path: Path, place: str, stage: str, command: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "x").write_bytes(b"other")
    record = StageRecord(stage, "", {}, {}, {"x": "0" * 64}, "", 0.0, {}, environment(), tmp_path / place)
    with pytest.raises(artifacts.DamagedFileError, match=f"run `{command} --workdir {tmp_path}`"):
        record.output("x")


def test_digest_is_that_of_the_outputs_alone(tmp_path: Path) -> None:
    first = finish(tmp_path / "one")
    artifacts.write_bytes(tmp_path / "two" / "b.npy", b"pixels!")
    changed = stage(tmp_path / "two").finish([tmp_path / "two" / "b.npy"], {})
    assert first.digest == finish(tmp_path / "three").digest != changed.digest


@pytest.mark.parametrize("text", ["[]", "{}", '{"stage": "prepare"}', "3", "null"])
def test_a_strange_record_names_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "prepare.json").write_text(text)
    with pytest.raises(ValueError, match=r"prepare\.json is not a stage record .* --force"):
        artifacts.load_record(tmp_path / "prepare.json")


def test_changed_outputs_are_named(tmp_path: Path) -> None:
    finish(tmp_path)
    record = artifacts.load_record(tmp_path / "prepare.json")
    assert record.changed_outputs() == []
    (tmp_path / "b.npy").write_bytes(b"pixelt")
    assert record.changed_outputs() == ["b.npy"]
    (tmp_path / "deep" / "a.txt").unlink()
    assert record.changed_outputs() == ["b.npy", "deep/a.txt"]
