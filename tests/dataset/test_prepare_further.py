"""The test sets `ood` and `wild`: unseen generators, other photographs, nothing that training has a copy of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_source import (
    FakeSource,
    Listening,
    Shot,
    assert_exact,
    assert_rows_are_their_pictures,
    balanced,
    jpeg,
    near_copy,
    shots,
    small,
    use,
)
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.duplicates import MAX_DISTANCE_BITS
from fakelens.dataset.splits import SPLITS
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import ManifestRow, PreparedData


def rows_of(data: PreparedData, *names: str) -> list[ManifestRow]:
    return [row for row in data.rows if row.split in names]


def hashes(rows: list[ManifestRow]) -> np.ndarray[Any, Any]:
    return np.array([int(row.phash, 16) for row in rows], dtype=np.uint64)


def assert_apart(data: PreparedData) -> None:
    """No picture of one purpose is near one of another; of the splits, none near one of another split."""
    names = sorted({row.split for row in data.rows})
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            distance = np.bitwise_count(hashes(rows_of(data, one))[:, None] ^ hashes(rows_of(data, other)))
            assert distance.min() > MAX_DISTANCE_BITS, f"{one} and {other}"


@pytest.mark.parametrize("block_size", [10, 200])
def test_ood_of_held_out_generators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_size: int) -> None:
    source = use(monkeypatch, FakeSource(balanced(60, "abcde"), block_size=block_size))
    record = prepare(tmp_path, small(40, num_ood_images=20, held_out_generators=("d", "e")))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    assert_rows_are_their_pictures(data, source)
    main, ood = rows_of(data, *SPLITS), rows_of(data, "ood")
    assert [row.label for row in ood].count(FAKE) == [row.label for row in ood].count(REAL) == 10
    assert {row.generator for row in ood if row.label == FAKE} == set("de")
    assert {row.generator for row in main if row.label == FAKE} == set("abc")
    assert not {row.key for row in main} & {row.key for row in ood}
    assert_apart(data)
    data.verify()
    told = record.results["test_sets"]["ood"]
    assert (
        told["num_images"] == sum(told["generators"]["fake"].values()) + sum(told["generators"]["real"].values()) == 20
    )
    assert set(told["generators"]["fake"]) == set("de")
    # Photographs of the splits are not even candidates.
    assert told["refused"] == {}
    assert told["description"] == "d, e, held out of training, and photographs"
    assert set(told["generators_also_in_training"]) <= set("pq")
    assert not set(record.results["generators"]["fake"]) & set("de")


def own_sets(**changes: list[Shot]) -> dict[str, FakeSource]:
    given = {"ood": balanced(15, "xy", "r", 50_000), "wild": balanced(8, "az", "s", 80_000)} | changes
    return {name: FakeSource(own, prefix=name) for name, own in given.items()}


def test_sets_of_the_sources_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = use(monkeypatch, FakeSource(balanced(60), test_sets=own_sets()))
    listening = Listening()
    record = prepare(tmp_path, small(40, num_ood_images=20, num_wild_images=100), reporter=listening)
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    assert_rows_are_their_pictures(data, source)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "train.npy", "val.npy", "test.npy", "ood.npy", "wild.npy", "manifest.parquet", "prepare.json"
    }  # fmt: skip
    for name, size in (("ood", 20), ("wild", 16)):
        assert np.bincount(data.split(name).labels).tolist() == [size // 2] * 2
        assert all(row.key.startswith(name) for row in rows_of(data, name))
        assert record.results["test_sets"][name]["description"] == f"pictures in memory ({name})"
    assert record.results["test_sets"]["wild"]["generators_also_in_training"] == ["a"]
    assert record.results["num_images"] == 40
    assert any("wild: 16 balanced images" in text and "asked for 100" in text for text in listening.said)
    assert not any("ood: " in text for text in listening.said)
    assert_apart(data)
    data.verify()


@pytest.mark.parametrize("num_images", [0, 1])
def test_a_set_that_is_not_wanted_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_images: int) -> None:
    source = use(monkeypatch, FakeSource(balanced(60), test_sets=own_sets()))
    for own in source.own_sets.values():
        monkeypatch.setattr(own, "catalogue", None)
    prepare(tmp_path, small(40, num_ood_images=num_images, num_wild_images=num_images))
    assert {row.split for row in PreparedData(tmp_path / "data").rows} == set(SPLITS)


def test_held_out_generators_take_the_place_of_the_sources_ood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = use(monkeypatch, FakeSource(balanced(60), test_sets=own_sets()))
    monkeypatch.setattr(source.own_sets["ood"], "catalogue", None)
    prepare(tmp_path, small(40, num_ood_images=20, num_wild_images=10, held_out_generators=("c",)))
    data = PreparedData(tmp_path / "data")
    assert {row.generator for row in rows_of(data, "ood") if row.label == FAKE} == {"c"}
    assert len(rows_of(data, "wild")) == 10


def test_excluded_generators_are_excluded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(60), test_sets=own_sets()))
    prepare(tmp_path, small(40, num_ood_images=20, num_wild_images=10, exclude_generators=("a", "x", "q")))
    names = {row.generator for row in PreparedData(tmp_path / "data").rows}
    assert names == {"b", "c", "p", "y", "r", "z", "s"}


def test_copies_of_what_training_saw_never_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near copies of a third of the main pool in both test sets, copies of `ood` in `wild`, and copies within."""
    copied = [*range(0, 30, 3), *range(10_000, 10_030, 3)]
    planted = [Shot(i % 2, "x", near_copy(seed)) for i, seed in enumerate(copied)]
    again = [Shot(i % 2, "z", near_copy(50_000 + i)) for i in range(8)]
    sets = own_sets(
        ood=planted + balanced(30, "xy", "r", 50_000), wild=planted + again + balanced(12, "z", "s", 80_000)
    )
    within = [Shot(REAL, "q", near_copy(seed)) for seed in range(1, 30, 3)]
    source = use(monkeypatch, FakeSource(balanced(30) + within, test_sets=sets))
    record = prepare(tmp_path, small(60, num_ood_images=60, num_wild_images=24))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 60)
    assert_rows_are_their_pictures(data, source)
    assert_apart(data)
    in_main = {source.data(row.key) for row in rows_of(data, *SPLITS)}
    in_sets = {source.data(row.key) for row in rows_of(data, "ood", "wild")}
    twins = {near_copy(seed) for seed in copied if jpeg(seed) in in_main}
    assert len(twins) >= 10
    assert not twins & in_sets
    for name in ("ood", "wild"):
        assert record.results["test_sets"][name]["refused"]["near_duplicate_of_other_sets"] > 0
    assert record.results["num_near_duplicates"] > 0


