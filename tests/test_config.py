"""Settings: strict, immutable, self-documenting; wrong ones are answered with the remedy."""

from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from fakelens.config import Settings, load_yaml, to_commented_yaml, with_overrides

names = st.text("abc", min_size=1, max_size=5)


class Source(Settings):
    num_images: int = Field(100, ge=14)
    """How many pictures."""
    seed: int = 0
    path: str | None = None
    """Where they are.
    A second line."""


class Codec(Settings):
    quality: tuple[int, int] = (55, 95)


class Recipe(Settings):
    name: str = "plain"
    data: Source = Source()
    """Which pictures."""
    codecs: dict[str, Codec] = Field({"jpeg": Codec()})
    options: dict[str, float] = Field({})
    mode: Literal["auto", "fast"] = "auto"


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().name = "other"


def test_defaults_are_validated_too() -> None:
    class Wrong(Settings):
        count: int = Field(3, ge=14)

    with pytest.raises(ValueError, match="'count'"):
        Wrong.checked({})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nam": "x"}, "unknown setting 'nam': did you mean 'name'?"),
        ({"data": {"num_image": 3}}, "unknown setting 'data.num_image': did you mean 'num_images'?"),
        ({"data": {"zzz": 3}}, "unknown setting 'data.zzz': known keys: num_images, path, seed"),
        ({"data": {"num_images": 3}}, "setting 'data.num_images': Input should be greater than or equal to 14"),
        ({"mode": "slow"}, "setting 'mode': Input should be 'auto' or 'fast'"),
        ({"codecs": {"jpeg": {"quality": [1]}}}, "setting 'codecs.jpeg.quality.1': Field required"),
    ],
)
def test_wrong_values_are_explained(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        Recipe.checked(values)
    assert str(caught.value) == message


def test_every_problem_has_its_line() -> None:
    with pytest.raises(ValueError, match="unknown setting 'nam'") as caught:
        Recipe.checked({"nam": 1, "data": {"seed": "many"}, "mode": 3})
    assert len(str(caught.value).splitlines()) == 3


def test_overrides_replace_only_what_they_name() -> None:
    start = Recipe(data=Source(seed=7))
    changed = with_overrides(
        start, ["data.num_images=3000", "data.path=~/my pictures", "codecs.webp.quality=[1, 2]", "options.x = 1e-3"]
    )
    assert changed == Recipe(
        data=Source(num_images=3000, seed=7, path="~/my pictures"),
        codecs={"jpeg": Codec(), "webp": Codec(quality=(1, 2))},
        options={"x": 1e-3},
    )
    assert start == Recipe(data=Source(seed=7))


def test_later_overrides_win() -> None:
    assert with_overrides(Recipe(), ["data.seed=1", "data.seed=2"]).data.seed == 2


def test_value_may_hold_equals_signs_and_nothing() -> None:
    assert with_overrides(Recipe(), ["name=a=b"]).name == "a=b"
    assert with_overrides(Recipe(data=Source(path="x")), ["data.path="]).data.path is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.num_images", "--set wants KEY=VALUE"),
        ("=3", "--set wants KEY=VALUE"),
        ("data.num_imagse=30", "did you mean 'num_images'"),
        ("data.num_images=many", "'data.num_images': Input should be a valid integer"),
        ("data.num_images.x=3", "'num_images' is a single value"),
        ("name=[1", "is not YAML"),
        ("name=a: b: c", "is not YAML"),
    ],
)
def test_wrong_overrides_are_explained(override: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared, as plain text
        with_overrides(Recipe(), [override])
    assert message in str(caught.value)


def test_commented_yaml_shows_the_documentation_above_the_key() -> None:
    lines = to_commented_yaml(Recipe()).splitlines()
    at = lines.index("  num_images: 100")
    assert lines[at - 2 : at] == ["data:", "  # How many pictures."]
    at = lines.index("  path: null")
    assert lines[at - 2 : at] == ["  # Where they are.", "  # A second line."]
    assert lines[lines.index("data:") - 1] == "# Which pictures."


@settings(deadline=None, derandomize=True)
@given(
    name=st.text(),
    path=st.none() | st.text(),
    seed=st.integers(-(2**70), 2**70),
    qualities=st.dictionaries(names, st.tuples(st.integers(), st.integers())),
    options=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_commented_yaml_reads_back_as_the_same_settings(
    name: str, path: str | None, seed: int, qualities: dict[str, tuple[int, int]], options: dict[str, float]
) -> None:
    recipe = Recipe(
        name=name,
        data=Source(seed=seed, path=path),
        codecs={key: Codec(quality=value) for key, value in qualities.items()},
        options=options,
    )
    assert Recipe.checked(yaml.safe_load(to_commented_yaml(recipe))) == recipe


def test_load_yaml_fills_in_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: größe\ndata:\n  seed: 5\n", encoding="utf-8")
    assert load_yaml(path, Recipe) == Recipe(name="größe", data=Source(seed=5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: [1", "is not YAML"),
        (b"name: gr\xf6\xdfe", "is not encoded as UTF-8"),
        (b"", "must hold settings"),
        (b"data:\n  seed: 5\ndata:\n  num_images: 140\n", r"(?s)'data' stands here a second time.*line 3"),
        (b"data:\n  seed: 2026-13-45\n", "is not YAML: month must be"),
        (b"[" * 100_000, "is not YAML"),
        (b"data:\n  seed: 5\n  seed: 6\n", r"(?s)'seed' stands here a second time.*line 3"),
        ("name: x\n".encode("utf-32"), "it is UTF-32.*save it as UTF-8"),
        (b"- a\n- b\n", "must hold settings"),
        (b"1: 2\n", "1"),
        (b"data:\n  sede: 5\n", "did you mean 'seed'"),
    ],
)
def test_wrong_files_are_explained(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_yaml(path, Recipe)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot read the recipe"):
        load_yaml(tmp_path / name, Recipe)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark"])
def test_a_recipe_in_the_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    text = "name: größe\ndata:\n  num_images: 140\n"
    data = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-mark" else text.encode(encoding)
    (tmp_path / "mine.yaml").write_bytes(data)
    recipe = load_yaml(tmp_path / "mine.yaml", Recipe)
    assert (recipe.name, recipe.data.num_images) == ("größe", 140)


def test_what_belongs_to_execution_is_a_setting() -> None:
    with pytest.raises(AssertionError):
        type("Misspelt", (Settings,), {"of_execution": frozenset({"num_worker"}), "__module__": __name__})
