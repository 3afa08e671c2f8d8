"""The base of all settings: strict, immutable, from and to YAML, with `a.b=c` overrides."""

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fakelens.core.errors import FakelensError


class Settings(BaseModel):
    """Strict and immutable; the sentence beneath each field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    of_execution: ClassVar[frozenset[str]] = frozenset()
    """Settings of how the work is executed and reported, which change nothing in the outcome."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        assert cls.of_execution <= cls.model_fields.keys(), cls

    def decisive(self) -> dict[str, Any]:
        """Plain values of the settings that decide the outcome: a stage's key holds these."""
        return self.model_dump(mode="json", exclude=set(self.of_execution))

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values.

        Raises:
            FakelensError: one line per problem; an unknown key names the nearest known one.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise FakelensError("\n".join(_explain(cls, problem) for problem in error.errors())) from None


SettingsT = TypeVar("SettingsT", bound=Settings)
ValueT = TypeVar("ValueT")


def read_as(cls: type[ValueT], plain: Any, origin: Path) -> ValueT:
    """Plain values, read from the file `origin`, as the type that wrote them.

    Raises:
        FakelensError: when they do not fit, because another version wrote them.
    """
    try:
        return TypeAdapter(cls).validate_python(plain)
    except ValidationError as error:
        problem = error.errors()[0]
        raise FakelensError(
            f"{origin} was written by another version of fakelens ({'.'.join(map(str, problem['loc']))}: "
            f"{problem['msg']}): run its stage again with --force"
        ) from error


def with_overrides(settings: SettingsT, overrides: Sequence[str]) -> SettingsT:
    """Apply `a.b=value` overrides (values are YAML) and validate the whole again.

    Raises:
        FakelensError: for a malformed override, an unknown key or a value of the wrong kind.
    """
    values = settings.model_dump(mode="json")
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path.strip():
            raise FakelensError(f"--set wants KEY=VALUE, for example data.num_images=3000, not {override!r}")
        _assign(values, path.strip().split("."), _parsed(text, override), override)
    return type(settings).checked(values)


def load_yaml(path: Path, cls: type[SettingsT], **defaults: Any) -> SettingsT:
    """Read one settings file; `defaults` stand where it says nothing.

    Raises:
        FakelensError: when the file is missing, is not YAML, or does not fit `cls`.
    """
    yaml = _yaml()
    try:
        values = yaml.load(_decoded(path.read_bytes()), _strict_loader())
    except OSError as error:
        raise FakelensError(f"cannot read the recipe {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FakelensError(f"{path} is not encoded as UTF-8 ({error.reason}): save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of dates such as 2026-13-45, and of depth
        raise FakelensError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise FakelensError(
            f"{path} must hold settings (key: value lines); `fakelens config` prints a complete example"
        )
    return cls.checked({**defaults, **values})


def _strict_loader() -> Any:
    """YAML's safe loader, which would silently take the last of two lines for one setting."""
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for number, key in enumerate(keys):
                if key.value in (before.value for before in keys[:number]):
                    problem = f"{key.value!r} stands here a second time: keep one of them"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            return super().construct_mapping(node, deep)

    return Loader


def _decoded(data: bytes) -> str:
    """Text in UTF-8, or in the UTF-16 that Windows' shell writes, which its mark tells apart."""
    if data[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise UnicodeDecodeError("utf-8", data, 0, 4, "it is UTF-32")
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def to_commented_yaml(settings: Settings, indent: int = 0) -> str:
    """The settings as YAML with each field's documentation above it."""
    pad, lines = "  " * indent, []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if field.description:
            lines += [f"{pad}# {line.strip()}" for line in field.description.splitlines()]
        if isinstance(value, Settings):
            lines += [f"{pad}{name}:", to_commented_yaml(value, indent + 1)]
        else:
            plain = settings.model_dump(mode="json", include={name})
            text = _yaml().safe_dump(plain, default_flow_style=None, width=10_000, sort_keys=False).strip()
            lines.append(textwrap.indent(text[1:-1] if text.startswith("{") else text, pad))
    return "\n".join(lines)


def _parsed(text: str, override: str) -> Any:
    yaml = _yaml()
    try:
        return yaml.load(text, _strict_loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FakelensError(f"the value in {override!r} is not YAML: {error}") from error


def _assign(values: dict[str, Any], path: list[str], value: Any, override: str) -> None:
    for step in path[:-1]:
        values = values.setdefault(step, {})
        if not isinstance(values, dict):
            raise FakelensError(f"{override!r}: {step!r} is a single value and has no keys below it")
    values[path[-1]] = value


def _explain(cls: type[Settings], problem: Any) -> str:
    path = [str(step) for step in problem["loc"]]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(cls, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown setting {name!r}: {hint}"
    words = str(problem["msg"]).removeprefix("Value error, ")
    return f"setting {name!r}: {words}" if name else words


def _known_keys(cls: type[Settings], path: list[str]) -> list[str]:
    owner: Any = cls
    for step in path:
        field = owner.model_fields.get(step) if isinstance(owner, type) and issubclass(owner, Settings) else None
        owner = field.annotation if field else None
    if isinstance(owner, type) and issubclass(owner, Settings):
        return list(owner.model_fields)
    return []


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise FakelensError("recipes need PyYAML: install fakelens[train]") from error
    return yaml
