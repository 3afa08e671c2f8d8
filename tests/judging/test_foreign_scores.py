"""Another system's scores are taken as they are meant, and every other file is refused with line and remedy."""

from pathlib import Path

import numpy as np
import pytest

from fakelens.judging.folder import LabelledFolder
from fakelens.judging.systems import read_foreign_scores
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


ROWS = [f"{image},{score}" for image, score in SCORES.items()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"line 1: the columns are missing: its first line must name the columns image and score"),
        (ROWS, r"line 1: the columns are real/camera/a.png, 0.0: its first line"),
        (["image,probability", *ROWS], r"line 1: the columns are image, probability: .*\(or logit"),
        (["image,score,logit", *(f"{row},1" for row in ROWS)], r"line 1: the columns are image, score, logit"),
        (["image,image,score"], r"line 1: the columns are image, image, score"),
        (["image,score"], r"holds no score: write one line for each picture"),
        (["image,score", "real/camera/a.png,high"], r"line 2: the score 'high' is not a number: write it as 0\.93"),
        (["image,score", "real/camera/a.png,"], r"line 2: the score '' is not a number"),
        (["image,score", ROWS[0], "fake/h.png,1.01"], r"line 3: the score 1\.01 should be between 0 and 1 .*logit"),
        (["image,score", "fake/h.png,-0.1"], r"line 2: the score -0\.1 should be between 0 and 1"),
        (["image,score", "fake/h.png,nan"], r"line 2: the score nan should be between 0 and 1"),
        (["image,logit", "fake/h.png,inf"], r"line 2: the logit inf should be finite"),
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
