"""One listing of pictures for all commands: what counts, in which order, and what is said of the rest."""

import json
import os
import sys
from pathlib import Path

import pytest

from fakelens import cli
from fakelens.core import picture_folder
from fakelens.core.picture_folder import SUFFIXES, labelled_pictures, left_out_words, pictures_in
from fakelens.judging.folder import LabelledFolder
from fakelens.runtime.folder import picture_files
from fakelens.settings import SourceSettings
from fakelens.sources.folder import FolderSource
from onnx_models import flat_picture, make_bundle
from reading import all_rows


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(flat_picture(200, (80, 80)))
    return folder


def keys(folder: Path) -> list[str]:
    return list(pictures_in(folder).keys)


def said(folder: Path) -> str:
    return " ".join(left_out_words([pictures_in(folder)]))


def test_every_ending_counts_in_any_case(tmp_path: Path) -> None:
    names = [f"{index}{ending}" for index, ending in enumerate(sorted(SUFFIXES))]
    fill(tmp_path, *names, *(name.upper() for name in names))
    assert set(keys(tmp_path)) == {*names, *(name.upper() for name in names)}
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".bmp", ".gif"} < SUFFIXES
    assert said(tmp_path) == ""


@pytest.mark.parametrize(
    "name",
    [
        "._a.jpg",
        ".a.jpg",
        ".thumbnails/a.jpg",
        "x/.git/deep/a.jpg",
        "__MACOSX/a.jpg",
        "x/@eaDir/a.jpg",
        "lost+found/a.jpg",
    ],
)
def test_hidden_files_and_a_systems_folders_are_no_pictures(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a.jpg", "x/b.jpg", name)
    assert keys(tmp_path) == ["a.jpg", "x/b.jpg"]
    assert said(tmp_path) == "left out: 1 hidden"


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_folder, "SUFFIXES", SUFFIXES - set(picture_folder.HEIF_SUFFIXES))
    fill(tmp_path, "a.jpg", "1.HEIC", "x/2.heif", "3.hif", "a.CR2", "b.cr2", "notes.txt", "README", ".hidden")
    words = "left out: 3 HEIC, 2 CR2, 1 TXT, 1 hidden, 1 without an ending (to read HEIC: pip install 'fakelens[heif]')"
    assert said(tmp_path) == words


def test_many_kinds_are_one_line(tmp_path: Path) -> None:
    fill(tmp_path, *(f"file.e{number:02}" for number in range(20)))
    assert said(tmp_path) == "left out: " + ", ".join(f"1 E{number:02}" for number in range(8)) + ", 12 others"


def test_the_order_is_that_of_the_names_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "b/2.jpg", "b/1.jpg", "a/9.jpg", "c.jpg", "B/1.jpg")
    expected = keys(tmp_path)
    assert expected == sorted(expected)
    scan = os.scandir

    class Backwards:
        def __init__(self, path: str) -> None:
            self._entries = sorted(scan(path), key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> "Backwards":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> "Backwards":
            return self

        def __next__(self) -> os.DirEntry[str]:
            if not self._entries:
                raise StopIteration
            return self._entries.pop(0)

    monkeypatch.setattr(os, "scandir", Backwards)
    assert keys(tmp_path) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_links_are_followed_once(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", "a.jpg", "deep/b.jpg")
    folder = fill(tmp_path / "folder", "own.jpg")
    for name in ("z", "m", "q"):  # the first by name counts, whatever the file system lists first
        (folder / name).symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "single.jpg").symlink_to(elsewhere / "a.jpg")
    assert keys(folder) == ["m/a.jpg", "m/deep/b.jpg", "own.jpg", "single.jpg"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
def test_a_broken_link_is_a_picture_that_cannot_be_read_and_a_pipe_is_none(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert keys(tmp_path) == ["gone.jpg"]
    assert said(tmp_path) == "left out: 1 not a file"


def test_a_folder_without_pictures_says_what_there_is(tmp_path: Path) -> None:
    fill(tmp_path, "real/a.cr2", "real/b.cr2", "fake/a.jpg")
    with pytest.raises(ValueError, match=r"real holds no picture: files with .*\.webp count; left out: 2 CR2"):
        labelled_pictures(tmp_path)
    (tmp_path / "fake" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"no pictures in .*left out: 2 CR2"):
        picture_files([tmp_path])
    with pytest.raises(ValueError, match=r"no pictures in .*\*\.jpg"):
        picture_files([tmp_path / "*.jpg"])


@pytest.mark.parametrize("pattern", ["*", "**", "**/*", "[x]*", "?.jpg"])
def test_a_glob_is_what_it_matches_and_each_file_once(tmp_path: Path, pattern: str) -> None:
    fill(tmp_path, "a.jpg", "x/b.jpg", "x/.c.jpg", "x/y/d.png")
    expected = {"[x]*": ["x/b.jpg", "x/y/d.png"], "?.jpg": ["a.jpg"]}.get(pattern, ["a.jpg", "x/b.jpg", "x/y/d.png"])
    files, notes = picture_files([tmp_path / pattern])
    assert notes == (["left out: 1 hidden"] if pattern != "?.jpg" else [])
    assert [file.relative_to(tmp_path).as_posix() for file in files] == expected


def test_a_name_that_ends_in_a_space_is_one(tmp_path: Path) -> None:
    assert keys(fill(tmp_path, "a.jpg ")) == ["a.jpg "]


def test_all_commands_list_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "set"
    names = ["a.jpg", "sdxl/b.tiff", "sdxl/c.BMP", "d.gif", "e.jpe", "._a.jpg", ".thumbnails/a.jpg", "f.raw", "x.txt"]
    for label in ("real", "fake"):
        fill(root / label, *names)
        (root / label / "album").symlink_to(fill(tmp_path / f"linked-{label}", "l.jpg"))
    expected = {
        f"{label}/{name}" for label in ("real", "fake")
        for name in ("a.jpg", "sdxl/b.tiff", "sdxl/c.BMP", "d.gif", "e.jpe", "album/l.jpg")
    }  # fmt: skip
    judged = LabelledFolder.open(root)
    assert set(judged.keys) == expected
    words = "left out: 4 hidden, 2 RAW, 2 TXT"
    assert judged.notes == (words,)
    source = FolderSource(SourceSettings(source="folder", path=str(root)))
    assert {row.key for row in all_rows(source)} == expected
    sys.argv = ["fakelens", "predict", str(root), "--bundle", str(make_bundle(tmp_path / "bundle")), "--json"]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert {
        Path(json.loads(line)["path"]).relative_to(root).as_posix() for line in printed.out.splitlines()
    } == expected
    assert f"note: {words}" in printed.err


def test_preparing_says_what_is_left_out(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        fill(tmp_path / label, "a.jpg", "b.nef")
    said: list[str] = []

    class Reporter:
        def say(self, text: str) -> None:
            said.append(text)

    FolderSource(SourceSettings(source="folder", path=str(tmp_path))).catalogue(Reporter())  # type: ignore[arg-type]
    assert said == ["left out: 2 NEF"]
