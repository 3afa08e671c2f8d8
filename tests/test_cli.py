"""The command line as a script sees it: output, exit status, and one line instead of a trace."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakelens import cli
from fakelens.core.artifacts import read_json
from fakelens.detectors.spec import discover
from fakelens.recipes import load_recipe, named_detectors
from in_process import fakelens
from labelled_pictures import LEVELS, fill, flat_folder, scores_file, tiny_checkpoint
from onnx_models import DETECTORS, make_bundle, onnx_bytes

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels).save(folder / "deeper" / "b.webp")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def test_help_lists_every_stage() -> None:
    command = [sys.executable, "-W", "error", "-m", "fakelens", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    for command in ("run", "prepare", "train", "evaluate", "export", "bundle", "report", "predict", "app", "config"):
        assert command in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "--recipe", "opnfake"], 1, "there are openfake, demo, smoke, plan"),
        (["run", "--recipe", "missing.yaml"], 1, "cannot read the recipe missing.yaml"),
        (["config", "--set", "data.num_imges=3000"], 1, "did you mean 'num_images'?"),
        (["config", "--set", "data.num_images"], 1, "KEY=VALUE"),
        (["config", "--set", "data.num_images=many"], 1, "data.num_images"),
        (["train", "resnet"], 1, "unknown detector 'resnet'"),
        (["predict", "x.jpg", "--bundle", "nowhere"], 1, "nowhere does not exist: name the folder of a bundle"),
        (["prepare", "--recipe", "smoke", "--set", "data.num_images=7"], 1, "num_images"),
        (["prepare", "--recipe", "smoke", "--set", "data.source=folder"], 1, "data.path"),
        (["run", "--set", "data.source=folder", "--set", "data.path=nowhere"], 1, "error: [1/15] nowhere"),
        (
            ["evaluate", next(iter(discover())), "--workdir", "nowhere"],
            1,
            "nowhere holds no prepared images: run `fakelens prepare` first",
        ),
        (["evaluate"], 2, "name a DETECTOR"),
        (["evaluate", "--against", "mine"], 2, "`fakelens judge mine`"),
        (["judge", "x", "--detector", next(iter(discover())), "--model", "x.onnx"], 2, "not both"),
        (["judge", "x", "y", "--output", "z", "--model", "m.onnx"], 1, "one FOLDER at a time"),
        (["judge", "nowhere", "--model", "x.onnx"], 1, "nowhere is not a folder"),
        (["judge", "."], 1, "give one with --model"),
        (["judge", ".", "--detector", "resnet"], 1, "unknown detector 'resnet'"),
        (["report", "--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_mistake_is_one_message_and_a_status(arguments: list[str], status: int, message: str, tmp_path: Path) -> None:
    result = fakelens(*arguments, cwd=tmp_path)
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [f"evaluate {next(iter(discover()))}", "audit", "prepare --verify"])
def test_a_stage_without_images_names_the_runs_that_have_them(command: str, tmp_path: Path) -> None:
    for name in ("demo", "with space"):
        (tmp_path / "runs" / name / "data").mkdir(parents=True)
        (tmp_path / "runs" / name / "data" / "prepare.json").write_text("{}")
    result = fakelens(*command.split(), cwd=tmp_path)
    assert result.returncode == 1
    assert "runs/openfake holds no prepared images" in result.stderr
    assert "add --recipe demo or --workdir 'runs/with space' to use those that are there, or run" in result.stderr
    assert not (tmp_path / "runs" / "openfake").exists()


def test_config_prints_a_recipe_that_can_be_given_back(tmp_path: Path) -> None:
    printed = fakelens(
        "config", "--recipe", "demo", "--set", "data.seed=5", "--set", "export.calibration_images=32"
    ).stdout
    assert "# " in printed
    (tmp_path / "own.yaml").write_text(printed)
    assert fakelens("config", "--recipe", tmp_path / "own.yaml").stdout == printed


def test_the_ending_of_a_recipes_name_counts(tmp_path: Path) -> None:
    (tmp_path / "R.YML").write_text("name: mine\n")
    assert load_recipe(str(tmp_path / "R.YML")).name == "mine"
    (tmp_path / "r.yaml.txt").write_text("name: mine\n")
    with pytest.raises(ValueError, match=r"unknown recipe .*a file's name must end in \.yaml"):
        load_recipe(str(tmp_path / "r.yaml.txt"))


def test_detector_settings_can_be_set() -> None:
    name = next(iter(discover()))
    assert fakelens("config", "--set", f"detectors.{name}.epochs=3").returncode == 0
    wrong = fakelens("config", "--set", f"detectors.{name}.epoch=3")
    assert wrong.returncode == 1
    assert "did you mean 'epochs'?" in wrong.stderr


def test_predict_judges_folders_and_reports_a_bad_file(finished_run: Path, pictures: Path) -> None:
    result = fakelens("predict", pictures, "--bundle", finished_run / "bundle", "--json")
    lines = {Path(line["path"]).name: line for line in map(json.loads, result.stdout.splitlines())}
    assert result.returncode == 1
    assert set(lines) == {"a.jpg", "b.webp", "broken.png"}
    assert set(lines["a.jpg"]) == {"path", "detector", "probability", "verdict", "error", "cautions", "marks"}
    assert lines["a.jpg"]["verdict"] in ("fake", "real", "uncertain")
    assert 0 <= lines["a.jpg"]["probability"] <= 1
    assert lines["broken.png"]["probability"] is None
    assert "not a JPEG" in lines["broken.png"]["error"]
    assert "synthetic" in result.stderr


def test_predict_writes_csv_and_a_table(finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    name = named_detectors(None)[-1].name
    options = ("--bundle", finished_run / "bundle", "--detector", name)
    assert fakelens("predict", pictures / "a.jpg", *options, "--csv", tmp_path / "out.csv").returncode == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["detector"] == name
    table = fakelens("predict", str(pictures / "*.jpg"), *options)
    assert table.returncode == 0
    assert "a.jpg" in table.stdout
    assert f"Judged by {name}: below" in table.stdout


def test_verdicts_are_not_lost_with_the_file_that_could_not_be_written(
    finished_run: Path, pictures: Path, tmp_path: Path
) -> None:
    command = 'ulimit -f 0; exec "$@"'
    options = ("predict", pictures / "a.jpg", "--bundle", finished_run / "bundle")
    for places in (("--csv", "out.csv"), ("--report", "records"), ("--csv", "out.csv", "--report", "records")):
        words = ["sh", "-c", command, "sh", sys.executable, "-m", "fakelens", *map(str, options), *places]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (result.returncode, "file too large: choose a place" in result.stderr) == (1, True)
        assert "Judged by" in result.stdout
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "out.csv").exists()


def test_places_that_cannot_be_are_refused_before_the_work(finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    for places, words in (
        (("--csv", "same", "--report", "same"), "name two places"),
        (("--csv", "loop.csv"), "check the path|Too many levels"),
    ):
        result = fakelens("predict", pictures / "a.jpg", "--bundle", finished_run / "bundle", *places, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.search(words, result.stderr)


@pytest.mark.parametrize("words", [("predict", ""), ("run", "--recipe", ""), ("predict", "a.jpg", "--report=")])
def test_an_empty_word_is_no_value(words: tuple[str, ...], tmp_path: Path) -> None:
    result = fakelens(*words, cwd=tmp_path)
    assert (result.returncode, "an unset variable?" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_linked_table_stays_a_link(finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("real.csv")
    options = ("--bundle", finished_run / "bundle", "--csv", tmp_path / "link.csv")
    assert fakelens("predict", pictures / "a.jpg", *options).returncode == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text("utf-8-sig").startswith("path,")


def test_predict_names_what_is_missing(finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = fakelens("predict", tmp_path / "empty", "--bundle", finished_run / "bundle")
    assert (empty.returncode, "no pictures in" in empty.stderr) == (1, True)
    missing = fakelens("predict", tmp_path / "no.jpg", "--bundle", finished_run / "bundle", "--json")
    assert missing.returncode == 1
    assert json.loads(missing.stdout)["error"] == "No such file or directory"


def test_judge_prints_tables_and_writes_everything(tmp_path: Path) -> None:
    flat_folder(tmp_path / "mine")
    (tmp_path / "tiny.onnx").write_bytes(onnx_bytes())
    scores_file(tmp_path / "theirs.csv", dict.fromkeys(LEVELS, 0.5))
    options = ("--model", "tiny.onnx", "--scores", "theirs.csv", "--workdir", "run")
    result = fakelens("judge", "mine", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for part in ("tiny", "theirs", "0.750 (", "metadata alone", "McNemar p", "run/against/mine/against.md"):
        assert part in result.stdout
    assert result.stdout.count("What the files' metadata alone would score is not known") == 1
    assert "were not compared with those used in training" in result.stderr
    written = {path.name for path in (tmp_path / "run" / "against" / "mine").iterdir()}
    assert written == {"against.json", "against.md", "scores.csv", "plots"}


def test_predict_on_a_wrong_path_is_a_line(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    result = fakelens("predict", "holliday.jpg", "--bundle", "bundle", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "error: holliday.jpg was not judged: No such file or directory"


def test_judge_as_json_with_a_bad_picture(tmp_path: Path) -> None:
    fill(flat_folder(tmp_path / "mine"), {"fake/broken.png": b"not a picture"})
    (tmp_path / "runs" / "x").mkdir(parents=True)
    make_bundle(tmp_path / "runs" / "x" / "bundle")
    result = fakelens("judge", "mine", "--json", "--output", "out", cwd=tmp_path)
    assert result.returncode == 1
    assert "left out fake/broken.png: not a JPEG, PNG, WebP, AVIF" in result.stderr
    assert result.stdout == (tmp_path / "out" / "against.json").read_text()
    assert [system["name"] for system in json.loads(result.stdout)["systems"]] == list(DETECTORS)


@pytest.mark.parametrize("named", [(), ("--model", "runs/x/bundle")])
def test_judge_writes_beside_the_bundle_that_it_takes(tmp_path: Path, named: tuple[str, ...]) -> None:
    flat_folder(tmp_path / "mine")
    (tmp_path / "runs" / "x").mkdir(parents=True)
    make_bundle(tmp_path / "runs" / "x" / "bundle")
    if named:
        (tmp_path / "runs" / "x" / "recipe.yaml").write_text("name: x\n")
    result = fakelens("judge", "mine", *named, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]
    assert (tmp_path / "runs" / "x" / "against" / "mine" / "against.md").is_file()


def test_judge_judges_the_detector_that_is_named(tmp_path: Path) -> None:
    flat_folder(tmp_path / "mine")
    name = next(iter(discover()))
    tiny_checkpoint(tmp_path / "run" / name / "best.safetensors")
    result = fakelens("judge", "mine", "--detector", name, "--workdir", "run", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [system["name"] for system in json.loads(result.stdout)["systems"]] == [name]
    assert "its temperature is 1" in result.stderr


def test_judge_takes_scores_alone(tmp_path: Path) -> None:
    flat_folder(tmp_path / "mine")
    scores = scores_file(tmp_path / "[red].csv", {image: level / 255 for image, level in LEVELS.items()})
    result = fakelens("judge", "mine", "--scores", scores, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "[red]" in result.stdout


def test_verify_and_audit(own_run: Path) -> None:
    assert fakelens("prepare", "--verify", "--workdir", own_run).returncode == 0
    assert "balanced accuracy" in fakelens("audit", "--workdir", own_run).stdout
    arrays = own_run / "data" / "val.npy"
    data = arrays.read_bytes()
    arrays.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert arrays.stat().st_size == len(data)
    result = fakelens("prepare", "--verify", "--workdir", own_run)
    assert result.returncode == 1
    assert "val.npy" in result.stderr


def test_benchmark_times_every_file(own_run: Path) -> None:
    some = [spec.name for spec in named_detectors(None)][:2]
    chosen = ("--detectors", ",".join(some))
    result = fakelens("benchmark", "--quick", "--max-minutes", "0.01", "--workdir", own_run, *chosen)
    assert result.returncode == 0
    record = read_json(own_run / "benchmark" / "benchmark.json")
    timed = {one["detector"] for one in record["measured"] if one["name"] == "int8-static"}
    assert timed == set(some)
    assert all(name in result.stdout for name in timed)


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fakelens.pipeline.prepare", interrupted)
    monkeypatch.setattr(sys, "argv", ["fakelens", "prepare", "--recipe", "smoke", "--workdir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "interrupted: run the same command again to go on" in capsys.readouterr().err
