"""Commands and examples of README and documentation: all fit the command line, and those without a mark run."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
import yaml

import fakelens
from fakelens import cli, pipeline
from fakelens.detectors.spec import DetectorSpec
from fakelens.recipes import RECIPES, load_recipe
from labelled_pictures import fill, structured

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "experiments"),
]
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.S)
ENDLESS = {"make demo", "make app"}  # on the front page, where a mark would be in the way


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    why: str
    """Why it is not run; empty for one that is."""

    @property
    def lines(self) -> list[str]:
        return [line for whole in self.text.splitlines() if (line := re.sub(r"\s+#.*|^#.*", "", whole).strip())]


def blocks(language: str) -> list[Block]:
    return [
        Block(str(page.relative_to(ROOT)), found["language"], found["text"], found["why"] or "")
        for page in PAGES
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
        if found["language"] == language
    ]


SHELL, PYTHON = blocks("sh"), blocks("python")
LINES = sorted({(block.page, line) for block in SHELL for line in block.lines})


def fakelens_words(line: str) -> Iterator[list[str]]:
    """The arguments of each call of fakelens in a line of shell."""
    for part in re.split(r"&&|\||>", line):
        words = shlex.split(part)
        if words[:1] == ["docker"]:  # whose image has the same name
            continue
        for index, word in enumerate(words):
            if word.rpartition("/")[2] == "fakelens" and (index == 0 or index + 1 < len(words)):
                yield words[index + 1 :]
                break


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_fits_the_command_line_and_the_settings(page: str, line: str) -> None:
    group = typer.main.get_command(cli.app)
    assert hasattr(group, "commands")
    for name, *arguments in fakelens_words(line):
        if name.startswith("-"):
            continue
        assert name in group.commands, f"{page}: there is no `fakelens {name}`"
        context = group.commands[name].make_context(name, arguments)
        recipe = context.params.get("recipe") or "openfake"
        load_recipe(recipe if not recipe.endswith((".yaml", ".yml")) else "openfake", context.params.get("set_") or ())


def test_there_are_commands_to_check() -> None:
    lines = {line for _, line in LINES}
    assert {"make demo", "make app", "make test"} <= lines
    assert len([line for line in lines if line.startswith("fakelens ")]) > 20


@pytest.mark.parametrize("target", sorted({line.split()[1] for _, line in LINES if line.startswith("make ")}))
def test_make_targets_exist(target: str) -> None:
    result = subprocess.run(["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def desk(finished_run: Path, tmp_path: Path) -> Path:
    """A folder with what the pages speak of: a finished run, pictures, labelled pictures, others' scores."""
    workdir = Path(shutil.copytree(finished_run, tmp_path / "runs" / "openfake"))
    recipe = (workdir / "recipe.yaml").read_text()
    (workdir / "recipe.yaml").write_text(recipe.replace("name: smoke", "name: openfake"))
    (tmp_path / "runs" / "demo").symlink_to("openfake")
    (tmp_path / "downloads").mkdir()
    for number, place in enumerate(("holiday.jpg", "downloads/a.jpg", "downloads/b.jpg")):
        (tmp_path / place).write_bytes(structured(number, "JPEG"))
    names = [f"{label}/{number}.png" for label in ("real", "fake") for number in range(6)]
    fill(tmp_path / "pictures", {name: structured(100 + number) for number, name in enumerate(names)})
    rows = "".join(f"{name},{(5 * number) % 12 / 12:.3f}\n" for number, name in enumerate(names))
    (tmp_path / "theirs.csv").write_text(f"image,score\n{rows}")
    return tmp_path


def environment() -> dict[str, str]:
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": own, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}


# One interpreter for all: most of a short command's time is its imports.
IN_TURN = """
import contextlib, shlex, sys
from fakelens import cli
for line in sys.argv[1:]:
    print("$", line, file=sys.stderr, flush=True)
    line, _, target = line.partition(" > ")
    sys.argv = shlex.split(line)
    with open(target or "printed.txt", "w") as file, contextlib.redirect_stdout(file):
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_has_no_mark_runs(desk: Path) -> None:
    lines = dict.fromkeys(line for block in SHELL if not block.why for line in block.lines)
    run = [line for line in lines if line.startswith("fakelens ")]
    assert run
    assert {line for line in lines if not line.startswith(("fakelens ", "make "))} == set()
    command = [sys.executable, "-c", IN_TURN, *run]
    result = subprocess.run(command, cwd=desk, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("$ fakelens") == len(run)


def test_each_line_is_run_or_marked_with_the_reason() -> None:
    unmarked = {line for block in SHELL if not block.why for line in block.lines if line.startswith("make ")}
    assert unmarked <= ENDLESS | {"make test", "make docs", "make check", "make setup"}


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.why], ids=lambda block: block.page)
def test_a_python_example_runs(desk: Path, block: Block) -> None:
    result = subprocess.run(
        [sys.executable, "-c", block.text], cwd=desk, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_page_of_extras_has_every_extra_and_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "extras.md").read_text(encoding="utf-8")
    (_, _), (_, _), *rows = re.findall(r"^\| ?(.+?) ?\| ?(.+?) ?\|$", page, re.M)
    extras = re.findall(r"`(\w+)`", " ".join(extra for extra, _ in rows))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sorted(extras) == sorted(project["optional-dependencies"])
    group = typer.main.get_command(cli.app)
    assert hasattr(group, "commands")
    assert set(group.commands) <= set(re.findall(r"`(\w+)`", " ".join(needed for _, needed in rows)))


def test_the_workflow_calls_verbs_of_the_makefile_on_the_pythons_that_the_readme_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    ends = [job["steps"][-1]["run"].split() for job in workflow["jobs"].values()]
    assert {command for command, *_ in ends} == {"make"}
    verbs = [verb for _, *words in ends for verb in words if "=" not in verb]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(verbs) <= set(re.findall(r"^([a-z]+):", makefile, re.M))
    first, last = re.findall(r"Python 3\.(\d+) to 3\.(\d+)", (ROOT / "README.md").read_text(encoding="utf-8"))[0]
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(int(first), int(last) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [t.split("#")[0] for t in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8"))]
    made = {"settings.md", "cli.md"}  # by docs/hooks.py
    assert [t for t in targets if t and Path(t).name not in made and not (page.parent / t).exists()] == []


def public_names(value: type) -> set[str]:
    """A class's own fields, members of an enumeration, methods and properties."""
    own = {name for name, each in vars(value).items() if isinstance(each, property) or inspect.isroutine(each)}
    names = {*inspect.get_annotations(value), *getattr(value, "__members__", ()), *own}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.slow
def test_the_site_has_every_name_of_the_api_and_its_fields_once_and_every_recipe(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    quiet = environment() | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    # Named once, whatever the module that an object is shown under.
    shown = [head.split(".") for head in re.findall(r'<h\d id="(fakelens\.[\w.]+)"', page)]
    api = {name: getattr(fakelens, name) for name in fakelens.__all__ if name != "pipeline"}
    for name, value in (api | {"DetectorSpec": DetectorSpec}).items():
        assert sum(head[-1] == name for head in shown) == 1, name
        for field in public_names(value) if inspect.isclass(value) else ():
            assert sum(head[-2:] == [name, field] for head in shown) == 1, f"{name}.{field}"
    assert {head[2] for head in shown if head[1] == "pipeline"} == set(pipeline.__all__)
    settings = (tmp_path / "reference" / "settings.html").read_text(encoding="utf-8")
    assert all(f'<h3 id="{name}">' in settings for name in {*RECIPES, "plan"} - {"openfake"})
