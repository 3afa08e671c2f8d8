"""The folder is complete, described by hashes, runs by itself and replaces only a bundle."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from fakelens.app import view
from fakelens.bundle import writer
from fakelens.bundle.writer import ModelEntry, write_bundle
from fakelens.core.artifacts import sha256_file
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.cautions import DEMO
from onnx_models import ABOUT, FACTS, FIGURES, flat_picture, make_bundle, onnx_bytes

PACKAGE = Path(view.__file__).parents[1]
FILES = {
    "model_cards/small_net.md",
    "model_cards/large_net.md",
    "model_cards/mobile_net.md",
    ".gitattributes",
    ".gitignore",
    "Dockerfile",
    "examples/camera-like-1.jpg",
    "examples/generator-like-1.jpg",
    ".streamlit/config.toml",
    "README.md",
    "bundle.json",
    "small_net.onnx",
    "large_net.onnx",
    "fakelens/__init__.py",
    "fakelens/sharing.py",
    *(
        path.relative_to(PACKAGE.parent).as_posix()
        for name in ("core", "runtime", "app")
        for path in (PACKAGE / name).glob("*.py")
        if path.stem != "streamlit_app"
    ),
    "mobile_net.onnx",
    "requirements.txt",
    "streamlit_app.py",
}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def entry(tmp_path: Path, data: bytes = onnx_bytes()) -> ModelEntry:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    return ModelEntry(path, "Tiny", "A tiny one.", 3.6, FIGURES, "# Model card\n", FACTS)


def test_the_set_of_files_and_their_hashes(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    assert files_in(folder) == FILES
    content = json.loads((folder / "bundle.json").read_text())
    assert content["files"] == {name: sha256_file(folder / name) for name in FILES - {"bundle.json"}}
    assert set(content) == {"format", "name", "demo", "data", "models", "files", "record_sha256"}
    assert content["models"][0] == {
        "name": "small_net",
        "display_name": "Custom CNN",
        "summary": "A small network of four blocks, trained from nothing.",
        "file": "small_net.onnx",
        "variant": "fp32",
        "input_px": 224,
        "stored_px": 256,
        "threshold": {"real": 0.4, "fake": 0.6},
        "size_bytes": (folder / "small_net.onnx").stat().st_size,
        "latency_ms": 3.6,
        "metrics": {**vars(FIGURES), "confusion_matrix": [[837, 63], [94, 806]]},
        "operating_points": [
            {"false_positive_rate": None, "threshold": {"real": 0.4, "fake": 0.6}, "num_photographs": None},
            {"false_positive_rate": 0.01, "threshold": {"real": 0.4, "fake": 0.9}, "num_photographs": None},
        ],
        "facts": list(FACTS),
        "point_facts": [],
        "card": "model_cards/small_net.md",
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_it_runs_from_its_own_folder_alone(tmp_path: Path) -> None:
    """-I leaves PYTHONPATH out; an installed fakelens would come after the bundle's own copy."""
    folder = make_bundle(tmp_path / "bundle")
    picture = tmp_path / "white.png"
    picture.write_bytes(flat_picture(255))
    code = f"""
import sys; sys.path.insert(0, {str(folder)!r})
from pathlib import Path
from fakelens.app import view, wording
from fakelens.runtime.bundle import Bundle
bundle = Bundle.open(Path({str(folder)!r}))
shown = view.judge(Path({str(picture)!r}).read_bytes(), bundle.detector("mobile_net"))
ours = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "fakelens"]
assert ours and all(file.startswith({str(folder)!r}) for file in ours), ours
import fakelens
assert fakelens.open_bundle({str(folder)!r}).judge({str(picture)!r}, detector="mobile_net").verdict == shown.verdict
print(shown.words, sorted({{"torch", "pydantic", "typer", "rich"}} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "likely AI-generated []", result.stderr


@pytest.mark.parametrize("read", [True, False])
def test_heic_is_required_where_it_is_read_and_said_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool
) -> None:
    installed = metadata.version
    monkeypatch.setattr(writer, "heif_is_read", lambda: read)
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "pillow-heif" else installed(name))
    text = (make_bundle(tmp_path / "bundle") / "requirements.txt").read_text()
    assert ("pillow-heif==9.9\n" in text, "refuses telephones' HEIC" in text) == (read, not read)


def test_requirements_are_exact_pins_of_what_is_installed(tmp_path: Path) -> None:
    text = (make_bundle(tmp_path / "bundle") / "requirements.txt").read_text()
    pins = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    for optional in ("pillow-heif", "c2pa-python"):  # where they are installed
        pins.pop(optional, None)
    assert set(pins) == {"numpy", "onnxruntime", "pillow", "streamlit", "python-multipart", "starlette"}
    assert all(metadata.version(package) == version for package, version in pins.items())
    assert "CVE" in text


def test_the_readme_has_five_steps_the_figures_and_the_licence(tmp_path: Path) -> None:
    text = (make_bundle(tmp_path / "bundle") / "README.md").read_text()
    assert re.findall(r"^(\d)\. \*\*", text, re.MULTILINE) == list("12345")
    assert "| [EfficientNetV2-S](model_cards/large_net.md) (`large_net.onnx`) | 91.3 % |" in text
    assert "main file path: `streamlit_app.py`" in text
    assert "**CC-BY-NC-4.0**" in text
    assert "commercially" in text
    assert DEMO.words not in text
    assert "$" not in text


def test_a_demonstration_is_marked_everywhere(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle", demo=True)
    assert Bundle.open(folder).demo
    assert DEMO.words in (folder / "README.md").read_text()


def test_the_container_is_what_spaces_ask_for_and_not_root(tmp_path: Path) -> None:
    text = (make_bundle(tmp_path / "bundle") / "Dockerfile").read_text()
    assert "--server.port=7860" in text
    assert "USER 1000" in text
    assert "$" not in text


def test_a_free_licence_forbids_nothing(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", [entry(tmp_path)], replace(ABOUT, licence="CC0-1.0"))
    assert "commercially" not in (folder / "README.md").read_text()


def test_an_older_bundle_is_replaced_whole_but_its_repository_stays(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    write_bundle(folder, [entry(tmp_path)], ABOUT)
    assert (folder / ".git" / "HEAD").exists()
    assert [model.name for model in Bundle.open(folder).models] == ["tiny"]
    assert not (folder / "small_net.onnx").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="not a bundle"):
        write_bundle(tmp_path, [], ABOUT)
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("left_out", "count", "message"),
    [("fakelens.name", 1, "export it again"), ("", 2, "a name of its own"), ("", 0, "at least one model")],
)
def test_a_failed_write_leaves_the_older_bundle(tmp_path: Path, left_out: str, count: int, message: str) -> None:
    folder = make_bundle(tmp_path / "bundle")
    before = sha256_file(folder / "bundle.json")
    with pytest.raises(ValueError, match=message):
        write_bundle(folder, [entry(tmp_path, onnx_bytes({left_out: None}))] * count, ABOUT)
    assert sha256_file(folder / "bundle.json") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_without_streamlit_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_streamlit(package: str) -> str:
        if package == "streamlit":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_streamlit)
    with pytest.raises(ValueError, match=r"streamlit is not installed.*fakelens\[app\]"):
        write_bundle(tmp_path / "bundle", [entry(tmp_path)], ABOUT)
