"""What the command line makes of errors: a line for what a user can mend, a trace for a bug."""

import errno
import sys
from pathlib import Path

import pytest

from fakelens import cli
from fakelens.core.errors import in_one_line
from fakelens.core.imaging import decode


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def failing(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", failing)
    with pytest.raises(SystemExit) as done:
        cli.main()
    return int(done.value.code or 0)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.npy"), "x.npy: no space left on device: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "out: permission denied: choose another place"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "d"), "d: is a directory: a folder is where a file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), "file name too long: choose a shorter name"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "choose a place that can be written"),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, words: str
) -> None:
    assert ended(monkeypatch, error) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize("bug", [ValueError("shapes"), TypeError("none"), OSError("what"), AssertionError()])
def test_a_bug_keeps_its_trace(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    monkeypatch.setattr(cli, "app", lambda **_: (_ for _ in ()).throw(bug))
    with pytest.raises(type(bug)):
        cli.main()


def test_a_machine_without_memory_is_no_refused_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(MemoryError):
        decode(b"\xff\xd8\xff\xe0" + bytes(100), short_side_px=64, min_side_px=1)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths")
def test_a_path_through_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError) as error:
        (tmp_path / "file" / "below").mkdir()
    assert "a file is where a folder should be" in str(in_one_line(error.value))
