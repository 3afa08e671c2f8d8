"""Provenance that a file states of itself: content credentials (C2PA), the IPTC source type, text of known programs.

Credentials' signatures are verified by c2pa-python where it is installed (pip install 'fakelens[credentials]'); nothing
is fetched from anywhere.
"""

import functools
import importlib.metadata
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fakelens.core.metadata import Metadata

_MAX_TEXT_BYTES = 1 << 18
CREDENTIALS = "Content credentials (C2PA)"
_IPTC = "IPTC digital source type"
_TEXT = "Text in the file"
# https://cv.iptc.org/newscodes/digitalsourcetype/: the two terms that name a trained model.
# What follows is not looked at: in CBOR the next text's length stands there, which may be a letter.
SOURCE_TYPE = re.compile(rb"(?<![A-Za-z])(compositeWithT|t)rainedAlgorithmicMedia")
SOURCE_WORDS = {
    b"t": "made by a trained model",
    b"compositeWithT": "composed with parts made by a trained model",
}
# What programs write where: (what must be found in the text, the program).
_GENERATOR_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"Steps: \d+.{0,400}?(Sampler|CFG scale): ", re.DOTALL), "a Stable Diffusion program"),
    (re.compile(rb'"class_type"\s*:\s*"'), "ComfyUI"),
    (re.compile(rb"invokeai_(metadata|graph)|sd-metadata"), "InvokeAI"),
    (re.compile(rb"^Software\0.{0,40}NovelAI", re.DOTALL), "NovelAI"),
    (re.compile(rb"^Description\0.{0,4000}Job ID: [0-9a-f-]{36}", re.DOTALL), "Midjourney"),
)


@dataclass(frozen=True)
class Mark:
    """One thing that a file says about its origin; anybody can write it."""

    origin: str
    """Where it stands, such as `Content credentials (C2PA)`."""
    says: str
    """What it says, such as `made by a trained model`."""

    @property
    def words(self) -> str:
        """For a person."""
        return f"{self.origin}: {self.says}"


def marks_of(metadata: Metadata) -> tuple[Mark, ...]:
    """The marks of an AI's part in a file, as it states them, each once; empty for nearly every picture."""
    texts = [f"{keyword}\0{text}".encode(errors="replace") for keyword, text in metadata.texts]
    # A user comment in EXIF is UTF-16 of either order, or ASCII: without its zeros it is text in all cases.
    texts = [text[:_MAX_TEXT_BYTES] for text in (*texts, metadata.exif.replace(b"\0", b""))]
    programs = [name for text in texts for pattern, name in _GENERATOR_TEXTS if pattern.search(text)]
    terms = [(CREDENTIALS, SOURCE_TYPE.search(metadata.credentials)), (_IPTC, SOURCE_TYPE.search(metadata.xmp))]
    marks = [Mark(origin, SOURCE_WORDS[term[1]]) for origin, term in terms if term]
    return tuple(dict.fromkeys([*marks, *(Mark(_TEXT, f"settings of {name}") for name in programs)]))


# Nothing is looked up while a stranger's file is read: no manifest that lies elsewhere, no certificate's state, and no
# document about a person's identity, whose address the file itself may name.
SETTINGS = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": [], "decode_identity_assertions": False},
}
_MIME_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
    "TIFF": "image/tiff",
}
_PACKAGE = "c2pa-python"
_MAX_WORDS = 120  # of a name, which is anybody's choice
_MAX_INGREDIENTS = 200
_UNTRUSTED = "signingCredential.untrusted"
# https://cv.iptc.org/newscodes/digitalsourcetype/, beside the two terms that name a trained model.
_OTHER_SOURCES = {
    "digitalCapture": "taken by a digital camera",
    "computationalCapture": "taken by a digital camera and computed from its shots",
    "compositeCapture": "composed of pictures that cameras took",
    "screenCapture": "a picture of a screen",
    "digitalCreation": "drawn by a person with a program",
    "humanEdits": "edited by a person",
    "algorithmicMedia": "made by a program without a trained model",
}


@dataclass(frozen=True)
class _Ingredient:
    """A picture that went into another one."""

    manifest: dict[str, Any]
    """Its own credentials; empty where it had none."""
    failures: list[str]
    """Why its own signature did not hold."""
    is_whole: bool
    """Whether the other picture is an edit of it, not a composition with it."""


def verifier() -> str:
    """Name and version of the library that verifies signatures; empty where it is missing or cannot be loaded."""
    return "" if library() is None else f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"


def credentials_mark(data: bytes, container_format: str, credentials: bytes) -> Mark | None:
    """Mark that says whether the signature of a file's content credentials holds, who signed, and what is claimed.

    Args:
        data: the file's untrusted bytes.
        container_format: as Pillow names it.
        credentials: those in the file; without any the answer is None.
    """
    if not credentials:
        return None
    if library() is None:
        words = f"signature unverified ({_PACKAGE} is not installed); {_claim_in_bytes(credentials)}"
    else:
        words = _verified_words(data, container_format, credentials)
    return Mark(CREDENTIALS, words)


