"""Pictures of one's own, any systems: figures worked out by hand, the null beside them, the same pictures for all."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fakelens.core.artifacts import Stage, write_json
from fakelens.core.imaging import MIN_SIDE_PX, format_words
from fakelens.core.run_folder import JudgementFolder
from fakelens.dataset.duplicates import MAX_DISTANCE_BITS
from fakelens.dataset.examine import examine_image
from fakelens.dataset.store import ManifestRow, write_manifest
from fakelens.evaluation.metrics import summarise
from fakelens.evaluation.significance import compare
from fakelens.judging.folder import LabelledFolder
from fakelens.judging.judge import JudgeResults, judge_folder
from fakelens.judging.scores import FolderScores
from fakelens.judging.systems import implausibilities, open_models
from fakelens.judging.write import groups_table, main_table, output_folder, pairs_table, points_table, write_results
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.judgement import Judgement, judge
from fakelens.settings import EvaluationSettings
from labelled_pictures import LEVELS, evaluated, fill, flat_folder, scores_file, structured, tiny_checkpoint
from onnx_models import DETECTORS, encoded, flat_picture, make_bundle, onnx_bytes

pytestmark = pytest.mark.usefixtures("undrawn")
LABELS = np.array([int(image.startswith("fake")) for image in LEVELS])
SURE = {image: (0.9 if label else 0.1) for image, label in zip(LEVELS, LABELS, strict=True)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flat_folder(tmp_path / "pictures")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    points = '[{"false_positive_rate": null, "threshold": {"real": 0.4, "fake": 0.6}},'
    points += ' {"false_positive_rate": 0.05, "threshold": {"real": 0.4, "fake": 0.98}}]'
    path = tmp_path / "tiny.onnx"
    path.write_bytes(onnx_bytes({"fakelens.operating_points": points}))
    return path


def judged(
    folder: Path, models: Sequence[Path] = (), scores: Sequence[Path] = (), workdir: Path = Path("nowhere")
) -> tuple[JudgeResults, FolderScores]:
    settings = EvaluationSettings(num_resamples=100)
    return judge_folder(folder, models, scores, workdir=workdir, settings=settings, seed=0)


def said(level: int) -> float:
    """What the tiny detector says of a flat picture."""
    return 1 / (1 + float(np.exp(-12 * (level / 255 - 0.5))))


def test_figures_by_hand(folder: Path, model: Path) -> None:
    found, scored = judged(folder, [model])
    (system,) = found.systems
    metrics = system.metrics
    assert (found.num_images, found.num_fake, system.name, system.temperature) == (8, 4, "tiny", 1.0)
    # Wrong: the photograph at 200 and the fake at 90. Of 16 pairs 4 + 4 + 3 + 2 are in order.
    assert metrics.confusion_matrix == ((3, 1), (1, 3))
    assert (metrics.accuracy, metrics.balanced_accuracy) == (0.75, 0.75)
    assert metrics.auc == pytest.approx(13 / 16)
    assert [(g.label, g.name, g.num_images, g.share_right) for g in system.metrics.groups] == [
        (0, "unknown", 1, 0), (0, "camera", 2, 1), (0, "phone", 1, 1),
        (1, "unknown", 1, 0), (1, "flux", 2, 1), (1, "sdxl", 1, 1),
    ]  # fmt: skip
    probabilities = dict(zip(scored.pictures.keys, scored.systems[0].probabilities, strict=True))
    assert probabilities == pytest.approx({image: said(level) for image, level in LEVELS.items()}, abs=0.01)
    # At 5 % false alarms only the fakes at 255 and 220 are called so.
    at_half, at_rate = system.metrics.operating_points
    assert (at_half.false_positive_rate, at_half.recall) == (0.25, 0.75)
    assert (at_rate.false_positive_rate_on_validation, at_rate.false_positive_rate, at_rate.recall) == (0.05, 0, 0.5)


def test_tables_say_the_same(folder: Path, model: Path) -> None:
    found, _ = judged(folder, [model])
    head, (row,) = (main_table(found).head, main_table(found).rows)  # too few pictures for a null
    cells = dict(zip(head, row, strict=True))
    assert cells["Accuracy (95 %)"].startswith("0.750 (")
    assert (cells["n"], cells["Precision"], cells["False-positive rate"]) == ("8", "0.750", "0.250")
    assert [row[:3] for row in groups_table(found, at_most=2).rows] == [
        ("real", "unknown", "1"),
        ("fake", "unknown", "1"),
    ]
    assert points_table(found).rows[1][1:6] == (
        "false-positive rate at most 5 % on validation",
        "0.400",
        "0.980",
        "0.0 %",
        "50.0 %",
    )
    assert not pairs_table(found).rows


def test_scores_are_those_of_predict(tmp_path: Path) -> None:
    names = {f"{label}/{index}.jpg": structured(index, "JPEG") for index, label in enumerate(["real", "fake"] * 20)}
    folder = fill(tmp_path / "pictures", names)
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, stored_px in zip(paths, ("256", "300"), strict=True):
        path.write_bytes(onnx_bytes({"fakelens.name": path.stem, "fakelens.stored_px": stored_px}))
    _, scored = judged(folder, paths)
    for system, path in zip(scored.systems, paths, strict=True):
        detector = OnnxDetector(path)
        answers = [judge((folder / key).read_bytes(), detector) for key in scored.pictures.keys]
        alone = [answer.probability for answer in answers if isinstance(answer, Judgement)]
        np.testing.assert_allclose(system.probabilities, alone, rtol=1e-5)
    assert not np.array_equal(scored.systems[0].probabilities, scored.systems[1].probabilities)


def test_two_systems_are_compared_on_the_same_pictures(folder: Path, model: Path, tmp_path: Path) -> None:
    found, scored = judged(folder, [model], [scores_file(tmp_path / "theirs.csv", SURE)])
    (pair,) = found.pairs
    one, other = (system.probabilities for system in scored.systems)
    assert (pair.first, pair.second) == ("tiny", "theirs")
    assert pair.comparison == compare(scored.pictures.labels, one, other)
    assert (pair.comparison.only_first_right, pair.comparison.only_second_right) == (0, 2)
    theirs = found.systems[1]
    assert (theirs.metrics.accuracy, theirs.temperature) == (1.0, None)
    assert [(p.threshold_real, p.threshold_fake) for p in theirs.metrics.operating_points] == [(0.4, 0.6)]
    assert pairs_table(found).rows[0][2:6] == ("-0.250", "0", "2", "0.5")


def test_refused_pictures_are_left_out_for_all(folder: Path, model: Path, tmp_path: Path) -> None:
    before, _ = judged(folder, [model], [scores_file(tmp_path / "theirs.csv", SURE)])
    fill(folder, {"fake/flux/broken.png": b"not a picture", "real/empty.jpg": b""})
    # Their wrong score of a picture that nobody else can see does not count either.
    scores = scores_file(tmp_path / "theirs.csv", {**SURE, "fake/flux/broken.png": 0.0})
    found, scored = judged(folder, [model], [scores])
    assert [(r.image, r.reason) for r in found.excluded] == [
        ("real/empty.jpg", "the file is empty"),
        ("fake/flux/broken.png", f"not a {format_words()} picture"),
    ]
    assert found.systems == before.systems
    assert set(scored.pictures.keys) == set(LEVELS)
    assert any("left out for all systems" in note for note in found.notes)


def test_a_picture_under_both_labels_is_left_out_as_are_its_copies(tmp_path: Path, model: Path) -> None:
    files = {f"{label}/{index}.png": structured(index) for index, label in enumerate(["real", "fake"] * 4)}
    before, _ = judged(fill(tmp_path / "pictures", files), [model])
    photograph = Image.open(io.BytesIO(structured(20)))
    doubles = {
        "real/copied.png": structured(20),
        "real/half.png": encoded(photograph.resize((150, 150)), "PNG"),
        "fake/flux/copy.png": structured(20),
        "fake/flux/again.jpg": encoded(photograph, "JPEG", quality=30),
    }
    found, scored = judged(fill(tmp_path / "pictures", doubles), [model])
    assert {picture.image for picture in found.excluded} == set(doubles)
    reasons = {picture.image: picture.reason for picture in found.excluded}
    assert reasons["fake/flux/copy.png"] == "the same picture has the other label as real/copied.png"
    assert set(scored.pictures.keys) == set(files)
    assert found.systems == before.systems
    (warning,) = set(found.warnings) - set(before.warnings)
    assert warning.startswith("4 pictures lie under both labels")


def test_an_edited_photograph_is_no_double_of_its_original(tmp_path: Path, model: Path) -> None:
    # A patch of an eighth of the side, repainted: the fakes of many data sets, and the hash is near.
    photograph = Image.open(io.BytesIO(structured(20))).convert("RGB")
    edited = photograph.copy()
    patch = (140, 140, 170, 170)
    edited.paste(edited.crop(patch).point(lambda level: 255 - (255 - level) * 3 // 4), patch)
    files = {"real/a.png": encoded(photograph, "PNG"), "fake/a.png": encoded(edited, "PNG")}
    # Plain pictures share one hash, whatever their brightness.
    plain = {"real/dark.png": 20, "fake/bright.png": 240}
    files |= {name: encoded(Image.new("RGB", (300, 300), (level,) * 3), "PNG") for name, level in plain.items()}
    hashes = [examine_image(data, 256, MIN_SIDE_PX)[2] for data in files.values()]
    assert (hashes[0] ^ hashes[1]).bit_count() <= MAX_DISTANCE_BITS
    assert hashes[2] == hashes[3]
    found, _ = judged(fill(tmp_path / "pictures", files), [model])
    assert (found.excluded, found.num_images) == ((), 4)


def test_a_label_of_doubles_alone_is_refused(tmp_path: Path, model: Path) -> None:
    files = {"real/a.png": structured(0), "real/b.png": structured(1), "fake/c.png": structured(1)}
    with pytest.raises(ValueError, match=r"no fake picture of .* can be judged \(fake/c\.png: the same .* real/b"):
        judged(fill(tmp_path / "pictures", files), [model])


# What each system says of photographs a, b, c, d and fakes e, f, g, h, and what is warned of.
DOUBTFUL = {
    "sound": ([0.1, 0.2, 0.3, 0.6, 0.9, 0.8, 0.7, 0.4], None),
    "reversed": ([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.4], r"scores are reversed, AUC 0\.000: .*1 - score.*exchanged"),
    "constant": ([0.5] * 8, r"every picture has the same score, 0\.5: likely cause: a wrong column"),
    "verdicts": ([0, 0, 0, 1, 1, 1, 1, 0], r"all scores are 0 or 1: likely cause: verdicts instead of probabilities"),
    "low": ([0.01, 0.02, 0.01, 0.03, 0.2, 0.3, 0.1, 0.2], r"counts as real at 0\.5, .* 0\.01 to 0\.3: .*threshold"),
    "sure": ([0.9, 0.8, 0.9, 0.7, 0.9, 0.6, 0.5, 0.8], r"counts as fake at 0\.5, .* 0\.5 to 0\.9: .*confidence in a"),
    "chance": ([0.6, 0.2, 0.6, 0.3, 0.5, 0.1, 0.7, 0.2], None),
}  # fmt: skip


def test_doubtful_scores_are_warned_of_with_the_likely_cause(folder: Path, tmp_path: Path) -> None:
    lines = [
        f"{image},{score},{name}"
        for name, (own, _) in DOUBTFUL.items()
        for image, score in zip(LEVELS, own, strict=True)
    ]
    (tmp_path / "x.csv").write_text("\n".join(["image,score,system", *lines]))
    found, scored = judged(folder, scores=[tmp_path / "x.csv"])
    for name, (_, expected) in DOUBTFUL.items():
        warnings = [warning for warning in found.warnings if warning.startswith(f"{name}: ")]
        assert len(warnings) == (expected is not None), (name, warnings)
        assert all(re.search(expected or "", warning) for warning in warnings), (name, warnings)
    page = write_results(JudgementFolder(tmp_path / "out"), found, scored).read_text()
    assert "WARNING: reversed: scores are reversed" in page


def test_what_is_said_of_files_and_units_is_in_the_results(folder: Path, tmp_path: Path) -> None:
    fill(folder, {"fake/notes.txt": b"x"})
    found, _ = judged(folder, scores=[scores_file(tmp_path / "theirs.csv", SURE, "image,logit")])
    assert "left out: 1 TXT" in found.notes
    assert any(re.match("theirs: the column logit holds numbers from 0.1 to 0.9", text) for text in found.warnings)


def test_two_pictures_show_no_reversal(tmp_path: Path) -> None:
    folder = fill(tmp_path / "two", {"real/a.png": structured(0), "fake/b.png": structured(1)})
    found, _ = judged(folder, scores=[scores_file(tmp_path / "x.csv", {"real/a.png": 0.7, "fake/b.png": 0.2})])
    assert found.systems[0].metrics.auc == 0
    assert found.warnings == ()


def test_a_poor_system_is_not_called_reversed() -> None:
    labels = np.arange(2000) % 2
    probabilities = np.random.default_rng(0).normal(0.5 - 0.01 * labels, 0.1)
    metrics = summarise(labels, probabilities, np.full(2000, "x"), (), seed=0, num_resamples=100)
    assert 0.42 < metrics.auc < 0.5 - 2 * 0.0129  # two standard errors of chance
    assert implausibilities(probabilities, metrics, is_model=False) == []


def test_exchanged_folders_are_the_cause_for_a_model(tmp_path: Path, model: Path) -> None:
    levels = {"fake": (0, 30, 60, 80, 100), "real": (160, 180, 200, 220, 250)}
    files = {f"{label}/{level}.png": flat_picture(level) for label, own in levels.items() for level in own}
    found, _ = judged(fill(tmp_path / "pictures", files), [model])
    (warning,) = found.warnings
    assert (
        warning == "tiny: scores are reversed, AUC 0.000: likely cause: the pictures of real/ and fake/ are exchanged"
    )


def test_a_label_without_a_picture_that_can_be_judged(folder: Path, model: Path) -> None:
    fill(folder, {image: b"broken" for image in LEVELS if image.startswith("fake")})
    with pytest.raises(ValueError, match=r"no fake picture of .* can be judged \(fake/flux/e\.png: not a JPEG.*add"):
        judged(folder, [model])


def test_labels_of_other_names_are_named_too(tmp_path: Path, model: Path) -> None:
    folder = fill(tmp_path / "pictures", {"nature/a.png": structured(0), "ai/b.png": b"broken"})
    with pytest.raises(ValueError, match=r"no fake picture of .* can be judged \(ai/b\.png: not a JPEG"):
        judged(folder, [model])


def test_one_picture_of_each_label_is_judged_and_not_compared(tmp_path: Path, model: Path) -> None:
    folder = fill(tmp_path / "two", {"real/a.png": structured(0), "fake/b.png": structured(1)})
    found, scored = judged(folder, [model], [scores_file(tmp_path / "x.csv", {"real/a.png": 0, "fake/b.png": 1})])
    assert found.pairs == ()
    assert any("not tested against each other" in note for note in found.notes)
    write_results(JudgementFolder(tmp_path / "out"), found, scored)


def test_the_null_is_what_metadata_alone_scores(tmp_path: Path, model: Path) -> None:
    files = {f"real/{index}.jpg": structured(index, "JPEG") for index in range(20)}
    files |= {f"fake/{index}.png": structured(100 + index) for index in range(20)}
    found, _ = judged(fill(tmp_path / "pictures", files), [model])
    assert found.null is not None
    assert found.null.random_split == 1.0
    assert "1.000 balanced accuracy" in found.null_words
    assert main_table(found).rows[-1][3] == "1.000"


def test_too_few_pictures_have_no_null_and_say_so(folder: Path, model: Path) -> None:
    found, _ = judged(folder, [model])
    assert found.null is None
    assert "takes 20 pictures of each label, here are 4 real and 4 fake" in found.null_words


def test_a_checkpoint_brings_its_temperature_and_thresholds(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "best.safetensors"
    spec = tiny_checkpoint(path)
    plain, plain_scores = judged(folder, [path])
    assert (plain.systems[0].name, plain.systems[0].temperature) == (spec.name, 1.0)
    assert any("never judged on validation pictures, so its temperature is 1" in note for note in plain.notes)
    evaluated(path, 0.1, [(None, 0.4, 0.6), (0.01, 0.4, 0.9)])
    found, scores = judged(folder, [path])
    assert (found.systems[0].temperature, len(found.systems[0].metrics.operating_points)) == (0.1, 2)
    assert not any("temperature" in note for note in found.notes)
    logits = [np.log(p / (1 - p)) for p in (plain_scores.systems[0].probabilities, scores.systems[0].probabilities)]
    np.testing.assert_allclose(logits[1], logits[0] / 0.1, rtol=1e-3)


def test_an_evaluation_of_an_earlier_training_does_not_count(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "best.safetensors"
    tiny_checkpoint(path)
    evaluated(path, 0.1, [(None, 0.4, 0.6)])
    weights = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({name: value + 1 for name, value in weights.items()}, path, metadata)
    Stage("train", path.parent, version=1, settings={}, inputs={}).finish([path], {})
    found, _ = judged(folder, [path])
    assert found.systems[0].temperature == 1.0
    assert any("trained again since" in note for note in found.notes)


def test_a_bundle_is_all_of_its_models(folder: Path, tmp_path: Path) -> None:
    found, _ = judged(folder, [make_bundle(tmp_path / "bundle", demo=True)])
    assert [system.name for system in found.systems] == list(DETECTORS)
    assert len(found.pairs) == 3
    assert any(
        "verdicts on real pictures mean nothing: small_net, large_net, mobile_net" in warning
        for warning in found.warnings
    )


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx", "c.onnx")]
    for path, variant in zip(paths, ("fp32", "int8-static", "fp32"), strict=True):
        path.write_bytes(onnx_bytes({"fakelens.variant": variant}))
    assert [model.name for model in open_models(paths[:1])] == ["tiny"]
    assert [model.name for model in open_models(paths[:2])] == ["tiny (fp32)", "tiny (int8-static)"]
    assert [model.name for model in open_models(paths)] == [f"tiny ({path})" for path in paths]
    with pytest.raises(ValueError, match=r"a\.onnx\) was given twice"):
        open_models([paths[0], paths[0]])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.onnx", "cannot be read"),
        ("missing.safetensors", "train the detector first"),
        ("model.pt", r"is not a model: give a \.safetensors checkpoint, an \.onnx file or a bundle"),
        ("", r"is not a bundle, it has no bundle\.json"),
    ],
)
def test_what_is_no_model_is_named(name: str, message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        judged(folder, [tmp_path / name])


def test_what_is_no_labelled_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing is not a folder: name one that holds"):
        LabelledFolder.open(tmp_path / "missing")
    with pytest.raises(ValueError, match=r"has no folder fake/: it should hold real/ and fake/ .*It holds real/"):
        LabelledFolder.open(fill(tmp_path, {"real/a.png": b"x"}))


@pytest.mark.parametrize("name", ["tiny", "label"])
def test_names_must_differ(name: str, folder: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{name}\.csv: a system or column is called '{name}' already: rename"):
        judged(folder, [model], [scores_file(tmp_path / f"{name}.csv", SURE)])


def manifest_row(split: str, data: bytes, stored_px: int = 256) -> ManifestRow:
    _, container, phash = examine_image(data, stored_px, MIN_SIDE_PX)
    return ManifestRow(split, 0, 0, "x", "x", "x", f"{phash:016x}", 0, container.format, 1, 1, 1, 0.0, 0.0)


def test_pictures_of_the_training_are_warned_of(tmp_path: Path, model: Path) -> None:
    files = {f"{label}/{index}.png": structured(index) for index, label in enumerate(["real", "fake"] * 3)}
    folder = fill(tmp_path / "pictures", files)
    run = tmp_path / "run"
    # The same picture as JPEG in training, another one in validation, a third one in the test split only.
    rows = [manifest_row("train", structured(1, "JPEG")), manifest_row("val", structured(2))]
    write_manifest(run / "data" / "manifest.parquet", [*rows, manifest_row("test", structured(3))])
    found, _ = judged(folder, [model], workdir=run)
    assert found.near_training == ("real/2.png", "fake/1.png")
    (warning,) = found.warnings
    assert "2 of the 6 pictures" in warning
    assert "mean nothing" in warning
    # A model's own run is looked at, whichever working folder is named.
    (run / "net" / "onnx").mkdir(parents=True)
    own = model.rename(run / "net" / "onnx" / "tiny.onnx")
    assert judged(folder, [own])[0].near_training == found.near_training


def test_each_kept_picture_keeps_what_is_its_own_where_others_are_left_out(tmp_path: Path, model: Path) -> None:
    doubles = {"real/0.png": structured(0), "fake/0.png": structured(0)}
    photographs = {f"real/{index}.png": structured(index) for index in (1, 2)}
    fakes = {f"fake/{index}.jpg": structured(index, "JPEG") for index in (3, 4)}
    run = tmp_path / "run"
    write_manifest(run / "data" / "manifest.parquet", [manifest_row("train", structured(2))])
    found, scored = judged(fill(tmp_path / "pictures", doubles | photographs | fakes), [model], workdir=run)
    assert found.near_training == ("real/2.png",)
    assert [container.format for container in scored.containers] == ["PNG", "PNG", "JPEG", "JPEG"]


def test_it_is_said_when_there_is_no_training_to_compare_with(folder: Path, model: Path) -> None:
    found, _ = judged(folder, [model])
    assert found.near_training == ()
    assert any("were not compared with those used in training" in note for note in found.notes)


def test_files(folder: Path, model: Path, tmp_path: Path) -> None:
    fill(folder, {"fake/broken.png": b"not a picture"})
    lines = [f"{image},{score},{name}" for image, score in SURE.items() for name in ("../$x$/|", "../$X$?", "_系统")]
    (tmp_path / "x.csv").write_text("\n".join(["image,score,system", *lines]))
    found, scored = judged(folder, [model], [tmp_path / "x.csv"])
    output = tmp_path / "out"
    fill(output, {"plots/mistakes_gone.png": b"of an earlier call", "plots/own.png": b"not ours"})
    assert write_results(JudgementFolder(output), found, scored) == output / "against.md"
    assert {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()} == {
        "against.json", "against.md", "scores.csv", "plots/own.png", "plots/roc.png", "plots/precision_recall.png",
        "plots/reliability.png", "plots/mistakes_tiny.png", "plots/mistakes_.._x_.png", "plots/mistakes_.._x_-2.png",
        "plots/mistakes__.png",
    }  # fmt: skip
    with (output / "scores.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(LEVELS)
    assert (rows["fake/h.png"]["label"], rows["fake/flux/e.png"]["group"]) == ("fake", "flux")
    assert float(rows["real/d.png"]["tiny"]) == pytest.approx(said(200), abs=0.01)
    assert rows["real/d.png"]["../$x$/|"] == "0.100000"


def test_json_and_page_say_everything(folder: Path, model: Path, tmp_path: Path) -> None:
    fill(folder, {"fake/broken.png": b"not a picture"})
    found, scored = judged(folder, [model], [scores_file(tmp_path / "theirs.csv", SURE)])
    page = write_results(JudgementFolder(tmp_path / "out"), found, scored).read_text()
    written: dict[str, Any] = json.loads((tmp_path / "out" / "against.json").read_text())
    tiny, theirs = written["systems"]
    assert (tiny["name"], tiny["origin"], tiny["accuracy"], tiny["num_images"]) == ("tiny", str(model), 0.75, 8)
    assert (theirs["temperature"], theirs["auc"]) == (None, 1.0)
    assert written["pairs"][0]["only_second_right"] == 2
    assert written["excluded"] == [
        {"image": "fake/broken.png", "reason": f"not a {format_words()} picture", "label": 1}
    ]
    assert written["null"] is None
    assert page.count(found.null_words) == 4
    for part in (main_table(found).markdown(), "`fake/broken.png`", "plots/mistakes_theirs.png", "temperature 1"):
        assert part in page


def test_two_folders_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    first, second = tmp_path / "A" / "test", tmp_path / "B" / "test"
    place = output_folder(first, None, tmp_path / "run")
    write_json(place.record, {"folder": str(first)})
    assert output_folder(first, None, tmp_path / "run") == place
    other = output_folder(second, None, tmp_path / "run")
    assert other != place
    assert other.path.parent == place.path.parent
    with pytest.raises(ValueError, match=r"holds the results of another folder.*--output"):
        output_folder(second, place.path, tmp_path / "run")


def test_a_place_that_cannot_be_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="a file is in the way"):
            output_folder(tmp_path / "pictures", place, tmp_path)


def test_results_never_go_among_the_pictures(tmp_path: Path) -> None:
    folder = flat_folder(tmp_path / "lab")
    for place in (folder, folder / "real", folder / "new", tmp_path / "x" / ".." / "lab"):
        with pytest.raises(ValueError, match=r"lies in the folder that is judged.*--output"):
            output_folder(folder, place, tmp_path)
    with pytest.raises(ValueError, match="lies in the folder that is judged"):
        output_folder(folder, None, folder / "fake" / "runs")
    assert output_folder(folder, None, folder / "runs").path.is_relative_to(folder / "runs")  # beside the pictures
    assert output_folder(folder, tmp_path / "lab2", tmp_path).path == tmp_path / "lab2"
