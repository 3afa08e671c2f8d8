"""A bundle is replaced in one step: a kill at any moment leaves a whole one and what its owner put there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fake_source import Listening
from fakelens.bundle import exchange, writer
from fakelens.bundle.writer import write_bundle
from fakelens.core.progress import SILENT, Reporter
from fakelens.runtime.bundle import Bundle
from onnx_models import ABOUT, DETECTORS, FACTS, FIGURES, make_bundle, onnx_bytes

# Writes a bundle and dies without a word, as a killed process does, at the step that the first argument names.
KILLED = """
import ctypes, os, sys
from pathlib import Path
from fakelens.bundle import exchange, writer
from onnx_models import ABOUT, FACTS, FIGURES
steps = 0
def dying(real):
    def step(*arguments, **named):
        global steps
        result = real(*arguments, **named)
        steps += 1
        if steps == int(sys.argv[1]): os._exit(9)
        return result
    return step
at_once = sys.argv[2] == "True"
Path.rename = dying(Path.rename)
exchange.exchange_at_once = dying(exchange.exchange_at_once) if at_once else lambda *_: False
writer.link_or_copy = dying(writer.link_or_copy)
entry = writer.ModelEntry(Path(sys.argv[4]), "Tiny", "A tiny one.", 3.6, FIGURES, "# Model card", FACTS)
writer.write_bundle(Path(sys.argv[3]), [entry], ABOUT)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A bundle in which its owner has started a repository and keeps further files."""
    folder = make_bundle(tmp_path / "bundle")
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git" / "objects" / "one").write_bytes(b"object")
    (folder / ".github" / "workflows").mkdir(parents=True)
    (folder / ".github" / "workflows" / "push.yml").write_text("on: push\n")
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to("notes.txt")
    (folder / "__pycache__").mkdir()
    (tmp_path / "model.onnx").write_bytes(onnx_bytes())
    return folder


def write(folder: Path, reporter: Reporter = SILENT) -> Path:
    entry = writer.ModelEntry(folder.parent / "model.onnx", "Tiny", "A tiny one.", 3.6, FIGURES, "# Model card", FACTS)
    return write_bundle(folder, [entry], ABOUT, reporter=reporter)


def check_own(folder: Path) -> None:
    assert (folder / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert (folder / ".git" / "objects" / "one").read_bytes() == b"object"
    assert (folder / ".github" / "workflows" / "push.yml").exists()
    assert (folder / "link").is_symlink()
    assert (folder / "link").read_text() == "mine"


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_the_owners_stays_and_what_was_the_older_bundles_goes(
    own: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:
        monkeypatch.setattr(exchange, "exchange_at_once", lambda *_: False)
    write(own)
    check_own(own)
    assert [model.name for model in Bundle.open(own).models] == ["tiny"]
    assert not (own / "small_net.onnx").exists()
    assert not (own / "__pycache__").exists()
    assert [path.name for path in own.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("at_once", [True, False])
def test_a_kill_at_any_step_leaves_a_bundle(own: Path, at_once: bool) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for step in range(1, 20):
        model = own.parent / "model.onnx"
        command = [sys.executable, "-c", KILLED, str(step), str(at_once), str(own), str(model)]
        status = subprocess.run(command, env=environment, check=False).returncode
        assert status in (0, 9)
        if at_once:
            check_own(own)
            assert Bundle.open(own).models
        write(own)  # takes up what the kill left
        check_own(own)
        assert [path.name for path in own.parent.iterdir() if path.name.startswith(".")] == []
        if status == 0:
            break
    assert step >= 5


def test_what_somebody_put_or_changed_anywhere_is_kept_and_named(own: Path, tmp_path: Path) -> None:
    others = {
        ".streamlit/secrets.toml": "key = 1",
        "examples/mine.txt": "mine",
        "model_cards/note/deep.md": "mine",
        "fakelens/core/patch.py": "x = 1",
        "Dockerfile.old": "an earlier one",
        "small_net.onnx/": "",
    }
    (own / "small_net.onnx").unlink()
    for name, text in others.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).mkdir() if name.endswith("/") else (own / name).write_text(text)
    changed = {
        "README.md": "README.md.old",
        "Dockerfile": "Dockerfile.old2",
        "fakelens/core/scoring.py": "fakelens/core/scoring.py.old",
        "examples/camera-like-1.jpg": "examples/camera-like-1.jpg.old",
    }
    for name in changed:
        (own / name).write_text("changed by me")
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("pins")
    (own / "requirements.txt").unlink()
    (own / "requirements.txt").symlink_to(elsewhere)
    heard = Listening()
    write(own, heard)
    check_own(own)
    assert all((own / name).read_text() == text for name, text in others.items() if text)
    assert all((own / kept).read_text() == "changed by me" for kept in changed.values())
    assert (own / "requirements.txt.old").readlink() == elsewhere
    assert not (own / "requirements.txt").is_symlink()
    named = {"requirements.txt": "requirements.txt.old", "small_net.onnx": "small_net.onnx.old"} | changed
    assert set(heard.said) == {f"bundle: {name} had been changed: kept as {kept}" for name, kept in named.items()}
    Bundle.open(own).check_files()
    write(own, again := Listening())  # and nothing is changed any more
    assert again.said == []
    assert (own / "README.md.old").read_text() == "changed by me"


def test_only_what_killed_writers_left_beside_is_removed(own: Path) -> None:
    for name in (".bundle.mine.old", ".bundle.mine.tmp", ".bundle.123.tmp"):
        (own.parent / name).mkdir()
    write(own)
    assert {path.name for path in own.parent.glob(".bundle.*")} == {".bundle.mine.old", ".bundle.mine.tmp"}


def test_a_changed_record_is_kept_beside_too(own: Path) -> None:
    text = (own / "bundle.json").read_text().replace("summary", "Summary", 1)
    for content in (text, "[" * 200_000):
        (own / "bundle.json").write_text(content)
        write(own, heard := Listening())
        assert any("bundle.json had been changed" in words for words in heard.said)
        assert Bundle.open(own).models
    assert (own / "bundle.json.old").read_text() == text


def test_a_damaged_record_costs_nobody_anything(own: Path) -> None:
    (own / "bundle.json").write_text("{")
    write(own)
    check_own(own)
    assert [model.name for model in Bundle.open(own).models] == ["tiny"]


def test_a_linked_folder_stays_a_link(own: Path) -> None:
    link = own.parent / "linked"
    link.symlink_to(own)
    write(link)
    assert link.is_symlink()
    check_own(own)
    assert [model.name for model in Bundle.open(link).models] == ["tiny"]


def test_without_hard_links_the_files_are_copied(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(own)
    check_own(own)


def test_a_repository_that_is_a_file_stays(own: Path) -> None:
    import shutil

    shutil.rmtree(own / ".git")
    (own / ".git").write_text("gitdir: ../elsewhere\n")
    write(own)
    assert (own / ".git").read_text() == "gitdir: ../elsewhere\n"


def test_a_name_with_the_letters_of_patterns_is_a_name(tmp_path: Path) -> None:
    other = tmp_path / ".bundle1.5.tmp"
    other.mkdir()
    make_bundle(tmp_path / "bundle[1]")
    assert other.exists()
    assert set(DETECTORS) == {model.name for model in Bundle.open(tmp_path / "bundle[1]").models}
