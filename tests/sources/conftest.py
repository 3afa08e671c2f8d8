"""A hub on loopback, and its client made to use it."""

import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Hub
from openfake_shards import DATASETS, PIN


@pytest.fixture
def waited_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[float]]:
    """How long a client would have waited between its retries; it knows no token and writes nowhere else."""
    from huggingface_hub import close_session, constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    waited: list[float] = []
    unhurried = types.SimpleNamespace(**{**vars(time), "sleep": waited.append})
    monkeypatch.setattr("huggingface_hub.utils._http.time", unhurried)
    yield waited
    # The client keeps connections for the next user.
    close_session()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, waited_s: list[float]) -> Iterator[Hub]:  # noqa: ARG001
    """The client's hub: it has read HF_ENDPOINT long ago, on import."""
    from huggingface_hub import constants

    with Hub(DATASETS, revisions=("main", PIN)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served
