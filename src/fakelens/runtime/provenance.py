"""An image file's metadata in; the marks of an AI's part in it out: C2PA, IPTC, text of known programs."""

import re
from dataclasses import dataclass

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
