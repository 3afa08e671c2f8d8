"""One small finished run that many tests look at, and never change; a hub of models, and its client made to use it."""

import os
import shutil
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

import fakelens  # noqa: F401  first: it keeps onnxruntime, which some tests import by themselves, from reporting its use
from model_hub import OTHERS, TOKEN, ModelHub


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process waits for another at the end.

    The browser's, which need no finished run, are tried while the other process makes it for both.
    """
    order = {"browser": 0, "slow": 1}
    ranks: dict[Path, tuple[int, bool]] = {}
    for item in items:
        own = min((order[mark.name] for mark in item.iter_markers() if mark.name in order), default=2)
        needs_no_run = "finished_run" not in getattr(item, "fixturenames", ())
        ranks[item.path] = min((own, needs_no_run), ranks.get(item.path, (2, True)))
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of `fakelens run --recipe smoke`. Read only: copy it before changing anything."""
    from fakelens import pipeline
    from fakelens.recipes import RECIPES, named_detectors

    own = tmp_path_factory.getbasetemp()
    # Two processes of pytest-xdist share what the first one makes.
    workdir = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "smoke"
    finished = workdir.with_suffix(".finished")
    with FileLock(f"{workdir}.lock"):
        if not finished.exists():
            pipeline.run(workdir, RECIPES["smoke"], named_detectors(None))
            finished.touch()
    return workdir


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to do with as one likes."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are empty files of their size: drawing takes a third of a small run, and other tests look at them."""
    monkeypatch.setattr("matplotlib.figure.Figure.draw", lambda *_: None)


@pytest.fixture
def unscanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's tester looks for components in every installed package at each opening of the page."""
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)


@pytest.fixture
def waited_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[float]]:
    """How long a client would have waited between its retries; it knows no token and writes nowhere else."""
    from huggingface_hub import close_session, constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    waited: list[float] = []
    monkeypatch.setattr("fakelens.sources.hub.time", types.SimpleNamespace(sleep=waited.append))
    # The client's own waits, between requests that it repeats by itself.
    unhurried = types.SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", unhurried)
    yield waited
    # The client keeps connections for the next user.
    close_session()


@pytest.fixture
def model_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waited_s: list[float]) -> Iterator[ModelHub]:  # noqa: ARG001
    """The client's hub, which it has a token for; it has read its variables long ago, on import."""
    from huggingface_hub import HfApi, constants, hf_api

    with ModelHub({TOKEN: "us", OTHERS: "them"}) as served:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # whose storage speaks a protocol of its own
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf_api, "api", HfApi())
        yield served


@pytest.fixture
def storage() -> Iterator[ModelHub]:
    """Another server, where files may be."""
    with ModelHub({}) as elsewhere:
        yield elsewhere
