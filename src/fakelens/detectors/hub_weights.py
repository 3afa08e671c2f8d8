"""Published weights: one clear error when they cannot be had."""

import contextlib
from collections.abc import Iterator

from fakelens.core.errors import FakelensError


@contextlib.contextmanager
def weights_from_hub(repository: str) -> Iterator[None]:
    """Turn whatever a library raises while it fetches `repository` into an error that names the remedies."""
    try:
        yield
    except Exception as error:
        # timm and transformers wrap the hub's errors in OSError, RuntimeError or their own, without a common base.
        reason = str(error).strip().splitlines()
        raise FakelensError(
            f"the pretrained weights {repository} cannot be had "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). "
            "Check the network, HF_ENDPOINT and HF_TOKEN and run again, or train from scratch with --no-pretrained"
        ) from error
