"""Your own pictures: what counts as one, what its generator is called, and which mistakes are named."""

import io
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from fakelens.core.imaging import ImageRefused, decode
from fakelens.core.scoring import FAKE, REAL
from fakelens.settings import SourceSettings
from fakelens.sources import folder as folder_module
from fakelens.sources.base import Source
from fakelens.sources.folder import FolderSource
from reading import all_rows, read, read_all


def picture(shade: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80), (shade, shade, shade)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def opened(path: Path | str | None, seed: int = 0) -> FolderSource:
    return FolderSource(SourceSettings(source="folder", path=None if path is None else str(path), seed=seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["real/a.jpg", "real/camera/b.PNG", "real/camera/trip/c.webp", "fake/d.JPEG", "fake/sdxl/e.avif"]
    names += ["fake/sdxl/deep/er/f.jfif", "fake/flux/g.mpo", "fake/flux/Name with spaces é.jpg"]
    return fill(tmp_path / "pictures", {name: picture(shade) for shade, name in enumerate(names)})


def test_fulfils_the_contract(folder: Path) -> None:
    made: Source = opened(folder)
    assert (made.name, made.is_demo, made.revision) == ("folder", False, None)
    assert made.licence == "your own pictures: their licence is yours to know"
    assert made.description == "pictures of the folder pictures: 3 real and 5 fake"
    assert made.test_sets() == {}


def test_generator_is_the_first_folder(folder: Path) -> None:
    found = {row.key: (row.label, row.generator) for row in all_rows(opened(folder))}
    assert found == {
        "real/a.jpg": (REAL, "unknown"),
        "real/camera/b.PNG": (REAL, "camera"),
        "real/camera/trip/c.webp": (REAL, "camera"),
        "fake/d.JPEG": (FAKE, "unknown"),
        "fake/sdxl/e.avif": (FAKE, "sdxl"),
        "fake/sdxl/deep/er/f.jfif": (FAKE, "sdxl"),
        "fake/flux/g.mpo": (FAKE, "flux"),
        "fake/flux/Name with spaces é.jpg": (FAKE, "flux"),
    }


def test_hidden_and_other_files_do_not_count(folder: Path) -> None:
    before = opened(folder).catalogue()
    others = [
        "real/.hidden.jpg",
        "real/.git/x.jpg",
        "fake/notes.txt",
        "fake/png",
        "fake/x.svg",
        "other/x.jpg",
        "x.jpg",
    ]
    fill(folder, dict.fromkeys(others, b"x"))
    assert opened(folder).catalogue() == before


def test_a_picture_is_told_by_its_name_until_it_is_read(folder: Path) -> None:
    fill(folder, {"fake/page.jpg": b"<html>not found</html>"})
    assert read_all(opened(folder))["fake/page.jpg"] == b"<html>not found</html>"


def test_order_is_the_seeds(folder: Path) -> None:
    catalogues = {seed: opened(folder, seed).catalogue() for seed in range(3)}
    assert opened(folder, 0).catalogue() == catalogues[0]
    orders = {tuple(row.key for row in all_rows(opened(folder, seed))) for seed in catalogues}
    assert len(orders) == 3
    assert len({frozenset(order) for order in orders}) == 1


def test_blocks_are_cut_from_the_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = opened(folder).catalogue()
    in_order = [(row.label, row.generator, whole.reader.key(row.position)) for row in whole.rows]
    monkeypatch.setattr(folder_module, "BLOCK_FILES", 3)
    blocks = opened(folder).catalogue()
    assert [block.rank for block in blocks] == [0, 1, 2]
    assert [row.position for block in blocks for row in block.rows] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [found[2:] for found in all_rows(opened(folder))] == in_order
    assert [block.reader.name for block in blocks] == [
        f"{in_order[i][2]} and {n} more" for i, n in ((0, 2), (3, 2), (6, 1))
    ]


def test_order_is_not_the_file_systems(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = opened(folder).catalogue()
    walk = os.walk

    def backwards(top: Path, **options: object) -> list[tuple[str, list[str], list[str]]]:
        return [(parent, folders, names[::-1]) for parent, folders, names in walk(top, **options)][::-1]  # type: ignore[call-overload]

    monkeypatch.setattr(os, "walk", backwards)
    assert opened(folder).catalogue() == expected


def test_files_come_in_the_order_asked_for(folder: Path) -> None:
    (block,) = opened(folder).catalogue()
    for positions in (range(8), range(7, -1, -1), [5, 2]):
        wanted = [(folder / block.reader.key(position)).read_bytes() for position in positions]
        assert read(block, positions) == wanted
    assert len(set(read(block))) == 8


def test_nothing_is_downloaded_and_a_reader_works_elsewhere(folder: Path, tmp_path: Path) -> None:
    (block,) = opened(folder).catalogue()
    spool = tmp_path / "spool"
    assert list(block.reader.download(spool)) == []
    assert not spool.exists()
    assert block.num_bytes == 0
    sent = pickle.loads(pickle.dumps(block))
    assert sent == block
    assert read(sent) == read(block)


def test_a_vanished_file_is_empty_and_so_refused(folder: Path) -> None:
    (block,) = opened(folder).catalogue()
    (folder / block.reader.key(0)).unlink()
    data, other = read(block, [0, 1])
    assert data == b""
    assert other
    with pytest.raises(ImageRefused) as caught:
        decode(data)
    assert caught.value.reason == "empty"


def test_linked_folders_count_and_loops_end(folder: Path, tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", {"h.jpg": picture()})
    (folder / "fake" / "midjourney").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(folder / "fake")
    found = {row.key: row.generator for row in all_rows(opened(folder))}
    assert found["fake/midjourney/h.jpg"] == "midjourney"
    assert len(found) == 9


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(all_rows(opened("~/pictures"))) == 8


@pytest.mark.parametrize("path", [None, ""])
def test_no_path_names_the_setting(path: str | None) -> None:
    with pytest.raises(ValueError, match=r"--set data\.path=FOLDER"):
        opened(path)


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", fill(tmp_path, {"file": b""}) / "file"):
        with pytest.raises(ValueError, match=r"is not a folder.*--set data\.path=FOLDER"):
            opened(path)


@pytest.mark.parametrize(("present", "missing"), [("real", "fake"), ("fake", "real")])
def test_a_missing_class_is_named(tmp_path: Path, present: str, missing: str) -> None:
    fill(tmp_path, {f"{present}/a.jpg": picture()})
    with pytest.raises(ValueError, match=f"no folder {missing}/"):
        opened(tmp_path)


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"real/a.jpg": picture(), "fake/readme.txt": b""})
    with pytest.raises(ValueError, match=r"fake holds no picture: .*\.jpeg"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "real":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(ValueError, match=r"cannot list .*real: Permission denied"):
        opened(folder)
