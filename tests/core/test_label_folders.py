"""Which words state a label, and which folders of a labelled folder are read, named or left out."""

from pathlib import Path

import pytest

from fakelens.config import with_overrides
from fakelens.core.picture_folder import labelled_pictures
from fakelens.core.scoring import FAKE, REAL, label_of
from fakelens.judging.folder import LabelledFolder
from fakelens.settings import SourceSettings
from fakelens.sources.folder import FolderSource
from onnx_models import flat_picture
from reading import all_rows


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(flat_picture(200, (80, 80)))
    return root


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *((word, REAL) for word in ("real", "REAL", "0_real", "0real", "Real Images", "training_real", "nature")),
        *((word, REAL) for word in ("human", "photos", "real-photos", "1.REAL")),
        *((word, FAKE) for word in ("fake", "FAKE", "1_fake", "1fake", "ai", "AI", "ai-generated", "Fake_images")),
        *((word, FAKE) for word in ("AIGC", "deepfake", "test fake faces", "synthetic")),
        *((word, None) for word in ("", "0", "1", "train", "images", "unreal", "not_real", "real_fake", "nonfake")),
        *((word, None) for word in ("ai photos", "realistic", "camera", "sdxl", "real_sdxl", "maid")),
        *((value, None) for value in (0, 1, True, False, None, 0.5)),
    ],
)
def test_a_word_states_a_label_only_where_its_meaning_is_certain(value: object, label: int | None) -> None:
    assert label_of(value) == label


def test_the_setting_has_the_last_word() -> None:
    values = {"0": "fake", "True": "real", "real": "fake"}
    assert [label_of(value, values) for value in (0, True, "real", "fake", 1)] == [FAKE, REAL, FAKE, FAKE, None]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("data.label_values={0: fake, 1: real}", {"0": "fake", "1": "real"}),
        ("data.label_values={true: fake, no: real}", {"True": "fake", "False": "real"}),
        ("data.label_values.7=fake", {"7": "fake"}),
    ],
)
def test_the_setting_takes_numbers_and_truth_values(override: str, values: dict[str, str]) -> None:
    assert with_overrides(SourceSettings(), [override.removeprefix("data.")]).label_values == values


@pytest.mark.parametrize("value", ["fakes", "FAKE", 1, None])
def test_the_setting_refuses_other_labels(value: object) -> None:
    with pytest.raises(ValueError, match=r"label_values.*'real' or 'fake'"):
        SourceSettings.checked({"label_values": {"a": value}})


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("real", "fake"), {"real": REAL, "fake": FAKE}),
        (("nature", "ai"), {"nature": REAL, "ai": FAKE}),
        (("0_real", "1_fake"), {"0_real": REAL, "1_fake": FAKE}),
        (("REAL", "FAKE"), {"REAL": REAL, "FAKE": FAKE}),
        (("real", "ai"), {"real": REAL, "ai": FAKE}),
        (("real", "fake", "deepfakes"), {"real": REAL, "fake": FAKE}),
        (("photos", "ai", "deepfakes"), {"photos": REAL, "ai": FAKE, "deepfakes": FAKE}),
    ],
)
def test_folders_whose_meaning_is_certain_are_read(
    tmp_path: Path, folders: tuple[str, ...], expected: dict[str, int]
) -> None:
    fill(tmp_path, *(f"{folder}/sdxl/a.jpg" for folder in folders), *(f"{folder}/b.jpg" for folder in folders))
    rows = {row.key: (row.label, row.generator) for row in all_rows(FolderSource(settings(tmp_path)))}
    keys = {f"{name}/{rest}": label for name, label in expected.items() for rest in ("sdxl/a.jpg", "b.jpg")}
    assert rows == {key: (label, "sdxl" if "sdxl" in key else "unknown") for key, label in keys.items()}
    judged = LabelledFolder.open(tmp_path)
    assert dict(zip(judged.keys, judged.labels.tolist(), strict=True)) == keys


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("cats/a.jpg", "dogs/a.jpg"), r"has no folder real/: .*It holds cats/, dogs/\. Rename them, or say which"),
        (("real/a.jpg", "sdxl/a.jpg"), r"has no folder fake/: .*It holds real/, sdxl/\. .*data\.label_values="),
        (("REAL/a.jpg", "FAKE/a.jpg", "x/a.jpg"), r"may be neither: .*It holds FAKE/, REAL/, x/\. .*label_values="),
        (("a.jpg",), r"has no folder real/: .*It holds no folder\."),
        (("train/REAL/a.jpg", "train/FAKE/a.jpg", "test/x/a.jpg"), r"It holds test/, train/\. .*that do: \S*/train$"),
        (("a/0/a.jpg", ".real/a.jpg", "fake/a.jpg"), r"has no folder real/: .*It holds a/, fake/\."),
    ],
)
def test_other_folders_are_named_with_the_setting_that_maps_them(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    fill(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        FolderSource(settings(tmp_path))
    with pytest.raises(ValueError, match=r"It holds .*\. (Rename them, or say|Name one of its folders)"):
        LabelledFolder.open(tmp_path)


def test_mapped_folders_are_read_and_others_said(tmp_path: Path) -> None:
    fill(tmp_path, "cats/a.jpg", "dogs/x/a.jpg", "dogs2/a.jpg", "notes/a.jpg", "fake/a.jpg")
    reals, fakes = labelled_pictures(tmp_path, {"cats": "real", "dogs": "fake", "dogs2": "fake"})
    assert reals.keys == ("cats/a.jpg",)
    assert fakes.keys == ("dogs/x/a.jpg", "dogs2/a.jpg", "fake/a.jpg")
    assert dict(reals.left_out) == {"folder notes/": 1}
    with pytest.raises(ValueError, match=r"has no folder cat/, which data\.label_values names\. It holds cats/, dogs/"):
        labelled_pictures(tmp_path, {"cat": "real", "dogs": "fake"})


def test_one_of_the_two_folders_itself_is_told_so(tmp_path: Path) -> None:
    fill(tmp_path, "real/a.jpg", "fake/a.jpg")
    with pytest.raises(ValueError, match=f"name the folder above it: {tmp_path}$"):
        LabelledFolder.open(tmp_path / "real")


def test_a_judged_folder_heeds_the_names_it_has_and_no_others(tmp_path: Path) -> None:
    fill(tmp_path, "cats/a.jpg", "dogs/x/a.jpg")
    judged = LabelledFolder.open(tmp_path, {"cats": "real", "dogs": "fake", "of_the_training": "fake"})
    assert dict(zip(judged.keys, judged.labels.tolist(), strict=True)) == {"cats/a.jpg": REAL, "dogs/x/a.jpg": FAKE}


def settings(path: Path) -> SourceSettings:
    return SourceSettings(source="folder", path=str(path))
