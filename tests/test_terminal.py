"""What a command says while it works, where nobody watches a terminal."""

import pytest

from fakelens import terminal
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
    assert capsys.readouterr().err.splitlines() == [f"Counting [sheep]: {n} %, loss 0.5" for n in (30, 60, 90)]
