"""Places for results are refused before the work, and nothing of the user's is replaced."""

import os
from pathlib import Path

import pytest

from fakelens.core.artifacts import write_bytes
from fakelens.core.outputs import check_folder, check_table

HEAD = b"path,detector\n"


def test_new_empty_and_earlier_tables_may_be_written(tmp_path: Path) -> None:
    check_table(tmp_path / "new.csv", "--csv", HEAD)
    (tmp_path / "empty.csv").touch()
    check_table(tmp_path / "empty.csv", "--csv", HEAD)
    (tmp_path / "earlier.csv").write_bytes(HEAD + b"a.jpg,x\n")
    check_table(tmp_path / "earlier.csv", "--csv", HEAD)


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 a photograph", b"my notes\n", HEAD[:-1] + b",mine\n", b"\0"])
def test_what_is_no_such_table_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"--csv .*mine\.csv is there already .*name another file"):
        check_table(path, "--csv", HEAD)
    assert path.read_bytes() == content


def test_a_table_cannot_be_a_folder_or_lie_below_a_file_or_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    for place, words in (
        ("folder.csv", "is a folder"),
        ("file/a.csv", "is not a folder"),
        ("no/a.csv", "not a folder"),
    ):
        with pytest.raises(ValueError, match=words):
            check_table(tmp_path / place, "--csv", HEAD)


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("mine.csv")
    (tmp_path / "nowhere.csv").symlink_to("no/mine.csv")
    check_table(tmp_path / "link.csv", "--csv", HEAD)
    (tmp_path / "mine.csv").write_text("my notes\n")
    with pytest.raises(ValueError, match="is not such a table"):
        check_table(tmp_path / "link.csv", "--csv", HEAD)
    with pytest.raises(ValueError, match="is not a folder that is there"):
        check_table(tmp_path / "nowhere.csv", "--csv", HEAD)


def test_a_link_that_leads_nowhere_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "records").symlink_to("no")
    with pytest.raises(ValueError, match="a link that leads nowhere"):
        check_folder(tmp_path / "records", "--report")


def test_names_are_taken_up_to_what_the_file_system_takes(tmp_path: Path) -> None:
    check_table(tmp_path / ("x" * 251 + ".csv"), "--csv", HEAD)
    write_bytes(tmp_path / ("x" * 251 + ".csv"), HEAD)
    write_bytes(tmp_path / ("\U0001f600" * 62 + ".csv"), HEAD)
    with pytest.raises(ValueError, match="File name too long"):
        check_table(tmp_path / ("x" * 252 + ".csv"), "--csv", HEAD)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_place_that_takes_no_file_is_refused_before_the_work_even_for_root() -> None:
    with pytest.raises(ValueError, match="nothing can be written into /proc"):
        check_table(Path("/proc/a.csv"), "--csv", HEAD)
    with pytest.raises(ValueError, match="nothing can be written into /proc"):
        check_folder(Path("/proc/records"), "--report")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices here")
def test_a_device_is_not_replaced_by_a_table() -> None:
    with pytest.raises(ValueError, match="is not a file"):
        check_table(Path("/dev/null"), "--csv", HEAD)


def test_a_folder_may_be_there_or_be_made_but_not_below_a_file(tmp_path: Path) -> None:
    check_folder(tmp_path, "--output")
    check_folder(tmp_path / "deep" / "er", "--output")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for place in ("file", "file/deeper"):
        with pytest.raises(ValueError, match=r"--output .* cannot be made: .*file is not a folder"):
            check_folder(tmp_path / place, "--output")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_is_not_ones_own_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    for check in (
        lambda: check_table(tmp_path / "a.csv", "--csv", HEAD),
        lambda: check_folder(tmp_path / "a", "--output"),
    ):
        with pytest.raises(ValueError, match="nothing can be written into"):
            check()
    tmp_path.chmod(0o700)
