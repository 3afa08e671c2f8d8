"""The contract of a source: a cheap catalogue of what there is, then the bytes of what was chosen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from fakelens.core.config import Settings


@dataclass(frozen=True, order=True)
class Candidate:
    """One image that a source can deliver."""

    block: int
    """Rank of the unit that is read together (a parquet row group) in the seed's reading order: lower is cheaper."""
    key: str
    """Unique and stable within the source at its revision, such as `core/train-00003-of-00608.parquet#17:42`."""
    label: int
    """0 real, 1 fake (`core.scoring.REAL`, `FAKE`)."""
    generator: str
    """Name of the generator; for real images, of the photographs' origin."""


class Source(Protocol):
    """Where images come from."""

    name: str
    is_demo: bool
    """True if the images are made up: every output then says that it is a demonstration."""
    description: str
    """One sentence for reports: what the images are."""
    licence: str
    """The licence of the images, as a sentence."""
    revision: str | None
    """What pins the content, where the source has such a thing."""

    def catalogue(self) -> list[Candidate]:
        """All that may be chosen from, without reading image bytes; the same for the same settings and seed."""
        ...

    def fetch(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, bytes]]:
        """Deliver the images' encoded bytes in the order of `candidates`, reading each block once."""
        ...


class SourceSettings(Settings):
    """Which images, from where."""

    source: str = "openfake"
    """openfake (the Hugging Face hub), folder (your own pictures) or synthetic (made here, for demonstrations)."""
    seed: int = Field(0, ge=0)
    """Decides the choice of images, the split and every random number after it."""
    repository: str = "ComplexDataLab/OpenFake"
    """Data set on the Hugging Face hub (openfake)."""
    revision: str = "3247b942f18d39d1fd476b1077852af033d35d8c"
    """Commit, tag or branch of the data set (openfake); a commit keeps runs repeatable."""
    config: str = "core"
    """Configuration of the data set (openfake)."""
    split: str = "train"
    """Split of the data set that the images are drawn from (openfake)."""
    num_shards: int = Field(8, ge=1)
    """Parquet files, chosen by the seed, whose label columns are read to choose images from (openfake)."""
    exclude_generators: tuple[str, ...] = ("tiny-random-sana",)
    """Generators never to draw from; tiny-random-sana is pure noise."""
    path: str | None = None
    """Folder with `real/` and `fake/` in it (folder)."""
    synthetic_px: int = Field(288, ge=64, le=1024)
    """Side of the generated pictures in pixels (synthetic)."""
