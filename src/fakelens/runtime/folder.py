"""Files, folders and globs in; one judgement for each picture out, whatever state it is in."""

import glob
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from fakelens.core.errors import FakelensError
from fakelens.core.imaging import ImageRefused
from fakelens.core.machine import available_cpus
from fakelens.core.picture_folder import Listing, left_out_words, nothing_words, pictures_in
from fakelens.core.scoring import Threshold
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.inputs import PictureInput, file_bytes, name_of
from fakelens.runtime.judgement import Answer, Refusal, judge

# Files that are begun or waiting for each worker: a slow picture at the head must not leave the others idle.
FILES_AHEAD = 8


def picture_files(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files that paths name, and what was left out of folders in words.

    A file stands for itself, a folder for its pictures at any depth, a glob for what matches, as if
    each match had been named, but each file once.

    Raises:
        FakelensError: when a glob or folder holds no picture.
    """
    files: list[Path] = []
    listings: list[Listing] = []
    for path in paths:
        if path.is_dir() or (glob.has_magic(str(path)) and not path.exists()):
            named, folders = ([], [path]) if path.is_dir() else _matches(path)
            within = [pictures_in(folder) for folder in folders]
            pictures = sorted({*named, *(picture for listing in within for picture in listing.paths)})
            if not pictures:
                raise FakelensError(f"no pictures in {path}: {nothing_words(within)}")
            files, listings = files + pictures, listings + within
        else:
            files.append(path)  # a missing file becomes a judgement with an error, so that the others are not lost
    return files, left_out_words(listings)


def _matches(pattern: Path) -> tuple[list[Path], list[Path]]:
    """Files and folders that a glob matches, but no folder that lies in another: `**` matches both."""
    matches = [Path(match) for match in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207  absolute globs
    folders = {match for match in matches if match.is_dir()}
    return [m for m in matches if m not in folders], [f for f in folders if folders.isdisjoint(f.parents)]


def judge_files(
    detector: OnnxDetector,
    files: Iterable[PictureInput],
    threshold: Threshold | None = None,
    *,
    num_workers: int | None = None,
) -> Generator[Answer, None, None]:
    """Judge files or pictures, by the detector's own thresholds or another pair, in the order of `files`.

    Each worker is a thread that takes one file from its bytes to its probability, so at most `num_workers` pictures
    (by default one for each CPU) are in memory, no worker waits for another, and no picture's probability depends on
    its neighbours. Open the detector with `num_threads=1`: its own threads would fight with the workers.

    A file that cannot be read or judged yields its reason. Closing the generator, or an interrupt, drops what has not
    begun and waits for the pictures in hand.
    """
    workers = num_workers or available_cpus()
    waiting = iter(files)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
    try:
        ahead: deque[Future[Answer]] = deque()
        while True:
            new = islice(waiting, workers * FILES_AHEAD - len(ahead))
            ahead.extend(pool.submit(_judge, detector, path, threshold) for path in new)
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _judge(detector: OnnxDetector, picture: PictureInput, threshold: Threshold | None) -> Answer:
    name = name_of(picture)
    try:
        data = file_bytes(picture)
    except OSError as error:
        return Refusal(name, detector.name, error.strerror or str(error))
    except ImageRefused as refusal:
        return Refusal(name, detector.name, str(refusal))
    return judge(data, detector, threshold, name=name)
