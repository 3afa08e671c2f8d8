"""The notebook is the pipeline in words and cells, it runs, and its outputs are the demonstration's."""

import shutil
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from fakelens.detectors.spec import discover

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NOTEBOOK = NOTEBOOKS / "openfake_pipeline.ipynb"
UPDATE = "jupytext --update --to notebook notebooks/openfake_pipeline.py"


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/jpeg" in output.get("data", {}) for output in outputs)


def test_the_notebook_is_made_from_its_source() -> None:
    assert UPDATE in (NOTEBOOKS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    source = cells(jupytext.read(NOTEBOOK.with_suffix(".py")))
    assert cells(nbformat.read(NOTEBOOK, 4)) == source, f"run `{UPDATE}`"


def test_the_notebook_holds_no_logic() -> None:
    code = [source for kind, source in cells(nbformat.read(NOTEBOOK, 4)) if kind == "code"]
    assert all(len(source.splitlines()) <= 18 for source in code)
    assert not any(line.startswith(("def ", "class ")) for source in code for line in source.splitlines())


def test_the_outputs_are_the_demonstrations_small_and_of_no_machine() -> None:
    notebook, text = nbformat.read(NOTEBOOK, 4), NOTEBOOK.read_text(encoding="utf-8")
    assert pictures(notebook) >= 8
    assert "runs/demo" in text
    assert "Traceback" not in text
    assert not any(place in text for place in ("/home/", "/root/", "/tmp/", "site-packages", "Warning:"))
    assert NOTEBOOK.stat().st_size < 1_500_000


@pytest.mark.parametrize(
    ("place", "address", "requirement"),
    [
        ("fakelens/notebooks", "", "{clone}"),
        (".", "", "{clone}"),  # a folder with the clone in it, as in Colab after `git clone`
        ("elsewhere", "https://example.org/owner/fakelens", "git+https://example.org/owner/fakelens"),
        ("elsewhere", "", None),
    ],
)
def test_what_is_installed(
    place: str, address: str, requirement: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("fakelens/src/fakelens", "fakelens/notebooks", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    installed: list[list[str]] = []
    monkeypatch.chdir(tmp_path / place)
    monkeypatch.setenv("FAKELENS_ADDRESS", address)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: installed.append(command))
    first = next(source for kind, source in cells(nbformat.read(NOTEBOOK, 4)) if kind == "code")
    if requirement is None:
        with pytest.raises(AssertionError, match="set ADDRESS"):
            exec(first, {})
        return
    exec(first, {})
    clone = (tmp_path / "fakelens").as_uri()
    assert installed[0][-1] == f"fakelens[train,app] @ {requirement.format(clone=clone)}"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_and_leaves_its_own_folder_alone(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "runs" / "smoke"))
    for done in (next(iter(discover())), "data", "bundle", "report"):  # the others are found finished
        shutil.rmtree(run / done)
    (tmp_path / "src" / "fakelens").mkdir(parents=True)  # what a clone is known by
    own = Path(shutil.copytree(NOTEBOOKS, tmp_path / "notebooks"))
    before = sorted(own.rglob("*"))
    monkeypatch.setenv("FAKELENS_RECIPE", "smoke")
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(own)}}).execute()
    assert (tmp_path / "runs" / "smoke" / "bundle" / "bundle.json").is_file()
    assert pictures(notebook) >= 8
    assert sorted(own.rglob("*")) == before