def _verified_words(data: bytes, container_format: str, credentials: bytes) -> str:
    c2pa = library()
    try:
        reader = c2pa.Reader.try_create(_MIME_TYPES.get(container_format), io.BytesIO(data), context=_context())
        if reader is None:
            return f"no signature where it should be; {_claim_in_bytes(credentials)}"
        with reader:
            store = _mapping(json.loads(reader.json()))
    except (c2pa.C2paError, ValueError, RecursionError) as error:
        return f"signature invalid (the credentials cannot be read: {_short(error)}); {_claim_in_bytes(credentials)}"
    manifests = _mapping(store.get("manifests"))
    active = _mapping(manifests.get(str(store.get("active_manifest"))))
    info = _mapping(active.get("signature_info"))
    names = [str(info[key]) for key in ("common_name", "issuer") if info.get(key)]
    signer = _short(" of ".join(dict.fromkeys(names))) or "nobody named"
    if store.get("validation_state") == "Trusted":
        words = [f"signature valid, unchanged since it was signed by {signer}"]
    elif store.get("validation_state") == "Valid":
        words = [f"signature valid, unchanged since it was signed by {signer} (a signer that is on no trust list)"]
    else:
        reason = _short(", ".join(_failures(store))) or "no reason given"
        words = [f"signature invalid ({reason}), made in the name of {signer}"]
    ingredients = list(_ingredients(active, manifests))
    if faults := [code for each in ingredients for code in each.failures]:
        words.append(f"made from a picture whose own signature is invalid ({_short(', '.join(dict.fromkeys(faults)))})")
    return "; ".join([*words, _claim(active, ingredients), *_program(active)])


def _claim(active: dict[str, Any], ingredients: list[_Ingredient]) -> str:
    """The claim about the picture itself, else about what it was edited from, else about its parts."""
    if words := _model_words(active):
        return f"claimed: {words}"
    whole = [words for each in ingredients if each.is_whole and (words := _model_words(each.manifest))]
    if whole:
        return f"claimed: edited from a picture {whole[0]}"
    if any(_model_words(each.manifest) for each in ingredients):
        return f"claimed: {SOURCE_WORDS[b'compositeWithT']}"
    others = [
        _OTHER_SOURCES[term] for uri in _source_types(active) if (term := uri.rpartition("/")[2]) in _OTHER_SOURCES
    ]
    return f"claimed: {others[0]}" if others else "no part of a trained model is claimed"


def _claim_in_bytes(credentials: bytes) -> str:
    """A claim found anywhere in unparsed credentials, of the picture or of its parts."""
    term = SOURCE_TYPE.search(credentials)
    return f"claimed: {SOURCE_WORDS[term[1]]}" if term else "no part of a trained model is claimed"


def _program(manifest: dict[str, Any]) -> list[str]:
    generators = manifest.get("claim_generator_info")
    first = _mapping(generators[0]) if isinstance(generators, list) and generators else {}
    name = _short(first.get("name") or "")
    return [f"written by {name}"] if name else []


def _model_words(manifest: dict[str, Any]) -> str:
    """The part of a trained model in the picture that a manifest is about; empty for none."""
    terms = (SOURCE_TYPE.search(uri.encode(errors="replace")) for uri in _source_types(manifest))
    return next((SOURCE_WORDS[term[1]] for term in terms if term), "")


def _source_types(manifest: dict[str, Any]) -> Iterator[str]:
    """Digital source types of the actions that a manifest lists."""
    for assertion in map(_mapping, _list(manifest.get("assertions"))):
        if str(assertion.get("label")).startswith("c2pa.actions"):
            for action in map(_mapping, _list(_mapping(assertion.get("data")).get("actions"))):
                if isinstance(uri := action.get("digitalSourceType"), str):
                    yield uri


def _ingredients(active: dict[str, Any], manifests: dict[str, Any]) -> Iterator[_Ingredient]:
    """The ingredients of a picture and of these in turn, nearest first."""
    waiting = [(active, True)]
    for manifest, is_whole in waiting:  # which grows
        for ingredient in map(_mapping, _list(manifest.get("ingredients"))):
            if len(waiting) > _MAX_INGREDIENTS:  # anybody may write a circle
                return
            own = _mapping(manifests.get(str(ingredient.get("active_manifest"))))
            whole = is_whole and ingredient.get("relationship") == "parentOf"
            waiting.append((own, whole))
            yield _Ingredient(own, _failures(ingredient), whole)


def _failures(validated: dict[str, Any]) -> list[str]:
    """Codes of failed checks, except that no list names the signer."""
    results = _mapping(_mapping(validated.get("validation_results")).get("activeManifest"))
    faults = [*_list(results.get("failure")), *_list(validated.get("validation_status"))]
    codes = [str(_mapping(fault).get("code")) for fault in faults]
    return [code for code in dict.fromkeys(codes) if code != _UNTRUSTED]


def _mapping(value: Any) -> dict[str, Any]:
    """The value where it is a mapping: what strangers write has any shape."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(words: Any) -> str:
    # What is not printable may turn the direction of the text around it.
    line = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    return line if len(line) <= _MAX_WORDS else f"{line[:_MAX_WORDS]}…"


@functools.cache
def library() -> Any:
    """c2pa-python; None where it is missing, or its native part does not fit this machine."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError):
        return None
    return c2pa


@functools.cache
def _context() -> Any:
    return library().Context.from_dict(SETTINGS)
