"""Another system's scores are taken as they are meant, and every other file is refused with line and remedy."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakelens.judging.folder import LabelledFolder
from fakelens.judging.foreign import read_foreign_scores
from labelled_pictures import LEVELS, fill, flat_folder, scores_file

SCORES = {image: index / 10 for index, image in enumerate(LEVELS)}


@pytest.fixture
def folder(tmp_path: Path) -> LabelledFolder:
    return LabelledFolder.open(flat_folder(tmp_path / "pictures"))


def values(folder: LabelledFolder, probabilities: np.ndarray) -> dict[str, float]:
    return {key: round(float(value), 6) for key, value in zip(folder.keys, probabilities, strict=True)}


def test_scores_belong_to_their_pictures_in_any_order(folder: LabelledFolder, tmp_path: Path) -> None:
    path = scores_file(tmp_path / "Their system.csv", dict(reversed(SCORES.items())))
    (system,) = read_foreign_scores(path, folder)
    assert (system.name, system.path) == ("Their system", path)
    assert values(folder, system.probabilities) == SCORES


def test_logits_pass_through_the_sigmoid(folder: LabelledFolder, tmp_path: Path) -> None:
    logits = {image: 2 * index - 7 for index, image in enumerate(LEVELS)}
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", logits, "image,logit"), folder)
    expected = {image: 1 / (1 + np.exp(-logit)) for image, logit in logits.items()}
    assert values(folder, system.probabilities) == pytest.approx(expected, abs=1e-6)


def test_paths_may_be_absolute_or_roundabout(folder: LabelledFolder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.root)
    linked = LabelledFolder.open(tmp_path / "link")
    first, second, third, *others = SCORES
    spelt = {
        f"./{first}": 0.0, str(linked.root / second): 0.1, str(folder.root.resolve() / third): 0.2,
        **{image: SCORES[image] for image in others},
    }  # fmt: skip
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", spelt), linked)
    assert values(linked, system.probabilities) == SCORES


def test_one_file_may_hold_several_systems(folder: LabelledFolder, tmp_path: Path) -> None:
    lines = [f"{image},{score},{name}" for image, score in SCORES.items() for name in ("one", "two  words")]
    # A byte-order mark and other columns, as a spreadsheet leaves them.
    text = "\ufeffimage,score,system,remark\n" + "".join(f"{line},fine\n" for line in lines)
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    one, two = read_foreign_scores(tmp_path / "x.csv", folder)
    assert (one.name, two.name) == ("one", "two words")
    assert values(folder, one.probabilities) == values(folder, two.probabilities) == SCORES


def test_a_picture_that_cannot_be_decoded_needs_no_score(folder: LabelledFolder, tmp_path: Path) -> None:
    fill(folder.root, {"fake/broken.png": b"not a picture"})
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", SCORES), LabelledFolder.open(folder.root))
    assert np.isnan(system.probabilities).sum() == 1


def test_percent_are_divided_by_a_hundred(folder: LabelledFolder, tmp_path: Path) -> None:
    percent = {image: 100 * score for image, score in SCORES.items()}
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", percent, "image,percent"), folder)
    assert (values(folder, system.probabilities), system.warnings) == (SCORES, ())


def test_a_rounded_one_is_one(folder: LabelledFolder, tmp_path: Path) -> None:
    scores = {**SCORES, "fake/h.png": "1.0000001", "real/d.png": "-1e-9"}
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", scores), folder)
    assert (system.probabilities.min(), system.probabilities.max()) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "factor", "warning"),
    [
        ("logit", 1, "from 0 to 0.7: likely cause: they are probabilities (call the column score)"),
        ("percent", 1, "from 0 to 0.7: likely cause: they are probabilities (call the column score)"),
        ("logit", 100, "from 0 to 70: likely cause: they are percent (call the column percent)"),
    ],
)
def test_numbers_of_another_unit_are_warned_of(
    kind: str, factor: float, warning: str, folder: LabelledFolder, tmp_path: Path
) -> None:
    given = {image: factor * score for image, score in SCORES.items()}
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", given, f"image,{kind}"), folder)
    assert system.warnings == (f"the column {kind} holds numbers {warning}",)


@pytest.mark.parametrize(
    "spelling",
    [
        "{}",
        "./{}",
        "pictures/{}",
        "../pictures/{}",
        "/their/home/pictures/{}",
        "C:/sets/pictures/{}",
        "a/../{}",
        "{}/.",
    ],
)
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_paths_of_other_systems_and_machines(spelling: str, slash: str, folder: LabelledFolder, tmp_path: Path) -> None:
    given = {spelling.format(image).replace("/", slash): score for image, score in SCORES.items()}
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", given), folder)
    assert values(folder, system.probabilities) == SCORES


@pytest.mark.parametrize(("on_disk", "in_file"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_are_compared_composed(on_disk: Any, in_file: Any, tmp_path: Path) -> None:
    names = {"real/Kölner Dom/é.png": 0.2, "fake/ガ/각.png": 0.9}
    root = tmp_path / unicodedata.normalize(on_disk, "Bilder für alle")
    folder = LabelledFolder.open(fill(root, {unicodedata.normalize(on_disk, name): b"x" for name in names}))
    for prefix in ("", "Bilder für alle/", f"{tmp_path}/Bilder für alle/"):
        given = {unicodedata.normalize(in_file, prefix + name): score for name, score in names.items()}
        (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", given), folder)
        assert system.probabilities.tolist() == [0.2, 0.9]


def test_two_files_of_one_name_are_told_apart_by_their_own_spelling(tmp_path: Path) -> None:
    both = {unicodedata.normalize(form, "real/é.png"): score for form, score in (("NFC", 0.1), ("NFD", 0.2))}
    folder = LabelledFolder.open(fill(tmp_path / "set", dict.fromkeys([*both, "fake/a.png"], b"x")))
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", {**both, "fake/a.png": 0.9}), folder)
    assert values(folder, system.probabilities) == {**both, "fake/a.png": 0.9}
    hangul = [unicodedata.normalize(form, "real/각.png") for form in ("NFC", "NFD")]
    folder = LabelledFolder.open(fill(tmp_path / "other", dict.fromkeys([*hangul, "fake/a.png"], b"x")))
    half_composed = "real/\uac00\u11a8.png"
    with pytest.raises(ValueError, match=r"may be any of .* and .*: rename one of the files"):
        read_foreign_scores(scores_file(tmp_path / "x.csv", {half_composed: 0.5}), folder)


def test_a_file_that_is_not_listed_needs_no_picture(folder: LabelledFolder, tmp_path: Path) -> None:
    fill(folder.root, {"fake/scan.pdf": b"x"})
    (system,) = read_foreign_scores(scores_file(tmp_path / "x.csv", {**SCORES, "fake/scan.pdf": 0.5}), folder)
    assert values(folder, system.probabilities) == SCORES
    assert system.warnings == ("1 scores are of files that are not listed as pictures, such as fake/scan.pdf",)


ROWS = [f"{image},{score}" for image, score in SCORES.items()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"line 1: the columns are missing: its first line must name the columns image and score"),
        (ROWS, r"line 1: the columns are real/camera/a.png, 0.0: its first line"),
        (["image,probability", *ROWS], r"line 1: the columns are image, probability: .*\(logit"),
        (["image,score,logit", *(f"{row},1" for row in ROWS)], r"line 1: the columns are image, score, logit"),
        (['{"a.jpg": 0.5, ' + "x, " * 9000 + "}"], r"line 1: the columns are .{,160}: its first line"),
        (["image,image,score"], r"line 1: the columns are image, image, score"),
        (["image,score"], r"holds no score: write one line for each picture"),
        (["image,score", "real/camera/a.png,high"], r"line 2: the score 'high' is not a number: write it as 0\.93"),
        (
            ["image,score", "real/camera/a.png,"],
            r"line 2: the score '' is not a number: likely cause: the system failed",
        ),
        (["image,score", "real/camera/a.png,None"], r"line 2: the score 'None' is not a number: .*the system failed"),
        (["image,score", "real/camera/a.png,93%"], r"line 2: the score '93%' is not a number: write it as 0\.93"),
        (["image,score", ROWS[0], "fake/h.png,1.01"], r"line 3: the score 1\.01 should be between 0 and 1, .*logit"),
        (["image,score", ROWS[0], "fake/h.png,93"], r"line 3: the score 93 .* from 0 to 93: .*call the column percent"),
        (["image,score", ROWS[1], "fake/h.png,-7.5"], r"line 3: the score -7\.5 .* to 0\.1: .*call the column logit"),
        (["image,score", "fake/h.png,-7.5"], r"line 2: .* from -7\.5 to -7\.5: .*logarithms of probabilities"),
        (["image,score", ROWS[1], "fake/h.png,-1"], r"line 3: .* from -1 to 0\.1: .*or go from -1 to 1 \(write half"),
        (["image,score", "fake/h.png,255"], r"line 2: .* from 255 to 255: likely cause: another scale"),
        (["image,percent", "fake/h.png,101"], r"line 2: the percent 101 should be between 0 and 100"),
        (["image;score", "fake/h.png;0.5"], r"line 1: the columns are image;score: .*separated by commas"),
        (["image,score", "fake/h.png,-0.1"], r"line 2: the score -0\.1 should be between 0 and 1"),
        (
            ["image,score", "fake/h.png,nan"],
            r"line 2: the score nan is not a finite number: .*have it score",
        ),
        (["image,logit", "fake/h.png,inf"], r"line 2: the logit inf is not a finite number"),
        (["image,score", "fake/other.png,0.5"], r"line 2: .* has no picture 'fake/other\.png': .*real/camera/a\.png"),
        (["image,score", "/elsewhere/h.png,0.5"], r"line 2: .* has no picture '/elsewhere/h\.png'"),
        (["image,score", "../pictures,0.5"], r"line 2: .* has no picture '\.\./pictures'"),
        (["image,score", ROWS[0], ROWS[1], f"./{ROWS[0]}"], r"line 4: .* has a score in .*line 2 already: keep one"),
        (["image,score", "fake/h.png"], r"line 2: not as many cells as columns"),
        (["image,score", "fake/h,1.png,0.5"], r"line 2: not as many cells as columns: .*double quotes"),
        (["image,score", '"fake/h.png,0.5'], r"cannot be read as a CSV file in UTF-8"),
        (["image,score,system", "fake/h.png,0.5, "], r"line 2: the system has no name"),
        (["image,score", *ROWS[1:]], r"has no score for 1 of 8 pictures .*real/camera/a\.png: add their lines"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    lines: list[str], message: str, folder: LabelledFolder, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(ValueError, match=rf"bad\.csv.*{message}"):
        read_foreign_scores(path, folder)


def test_every_system_owes_every_picture(folder: LabelledFolder, tmp_path: Path) -> None:
    lines = [f"{row},one" for row in ROWS] + [f"{row},two" for row in ROWS[2:]]
    (tmp_path / "x.csv").write_text("\n".join(["image,score,system", *lines]))
    with pytest.raises(ValueError, match="two has no score for 2 of 8 pictures"):
        read_foreign_scores(tmp_path / "x.csv", folder)


def test_files_that_are_no_text_are_named(folder: LabelledFolder, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"image,score\n\xff\xfe,0.5\n")
    for path in (tmp_path / "x.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(ValueError, match=rf"{path} cannot be read as a CSV file"):
            read_foreign_scores(path, folder)
