"""The pages that are made when the site is built: the front page, the commands, every setting."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """The files of the site with the generated pages."""
    from mkdocs.structure.files import File

    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def pages() -> dict[str, str]:
    """Markdown by path in the site."""
    sources = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGELOG.md"}
    return {
        **{page: within_site((ROOT / source).read_text(encoding="utf-8")) for page, source in sources.items()},
        "reference/cli.md": commands(),
        "reference/settings.md": settings(),
    }


def within_site(text: str) -> str:
    """A page of the repository's top with its links as seen from the site; what is not in the site is plain text."""
    text = (
        text.replace("](docs/", "](").replace('src="docs/', 'src="').replace("](CONTRIBUTING.md", "](contributing.md")
    )
    return re.sub(
        r"(?<!!)\[([^]]+)\]\(([^)#:]+)\)",
        lambda link: link[0] if (ROOT / "docs" / link[2]).exists() or link[2] == "contributing.md" else link[1],
        text,
    )


def commands() -> str:
    """Every command with its arguments and options, out of the command line itself."""
    import typer
    from typer.cli import get_docs_for_click

    from fakelens import cli

    command = typer.main.get_command(cli.app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="fakelens"), name="fakelens")
    # The list of commands at its top cuts their descriptions off.
    text = text[text.index("## ") :].replace("* `--help`: Show this message and exit.\n", "")
    return (
        "# Commands\n\nExit status: 0 done, 1 the work failed, with a reason, 2 wrong use, 130 after SIGINT, 143 after "
        "SIGTERM: the same command goes on.\n\n" + text
    )


def settings() -> str:
    """Every setting of a recipe, with what the named recipes and the detectors say otherwise."""
    from fakelens.config import Settings
    from fakelens.core.artifacts import differences
    from fakelens.detectors.spec import discover
    from fakelens.recipes import RECIPES, Recipe, load_recipe
    from fakelens.settings import DetectorSettings

    default = Recipe()
    lines = [
        "# Settings",
        "",
        "A recipe decides everything. `--set KEY=VALUE` changes one setting, `fakelens config` prints all of them as a "
        "file that `--recipe` takes; values are YAML.",
    ]
    for path, section in _sections("", default):
        rows = [
            (f"`{path}{name}`", _code(getattr(section, name)), _values(field), _words(field))
            for name, field in type(section).model_fields.items()
            if not isinstance(getattr(section, name), Settings)
        ]
        lines += ["", f"## {path.rstrip('.') or 'The recipe itself'}", "", (type(section).__doc__ or "").strip(), ""]
        lines += _table(("Setting", "Default", "Values", "Meaning"), rows)
    specs = discover()
    lines += ["", "## detectors", "", f"{DetectorSettings.__doc__} Keys are `detectors.NAME.KEY`.", ""]
    lines += _table(
        ("Key", "Values", "Meaning", *(f"`{name}`" for name in specs)),
        [
            (
                f"`{key}`",
                _values(field),
                _words(field),
                *(_code(getattr(spec.defaults, key)) for spec in specs.values()),
            )
            for key, field in DetectorSettings.model_fields.items()
        ],
    )
    lines += ["", "## Recipes", "", f"`{default.name}` is the default. The others differ from it:"]
    for name in (*RECIPES, "plan"):
        recipe = load_recipe(name)
        changes = differences(default.model_dump(mode="json"), recipe.model_dump(mode="json"))
        if changes:
            lines += ["", f"### {name}", "", *(f"- `{change}`" for change in changes)]
    return "\n".join(lines) + "\n"


def _sections(path: str, section: Any) -> list[tuple[str, Any]]:
    """A section and those below it, each with the beginning of its keys."""
    from fakelens.config import Settings

    below = [
        part for name, value in section if isinstance(value, Settings) for part in _sections(f"{path}{name}.", value)
    ]
    return [(path, section), *below]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows)]


def _values(field: "FieldInfo") -> str:
    """The choices or the limits of a setting."""
    choices = [value for part in (field.annotation, *get_args(field.annotation)) for value in get_args(part)]
    words = [f"`{value}`" for value in choices if isinstance(value, str)]
    bounds = [
        f"{sign} {getattr(limit, name):,}"
        for limit in field.metadata
        for name, sign in _BOUNDS.items()
        if hasattr(limit, name)
    ]
    return ", ".join(words or bounds)


def _words(field: "FieldInfo") -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _code(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value) if isinstance(value, tuple) else value}`"
