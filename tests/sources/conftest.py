"""A hub on loopback, and its client made to use it."""

from collections.abc import Iterator

import pytest

from hub import Hub
from openfake_shards import DATASETS, PIN


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, waited_s: list[float]) -> Iterator[Hub]:  # noqa: ARG001
    """The client's hub: it has read HF_ENDPOINT long ago, on import."""
    from huggingface_hub import constants

    with Hub(DATASETS, revisions=("main", PIN)) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = f"{served.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served
