"""The notebook is the pipeline in words and cells, and it runs."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NOTEBOOK = NOTEBOOKS / "openfake_pipeline.ipynb"


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_the_notebook_is_made_from_its_source() -> None:
    assert cells(nbformat.read(NOTEBOOK, 4)) == cells(jupytext.read(NOTEBOOK.with_suffix(".py"))), "run `make notebook`"


def test_the_notebook_holds_no_logic() -> None:
    code = [source for kind, source in cells(nbformat.read(NOTEBOOK, 4)) if kind == "code"]
    assert all(len(source.splitlines()) <= 16 for source in code)
    assert not any(line.startswith(("def ", "class ")) for source in code for line in source.splitlines())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKELENS_RECIPE", "smoke")
    monkeypatch.setenv("FAKELENS_WORKDIR", str(tmp_path / "run"))
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert (tmp_path / "run" / "bundle" / "bundle.json").is_file()
    assert any(output.output_type == "display_data" for cell in notebook.cells for output in cell.get("outputs", []))
