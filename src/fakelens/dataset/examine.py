"""An image's way from its source to a row on disk, in processes here or on a cluster; the files are the journal."""

import contextlib
import hashlib
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from fakelens.core.artifacts import atomic_path, read_json, write_json
from fakelens.core.errors import FakelensError
from fakelens.core.imaging import Container, ImageRefused, ImageU8, decode, to_square
from fakelens.core.machine import available_cpus
from fakelens.core.run_folder import SPOOL, array_file
from fakelens.dataset.duplicates import perceptual_hash
from fakelens.sources.base import Block, Row


@dataclass(frozen=True)
class Picture:
    """The outcome of examining one image."""

    part: str
    """The part that it was examined in."""
    block: int
    position: int
    label: int
    generator: str
    key: str
    sha256: str
    """Of the encoded bytes."""
    refused: str | None = None
    """Why it is not in the part's array."""
    slot: int = -1
    """Row of the part's array."""
    phash: int = 0
    container: Container | None = None

    @property
    def kind(self) -> tuple[int, str]:
        """Label and generator."""
        return self.label, self.generator


@dataclass(frozen=True)
class Work:
    """One block to examine. Picklable; its outcome depends on nothing but its fields and the source's bytes."""

    name: str
    """Of the part: unique within the folder."""
    block: Block
    folder: Path
    stored_px: int
    min_side_px: int

    @property
    def array_path(self) -> Path:
        """(N, stored_px, stored_px, 3) uint8: the squares of the images that were not refused."""
        return self.folder / array_file(self.name)

    @property
    def _record_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def _spool_path(self) -> Path:
        return self.folder / f"{self.name}{SPOOL}"

    def done(self) -> list[Picture] | None:
        """The outcome, if the block was examined before."""
        if not self._record_path.exists():
            return None
        pictures = [_picture(plain) for plain in read_json(self._record_path)]
        same = [picture.position for picture in pictures] == [row.position for row in self.block.rows]
        return pictures if same and self.array_path.exists() else None

    def download(self) -> Iterator[int]:
        """Bring the block's bytes here, piece by piece; yields the pieces' sizes."""
        yield from self.block.reader.download(self._spool_path)

    def examine(self) -> list[Picture]:
        """Decode what was downloaded; the record is written last, so that its presence means a whole part."""
        reader, squares, pictures = self.block.reader, list[ImageU8](), list[Picture]()
        images = reader.images(self._spool_path, [row.position for row in self.block.rows])
        for row, data in zip(self.block.rows, images, strict=True):
            square, picture = self._examined(row, data, len(squares))
            pictures.append(picture)
            if square is not None:
                squares.append(square)
        shape = (len(squares), self.stored_px, self.stored_px, 3)
        with atomic_path(self.array_path) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(squares, dtype=np.uint8).reshape(shape))
        write_json(self._record_path, [asdict(picture) for picture in pictures])
        shutil.rmtree(self._spool_path, ignore_errors=True)
        return pictures

    def _examined(self, row: Row, data: bytes, slot: int) -> tuple[ImageU8 | None, Picture]:
        plain: dict[str, Any] = {
            **row._asdict(),
            "part": self.name,
            "block": self.block.rank,
            "key": self.block.reader.key(row.position),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        try:
            square, container, phash = examine_image(data, self.stored_px, self.min_side_px)
        except ImageRefused as refusal:
            return None, Picture(**plain, refused=refusal.reason)
        return square, Picture(**plain, slot=slot, phash=phash, container=container)


def examine_image(data: bytes, stored_px: int, min_side_px: int) -> tuple[ImageU8, Container, int]:
    """The stored square, the container and the perceptual hash of one encoded image.

    Raises:
        ImageRefused: when it cannot be decoded or is too small or too large.
    """
    image, container = decode(data, short_side_px=stored_px, min_side_px=min_side_px)
    square = to_square(image)
    return square, container, perceptual_hash(square)


def _picture(plain: dict[str, Any]) -> Picture:
    container = plain.pop("container")
    return Picture(**plain, container=container and Container(**container))


@dataclass(frozen=True)
class Outcome:
    """One block, examined."""

    pictures: list[Picture]
    num_bytes: int
    """Downloaded for it."""


def run_here(works: Sequence[Work], num_workers: int | None, blocks_in_flight: int) -> Iterator[Outcome]:
    """Download in threads and decode in processes, each as fast as it can.

    Args:
        works: what to do; outcomes come as they are ready, in no order.
        num_workers: processes that decode; None for one per available core, 0 to decode in the threads.
        blocks_in_flight: downloads at a time, and as many that wait on disk to be decoded: bounds memory and disk.

    Raises:
        FakelensError: when a block cannot be read, or a process died of one.
    """
    if not works:
        return
    stop, room = threading.Event(), threading.Semaphore(2 * blocks_in_flight)
    ready: SimpleQueue[tuple[Future[list[Picture]], int]] = SimpleQueue()

    def bring(work: Work) -> None:
        num_bytes, pieces = 0, work.download()
        room.acquire()
        try:
            while not stop.is_set() and (piece := next(pieces, None)) is not None:
                num_bytes += piece
            if stop.is_set():
                return  # nobody listens any more
            examined = submit(work)
        except BaseException as error:  # for the one who waits
            examined = Future()
            examined.set_exception(error)

        def done(future: Future[list[Picture]]) -> None:
            room.release()
            ready.put((future, num_bytes))

        examined.add_done_callback(done)

    with decoders(num_workers, len(works)) as submit, ThreadPoolExecutor(blocks_in_flight) as threads:
        try:
            for work in works:
                threads.submit(bring, work)
            for _ in works:
                future, num_bytes = ready.get()
                yield Outcome(future.result(), num_bytes)
        except BrokenProcessPool as error:
            raise FakelensError(
                "a process that decodes images died, perhaps for lack of memory: run the same command again to go "
                "on, with --set data.num_workers=1 --set data.blocks_in_flight=1 if it happens again; a script calls "
                'fakelens.pipeline below `if __name__ == "__main__":`, since each of these processes imports it'
            ) from error
        finally:
            stop.set()
            room.release(len(works))
            threads.shutdown(cancel_futures=True)


def run_on_ray(works: Sequence[Work], num_workers: int | None) -> Iterator[Outcome]:
    """The same on a Ray cluster: Ray Data spreads the blocks over its machines, retries those of lost ones.

    The working folder must lie on storage that all machines share. Honours RAY_ADDRESS; starts Ray here without it.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise FakelensError("data.engine=ray needs Ray: pip install 'fakelens[cluster]'") from error
    if not works:
        return
    # Our own display tells of progress.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # Pickled by us: the engine's own tables would look into the objects.
    items = ray.data.from_items([{"work": pickle.dumps(work)} for work in works], override_num_blocks=len(works))
    for row in items.map(
        # 0 is none beside the main process, which a cluster has not: it decides then.
        _examined,
        compute=ray.data.TaskPoolStrategy(min(num_workers, len(works)) if num_workers else None),
    ).iter_rows():
        outcome = pickle.loads(row["outcome"])
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def _examined(item: dict[str, bytes]) -> dict[str, bytes]:
    work: Work = pickle.loads(item["work"])
    outcome: Outcome | Exception
    try:
        outcome = Outcome(num_bytes=sum(work.download()), pictures=work.examine())
    except (ValueError, OSError) as error:  # for the user to read, without the engine's frames around it
        outcome = error
    return {"outcome": pickle.dumps(outcome)}


@contextlib.contextmanager
def decoders(num_workers: int | None, num_works: int) -> Iterator[Callable[[Work], Future[list[Picture]]]]:
    """A function that has one block examined by one of `num_workers` processes; may be called from any thread."""
    wanted = min(available_cpus() if num_workers is None else num_workers, num_works)
    if wanted == 0:
        # One thread: Pillow's warnings can be kept quiet in one at a time only.
        with ThreadPoolExecutor(1) as thread:
            try:
                yield lambda work: thread.submit(work.examine)
            finally:
                thread.shutdown(cancel_futures=True)
        return
    # Forking a process that has threads and open connections is not safe: start afresh.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted, context, initializer=_start_worker) as pool:
        for _ in range(wanted):
            pool.submit(_warm_up)  # while the first blocks are on their way
        try:
            yield lambda work: pool.submit(Work.examine, work)
        finally:
            pool.shutdown(cancel_futures=True)


def _warm_up() -> None:
    import scipy.fft  # noqa: F401


def _start_worker() -> None:
    # Ctrl-C reaches the whole group: the parent ends the pool in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: multiprocessing.process.BaseProcess) -> None:
    """A worker whose parent was killed would wait for ever."""
    parent.join()
    os._exit(1)
