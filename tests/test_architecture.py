"""The design's import table and house rules, held by reading the source."""

import ast
import importlib.util
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from fakelens.detectors.spec import discover

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fakelens"
MAY_IMPORT = {
    "core": set(),
    "sources": {"core"},
    "detectors": {"core", "sources"},
    "runtime": {"core"},
    "dataset": {"core", "sources"},
    "training": {"core", "dataset", "detectors"},
    "evaluation": {"core", "dataset", "detectors"},
    "export": {"core", "dataset", "detectors", "evaluation", "runtime"},
    "compression": {"core", "dataset", "detectors", "training", "evaluation", "export", "runtime"},
    "report": {"core", "dataset", "detectors", "evaluation"},
    "judging": {"core", "dataset", "detectors", "evaluation", "report", "runtime"},
    "app": {"core", "runtime"},
    "bundle": {"core", "runtime", "app"},
}
PACKAGES = set(MAY_IMPORT)
# Files that stand beside the packages, by who may import them; the others only what runs everything may.
SETTINGS = {"sources", "detectors", "dataset", "training", "evaluation", "export", "compression", "report", "judging"}
FIGURES = {"training", "evaluation", "export", "report"}
BESIDE = {"settings": SETTINGS, "config": SETTINGS - {"sources"}, "figure": FIGURES}
FILES = sorted(SOURCE.rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "notebooks").glob("*.py")])
FILE_IDS = [path.relative_to(SOURCE).as_posix() for path in FILES]


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, at whatever depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_table_covers_every_package() -> None:
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == PACKAGES


@pytest.mark.parametrize("path", FILES, ids=FILE_IDS)
def test_imports_follow_the_table(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0]
    if package not in MAY_IMPORT:
        return  # pipeline, recipes and cli may import everything
    beside = {name for name, packages in BESIDE.items() if package in packages}
    ours = {name.split(".")[1] for name in imported_modules(path) if name.startswith("fakelens.")}
    assert ours <= MAY_IMPORT[package] | {package, "__version__"} | beside


def test_no_files_import_each_other_in_a_circle() -> None:
    names = {".".join(("fakelens", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    # The API's names are loaded when they are first used.
    graph = {name: imported_modules(path) & names.keys() - {"fakelens"} for name, path in names.items()}
    assert list(TopologicalSorter(graph | {"fakelens": set()}).static_order())


@pytest.mark.parametrize("path", FILES, ids=FILE_IDS)
def test_a_file_is_at_most_400_lines(path: Path) -> None:
    assert len([line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]) <= 400


@pytest.mark.parametrize("path", FILES, ids=FILE_IDS)
def test_a_function_is_at_most_60_lines(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60}


@pytest.mark.parametrize("package", ["core", "runtime", "app"])
def test_what_the_bundle_copies_needs_neither_pydantic_nor_what_is_above_it(package: str) -> None:
    names = {name for path in (SOURCE / package).glob("*.py") for name in imported_modules(path)}
    assert not {name for name in names if re.match(r"(pydantic|torch|fakelens\.(config|settings))\b", name)}


@pytest.mark.parametrize(
    ("module", "allowed"), [("config", {"core"}), ("figure", {"core"}), ("settings", {"core", "config"})]
)
def test_the_settings_stand_above_core_alone(module: str, allowed: set[str]) -> None:
    names = imported_modules(SOURCE / f"{module}.py")
    assert {name.split(".")[1] for name in names if name.startswith("fakelens.")} <= allowed


def test_only_the_command_line_prints() -> None:
    printers = {
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printers <= {"cli.py", "terminal.py"}


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.name for path in SCRIPTS])
def test_what_scripts_import_of_ours_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fakelens"):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")


def test_no_detector_is_named_outside_its_file() -> None:
    named = {
        (path.name, name)
        for path in [*FILES, *(ROOT / "tests").rglob("*.py")]
        for name in discover()
        if path.parent.name != "detectors" and name in path.read_text(encoding="utf-8")
    }
    assert not named


@pytest.mark.parametrize(
    ("imported", "forbidden"),
    [
        ("fakelens.runtime.bundle, fakelens.runtime.detector, fakelens.app.view", "torch pydantic lightning"),
        ("fakelens.cli", "torch pydantic numpy onnxruntime"),
        ("fakelens.core.imaging", "torch pydantic"),
        ("fakelens.detectors.spec", "torch timm transformers"),
        ("fakelens.recipes, fakelens.pipeline", "torch lightning matplotlib sklearn pyarrow"),
    ],
)
def test_importing_stays_light(imported: str, forbidden: str) -> None:
    code = f"import sys, {imported}; print([name for name in {forbidden.split()} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def private_uses(tree: ast.AST) -> set[str]:
    """Underscored names of ours that a test imports, uses or replaces."""
    imports = [
        alias
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fakelens")
        for alias in node.names
    ]
    ours, uses = {alias.asname or alias.name for alias in imports}, [alias.name for alias in imports]
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=use) if name in ours:
                uses.append(use)
            case ast.Call(args=[ast.Name(id=name), ast.Constant(value=str(use)), *_]) if name in ours:
                uses.append(use)
            case ast.Constant(value=str(path)) if path.startswith("fakelens."):
                uses.append(path.rpartition(".")[2])
    return {use for use in uses if re.match("_[A-Za-z]", use)}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_tests_use_what_is_public(path: Path) -> None:
    assert private_uses(ast.parse(path.read_text(encoding="utf-8"))) == set()


def test_a_private_use_is_seen() -> None:
    uses = "from fakelens import a, _b\na._c\nmonkeypatch.setattr(a, '_d', 0)\nmonkeypatch.setattr('fakelens.a._e', 0)"
    assert private_uses(ast.parse(uses)) == {"_b", "_c", "_d", "_e"}
