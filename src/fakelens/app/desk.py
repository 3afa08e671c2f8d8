"""The decoded pictures of all visitors together: how much memory they may take, and who must give way."""

import threading
import weakref

from fakelens.app.view import Taken

MAX_BYTES = 32 * 2**20  # about 120 pictures


class Desk:
    """Keeps no picture alive: a visitor's session does, and a session ends. It empties the oldest when it gets full."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pictures: list[weakref.ref[Taken]] = []
        self._lock = threading.Lock()

    def add(self, taken: Taken) -> None:
        """Count one more; the pixels of the oldest go until all fit again, their facts stay."""
        with self._lock:
            self._pictures.append(weakref.ref(taken))
            alive = [picture for each in self._pictures if (picture := each()) is not None and picture.pictures]
            excess = sum(picture.num_bytes for picture in alive) - self._max_bytes
            while excess > 0:
                oldest = alive.pop(0)
                excess -= oldest.num_bytes
                oldest.pictures.clear()
            self._pictures = [weakref.ref(picture) for picture in alive]


DESK = Desk()
