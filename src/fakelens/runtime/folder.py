"""Files, folders and globs in; one judgement for each picture out, whatever state the file is in."""

import csv
import glob
import io
import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fakelens.core.artifacts import write_text
from fakelens.core.cpus import available_cpus
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageRefused
from fakelens.core.picture_folder import SUFFIXES
from fakelens.core.scoring import Threshold, Verdict
from fakelens.runtime.detector import OnnxDetector

# Files that are begun or waiting for each worker: a slow picture at the head must not leave the others idle.
_AHEAD = 8


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
            raise FakelensError(f"no pictures in {path}: expected files ending in {', '.join(sorted(SUFFIXES))}")
        files += found
    return files


def judge_files(
    detector: OnnxDetector,
    name: str,
    files: Iterable[Path],
    threshold: Threshold | None = None,
    *,
    num_workers: int | None = None,
) -> Generator[Judgement, None, None]:
    """Judge files, by the detector's own thresholds or another pair; results come in the order of `files`.

    Each worker is a thread that takes one file from its bytes to its probability, so at most `num_workers` pictures
    (by default one for each CPU) are in memory, no worker waits for another, and no picture's probability depends on
    its neighbours. Open the detector with `num_threads=1`: its own threads would fight with the workers.

    A file that cannot be read or judged yields its reason. Closing the generator, or an interrupt, drops what has not
    begun and waits for the pictures in hand.
    """
    threshold = threshold or detector.threshold
    workers = num_workers or available_cpus()
    waiting = iter(files)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
    try:
        ahead: deque[Future[Judgement]] = deque()
        while True:
            new = islice(waiting, workers * _AHEAD - len(ahead))
            ahead.extend(pool.submit(_judge, detector, name, path, threshold) for path in new)
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _judge(detector: OnnxDetector, name: str, path: Path, threshold: Threshold) -> Judgement:
    try:
        prediction = detector.predict(path.read_bytes())
    except (ImageRefused, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Judgement(path, name, error=reason)
    return Judgement(path, name, round(prediction.probability, 6), threshold.verdict(prediction.probability))


def check_table(path: Path) -> None:
    """Refuse a place for a table that cannot be written, or holds something else, before any work is done for it."""
    if path.suffix.lower() in SUFFIXES:
        raise FakelensError(f"--csv {path} would replace a picture by a table: name a .csv file")
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise FakelensError(f"--csv {path} cannot be written: name a file in a folder that exists and can be written")


def write_csv(path: Path, judged: Sequence[Judgement]) -> None:
    """Write a table of judgements, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "detector", "probability", "verdict", "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(judgement.as_dict() for judgement in judged)
    write_text(path, text.getvalue())
