"""Several workers judge a folder: in order, whatever its files are, in bounded memory, and stop when told to."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fakelens.core.scoring import Threshold, Verdict
from fakelens.runtime import folder as folder_module
from fakelens.runtime.detector import OnnxDetector
from fakelens.runtime.folder import judge_files
from fakelens.runtime.judgement import Judgement, Refusal, judge
from onnx_models import flat_picture, onnx_bytes


class Watched(OnnxDetector):
    """Counts the pictures in hand; the slow ones are those of many bytes, so that later files end first."""

    def __init__(self, delay_s: float = 0) -> None:
        super().__init__(onnx_bytes(), num_threads=1)
        self._delay_s, self._lock = delay_s, threading.Lock()
        self.num_begun = self.in_hand = self.most_in_hand = 0

    def examine(self, picture: Image.Image) -> tuple[float, npt.NDArray[np.float32]]:
        with self._lock:
            self.num_begun += 1
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)
        try:
            time.sleep(self._delay_s)
            return super().examine(picture)
        finally:
            with self._lock:
                self.in_hand -= 1


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Grey levels 0, 5, …, 195, the first large; one file is broken, one empty and one is missing."""
    paths = []
    for number in range(40):
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(flat_picture(5 * number, (2400, 1800) if number == 0 else (80, 64), grain=0))
        paths.append(path)
    paths[7].write_bytes(paths[7].read_bytes()[:60])
    paths[11].write_bytes(b"")
    paths[13].unlink()
    return paths


@pytest.mark.parametrize("num_workers", [1, 2, 5])
def test_the_order_is_that_of_the_files_and_bad_ones_say_why(files: list[Path], num_workers: int) -> None:
    detector = OnnxDetector(onnx_bytes(), num_threads=1)
    judged = list(judge_files(detector, files, num_workers=num_workers))
    assert [Path(answer.name) for answer in judged] == files
    bad = {number: answer.error for number, answer in enumerate(judged) if isinstance(answer, Refusal)}
    assert set(bad) == {7, 11, 13}
    assert (bad[11], bad[13]) == ("the file is empty", "No such file or directory")
    alone = [judge(path.read_bytes(), detector) for path in files if path.exists()]
    assert [answer.as_dict() | {"path": ""} for answer in judged if answer.name != str(files[13])] == [
        answer.as_dict() for answer in alone
    ]


def test_the_threshold_can_be_another(files: list[Path]) -> None:
    detector = OnnxDetector(onnx_bytes(), num_threads=1)
    (judged,) = judge_files(detector, files[:1], Threshold(0.0, 0.0))
    assert isinstance(judged, Judgement)
    assert judged.threshold == Threshold(0.0, 0.0)
    assert judged.verdict in (Verdict.FAKE, Verdict.UNCERTAIN)


def test_no_more_pictures_are_in_hand_than_workers_and_files_are_not_listed_ahead(files: list[Path]) -> None:
    detector, asked = Watched(0.002), 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield files[asked % 5 + 1]

    judged = judge_files(detector, endless(), num_workers=3)
    for _ in range(30):
        next(judged)
    judged.close()
    assert detector.most_in_hand == 3
    assert asked <= 30 + 3 * folder_module.FILES_AHEAD


def test_an_interrupt_waits_for_the_pictures_in_hand_alone(files: list[Path]) -> None:
    detector = Watched(0.2)

    def interrupted() -> Iterator[Path]:
        yield from files[:8]
        raise KeyboardInterrupt  # what Ctrl-C raises in the main thread, which is the one that asks for files

    started_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(judge_files(detector, interrupted(), num_workers=2))
    assert time.monotonic() - started_s < 0.8  # all eight would take 0.8 s
    assert (detector.in_hand, detector.num_begun) == (0, 2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("judge")]


def test_a_fault_of_ours_is_not_taken_for_a_bad_file(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    detector = OnnxDetector(onnx_bytes(), num_threads=1)
    monkeypatch.setattr(detector, "examine", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(judge_files(detector, files, num_workers=2))


def test_no_files_are_no_judgements() -> None:
    assert list(judge_files(OnnxDetector(onnx_bytes()), [])) == []