def test_copies_among_the_held_out_never_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out generator repeats the others' pictures, and the photographs come twice."""
    copies = [Shot(FAKE, "d", near_copy(10_000 + i)) for i in range(20)]
    twice = [Shot(REAL, "q", near_copy(i)) for i in range(20)]
    source = use(monkeypatch, FakeSource(balanced(40, "abc", "p") + shots(FAKE, "d", 20, 70_000) + copies + twice))
    prepare(tmp_path, small(60, num_ood_images=20, held_out_generators=("d",)))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 60)
    assert_rows_are_their_pictures(data, source)
    assert len(rows_of(data, "ood")) > 0
    assert_apart(data)


def test_a_set_of_copies_alone_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = [Shot(label, "x", near_copy(seed + 10_000 * label)) for seed in range(15) for label in (REAL, FAKE)]
    use(monkeypatch, FakeSource(balanced(15), test_sets=own_sets(ood=copies)))
    listening = Listening()
    record = prepare(tmp_path, small(30, num_ood_images=10), reporter=listening)
    assert record.results["test_sets"] == {}
    assert not (tmp_path / "data" / "ood.npy").exists()
    assert any("ood: 0 balanced images" in text for text in listening.said)


def test_included_generators_alone_give_fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(80, "abcd")))
    changes = {"include_generators": ("a", "b"), "held_out_generators": ("c",), "num_ood_images": 20}
    results = prepare(tmp_path, small(40, **changes)).results
    assert set(results["generators"]["fake"]) == {"a", "b"}
    assert set(results["generators"]["real"]) == {"p", "q"}
    assert set(results["test_sets"]["ood"]["generators"]["fake"]) == {"c"}


@pytest.mark.parametrize("key", ["include_generators", "held_out_generators"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("midjourny-6", "there are midjourney-6$"), ("nothing-like-it", "there are flux.1-dev, midjourney-6$")],
)
def test_unknown_generators_name_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str, message: str
) -> None:
    names = {"a": "midjourney-6", "b": "flux.1-dev"}
    given = [shot._replace(generator=names.get(shot.generator, shot.generator)) for shot in balanced(30, "ab")]
    source = use(monkeypatch, FakeSource(given))
    with pytest.raises(ValueError, match=rf"data\.{key}: there is no generator '{name}' in this choice; {message}"):
        prepare(tmp_path, small(40, **{key: (name,)}))
    assert source.log.downloaded == []


def test_a_photographs_origin_is_no_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(30)))
    with pytest.raises(ValueError, match="there is no generator 'p' in this choice; there are a, b, c"):
        prepare(tmp_path, small(40, held_out_generators=("p",)))


def test_held_out_and_excluded_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="b, c: stands in both held_out_generators and exclude_generators"):
        small(40, held_out_generators=("c", "a", "b"), exclude_generators=("b", "c"))
