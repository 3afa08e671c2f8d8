"""Who does the work: blocks in, their outcomes out as they are ready, from this machine's processes or from Ray."""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from queue import SimpleQueue

from fakelens.core.cpus import available_cpus
from fakelens.core.errors import FakelensError
from fakelens.dataset.parts import Picture, Work


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
        ValueError: when a block cannot be read, or a process died of one.
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
                "on, with --set data.num_workers=1 --set data.blocks_in_flight=1 if it happens again"
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
        _examined, compute=ray.data.TaskPoolStrategy(num_workers and min(num_workers, len(works)))
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
    import imagehash  # noqa: F401


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
