"""Files, folders and globs in; one judgement for each picture out, whatever state the file is in."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fakelens.core.imaging import ImageRefused
from fakelens.core.picture_folder import SUFFIXES
from fakelens.core.scoring import Threshold, Verdict
from fakelens.runtime.detector import OnnxDetector


@dataclass(frozen=True)
class Judgement:
    """What a detector said about one file; `error` says why there is nothing to say."""

    path: Path
    detector: str
    probability: float | None = None
    verdict: Verdict | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON and CSV."""
        return {**asdict(self), "path": str(self.path)}


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """The files that paths name: a file as it is, a folder's pictures at any depth, a glob's matches.

    Raises:
        ValueError: when a glob or folder holds no picture.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        elif glob.has_magic(str(path)) and not path.exists():
            found = sorted(Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file())  # noqa: PTH207  absolute globs
        else:
            found = [path]  # a missing file becomes a judgement with an error, so that the others are not lost
        if not found:
            raise ValueError(f"no pictures in {path}: expected files ending in {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def judge_files(
    detector: OnnxDetector, name: str, files: Iterable[Path], threshold: Threshold | None = None
) -> Iterator[Judgement]:
    """Judge files one after another, by the detector's own thresholds or another pair.

    A file that cannot be read or judged yields its reason.
    """
    threshold = threshold or detector.threshold
    for path in files:
        try:
            prediction = detector.predict(path.read_bytes())
        except (ImageRefused, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            yield Judgement(path, name, error=reason)
        else:
            verdict = threshold.verdict(prediction.probability)
            yield Judgement(path, name, round(prediction.probability, 6), verdict)
