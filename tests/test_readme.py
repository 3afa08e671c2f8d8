"""The README's commands exist and do what it says they do."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.S)
    for line in block.splitlines()
]


def test_there_are_commands_to_check() -> None:
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("target", sorted({c.split()[1] for c in COMMANDS if c.startswith("make ")}))
def test_make_targets_exist(target: str) -> None:
    result = subprocess.run(["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "line", sorted({c for c in COMMANDS if "fakelens " in c and not c.startswith(("git", "cd", "pip"))})
)
def test_fakelens_commands_and_options_exist(line: str) -> None:
    words = line.split()[line.split().index(next(w for w in line.split() if w.endswith("fakelens"))) + 1 :]
    result = subprocess.run([sys.executable, "-m", "fakelens", words[0], "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in result.stdout, f"{line}: {option} does not exist"


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    targets = [target.split("#")[0] for target in re.findall(r"\]\((?!http)([^)]+)\)", README)]
    assert targets
    assert [target for target in targets if target and not (ROOT / target).exists()] == []
