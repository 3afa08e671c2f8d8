"""One small finished run that many tests look at, and never change."""

import shutil
from pathlib import Path

import pytest

import fakelens  # noqa: F401  first: it keeps onnxruntime, which some tests import by themselves, from reporting its use


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of `fakelens run --recipe smoke`. Read only: copy it before changing anything."""
    from fakelens import pipeline
    from fakelens.detectors.spec import discover
    from fakelens.recipes import RECIPES

    workdir = tmp_path_factory.mktemp("smoke")
    pipeline.run(workdir, RECIPES["smoke"], list(discover().values()))
    return workdir


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to do with as one likes."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
