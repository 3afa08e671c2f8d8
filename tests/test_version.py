"""Versions: the package's own, which stands in one place, and those that it is tested with."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import fakelens

ROOT = Path(__file__).parents[1]


def test_the_command_line_prints_it() -> None:
    command = [sys.executable, "-W", "error", "-m", "fakelens", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"fakelens {fakelens.__version__}\n"


def test_the_citation_and_the_change_log_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    heads = re.findall(r"^## \[(.+?)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heads[0] == ("Unreleased", "")
    assert heads[1] == (citation["version"], str(citation["date-released"]))
    assert citation["version"] == fakelens.__version__


def test_the_citation_names_the_data_set_that_it_asks_to_cite_and_the_packages_authors() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "OpenFake" in citation["message"]
    assert [one["title"] for one in citation["references"]] == ["OpenFake"]
    assert citation["authors"] == project["authors"]
    assert citation["keywords"] == project["keywords"]


def test_the_build_reads_it_from_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert ROOT / project["tool"]["hatch"]["version"]["path"] == Path(fakelens.__file__)


def test_the_lock_file_holds_the_tested_versions() -> None:
    locked: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        locked.setdefault(package["name"], set()).add(package.get("version", ""))
    lines = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    tested = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in lines}
    assert {"torch", "torchvision", "streamlit"} <= locked.keys()
    others = {name for name, version in tested.items() if name in locked and version not in locked[name]}
    assert others <= {"pyarrow"}  # of which MLflow, an extra, asks for an older one
