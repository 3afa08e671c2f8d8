"""Content credentials (C2PA) of a file: whether their signature holds, who signed, and what is claimed.

Verified by c2pa-python where it is installed (pip install 'fakelens[credentials]'); nothing is fetched from anywhere.
"""

import functools
import importlib.util
import io
import re
from typing import Any

from fakelens.runtime.provenance import CREDENTIALS, SOURCE_TYPE, SOURCE_WORDS, Mark

# Nothing is looked up while a stranger's file is read, neither a manifest elsewhere nor a certificate's state.
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_MIME_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
}
_MAX_WORDS = 120  # of a signer's name, which is anybody's choice
_UNTRUSTED = "signingCredential.untrusted"


def credentials_are_verified() -> bool:
    """Whether the library that verifies signatures is installed."""
    return importlib.util.find_spec("c2pa") is not None


def verified_mark(data: bytes, container_format: str, credentials: bytes) -> Mark | None:
    """Mark that says whether the signature of a file's content credentials holds, who signed, and what is claimed.

    Args:
        data: the file's untrusted bytes.
        container_format: as Pillow names it.
        credentials: what was found in the file; without any, or without the library, the answer is None.
    """
    if not credentials or not credentials_are_verified():
        return None
    term = SOURCE_TYPE.search(credentials)
    claim = f"it claims: {SOURCE_WORDS[term[1]]}" if term else "it claims no part of a trained model"
    return Mark(CREDENTIALS, f"{_signature(data, container_format)}; {claim}")


def _signature(data: bytes, container_format: str) -> str:
    import c2pa

    try:
        reader = c2pa.Reader.try_create(_MIME_TYPES.get(container_format), io.BytesIO(data), context=_context())
        if reader is None:
            return "signature not there"
        with reader:
            state, manifest = reader.get_validation_state(), reader.get_active_manifest() or {}
            failures = (reader.get_validation_results() or {}).get("activeManifest", {}).get("failure", [])
    except (c2pa.C2paError, ValueError) as error:
        return f"signature invalid (the credentials cannot be read: {_short(str(error))})"
    signer = _signer(manifest.get("signature_info") or {})
    if state not in ("Valid", "Trusted"):
        codes = [code for each in failures if (code := str(each.get("code", ""))) != _UNTRUSTED]
        reason = _short(", ".join(dict.fromkeys(codes))) or "no reason given"
        return f"signature invalid ({reason}), made in the name of {signer}"
    known = "" if state == "Trusted" else ", whom no list of trust is asked about"
    return f"signature valid, the file is as it was signed by {signer}{known}"


def _signer(info: dict[str, Any]) -> str:
    names = [str(info[key]) for key in ("common_name", "issuer") if info.get(key)]
    return _short(" of ".join(dict.fromkeys(names))) or "nobody named"


def _short(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}…"


@functools.cache
def _context() -> Any:
    import c2pa

    return c2pa.Context.from_dict(_SETTINGS)
