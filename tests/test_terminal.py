"""What a command says while it works, where nobody watches a terminal."""

import pytest

from fakelens import terminal
from fakelens.core.progress import Numbered
from fakelens.terminal import TerminalReporter


def test_a_log_file_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now_s)
    with TerminalReporter() as reporter, reporter.task("Counting [sheep]", 200) as task:
        for _ in range(200):
            now_s += 1
            task.advance(1, "loss 0.5")
    assert capsys.readouterr().err.splitlines() == [
        # The first of 200 steps, which may have been done by an earlier run, is no measure of the speed.
        "Counting [sheep]: 30 %, 02:22 left, loss 0.5",
        "Counting [sheep]: 60 %, 01:21 left, loss 0.5",
        "Counting [sheep]: 90 %, 00:20 left, loss 0.5",
    ]


def test_a_stage_of_several_says_which_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter() as reporter:
        Numbered(reporter, "[3/12]").say("train: done")
    assert capsys.readouterr().err == "[3/12] train: done\n"
