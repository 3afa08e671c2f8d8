"""Balanced arrays whose rows are what the manifest says they are, and a record that tells how they came about."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_source import (
    STORED_PX,
    FakeSource,
    Listening,
    assert_exact,
    assert_rows_are_their_pictures,
    balanced,
    digests,
    encoded,
    jpeg,
    near_copy,
    picture,
    shots,
    small,
    use,
)
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset.examine import examine_image
from fakelens.dataset.splits import SPLITS, split_sizes
from fakelens.dataset.stage import prepare, prepare_stage
from fakelens.dataset.store import PreparedData
from fakelens.settings import DataSettings

OUTPUTS = {"train.npy", "val.npy", "test.npy", "manifest.parquet"}


@pytest.mark.parametrize("num_images", [14, 40, 100])
def test_arrays_manifest_and_record_fit_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_images: int
) -> None:
    source = use(monkeypatch, FakeSource(balanced(60)))
    record = prepare(tmp_path, small(num_images))
    assert {path.name for path in (tmp_path / "data").iterdir()} == OUTPUTS | {"prepare.json"}
    assert set(record.outputs) == OUTPUTS
    data = PreparedData(tmp_path / "data")
    assert data.record == record
    assert_exact(data, num_images)
    assert_rows_are_their_pictures(data, source)
    data.verify()
    results, sizes = record.results, split_sizes(num_images)
    assert results["splits"] == {name: dict.fromkeys(LABELS, n // 2) for name, n in zip(SPLITS, sizes, strict=True)}
    for label, name in enumerate(LABELS):
        own = Counter(row.generator for row in data.rows if row.label == label)
        assert results["generators"][name] == own
    assert (results["num_images"], results["refused"], results["test_sets"]) == (num_images, {}, {})
    assert results["num_near_duplicates"] == 0
    assert data.results.audit.sentence
    told = [results[key] for key in ("source", "description", "licence", "revision", "demo")]
    assert told == ["main", "pictures in memory (main)", "none", "r1", False]
    assert not data.is_demo


def test_generators_are_balanced_within_the_slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(200, "abcd"), block_size=5))
    fakes = prepare(tmp_path, small(80)).results["generators"]["fake"]
    assert sum(fakes.values()) == 40
    assert set(fakes) == set("abcd")
    assert max(fakes.values()) <= 15  # 1.5 times an equal share


def test_near_duplicates_stay_in_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty photographs come again from another origin, smaller in bytes and larger in pixels."""
    own = shots(REAL, "p", 20, 0) + shots(FAKE, "ab", 40, 1000)
    copies = [own[0]._replace(label=REAL, generator="c", data=near_copy(seed)) for seed in range(20)]
    source = use(monkeypatch, FakeSource(own + copies))
    record = prepare(tmp_path, small(80))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 80)
    assert_rows_are_their_pictures(data, source)
    found = {row.sha256: row for row in data.rows}
    for seed in range(20):
        original, copy = (found[hashlib.sha256(each).hexdigest()] for each in (jpeg(seed), near_copy(seed)))
        assert (original.split, original.group) == (copy.split, copy.group)
    assert sorted(Counter(row.group for row in data.rows).values()) == [1] * 40 + [2] * 20
    assert record.results["num_near_duplicates"] == 20


def test_seed_decides_choice_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(60)))
    rows = []
    for workdir, seed in (("a", 0), ("b", 1), ("c", 0)):
        prepare(tmp_path / workdir, small(40, seed=seed))
        rows.append(PreparedData(tmp_path / workdir / "data").rows)
    assert {row.key for row in rows[0]} != {row.key for row in rows[1]}
    assert rows[0] == rows[2]
    assert digests(tmp_path / "a") == digests(tmp_path / "c") != digests(tmp_path / "b")
    # A split is no stretch of the source's order.
    assert [row.key for row in rows[0]] != sorted(row.key for row in rows[0])


@pytest.mark.parametrize(
    "changes", [{"num_workers": 1}, {"blocks_in_flight": 9}, {"engine": "ray"}, {"num_workers": None}]
)
def test_who_does_the_work_is_not_part_of_the_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert prepare_stage(tmp_path, small(40, **changes)).key == prepare_stage(tmp_path, small(40)).key


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1}, {"revision": "x"}, {"stored_px": 128}, {"min_side_px": 65}, {"cap_per_generator": 9},
        {"include_generators": ("a",)}, {"exclude_generators": ("a",)}, {"held_out_generators": ("a",)},
        {"num_ood_images": 2}, {"num_wild_images": 2}, {"num_images": 42},
    ],
)  # fmt: skip
def test_what_changes_the_outcome_is_part_of_the_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = small(40)
    changed = DataSettings(**(plain.model_dump() | changes))
    assert prepare_stage(tmp_path, changed).key != prepare_stage(tmp_path, plain).key


def test_more_threads_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(60)))
    prepare(tmp_path / "one", small(60))
    prepare(tmp_path / "many", small(60, blocks_in_flight=8))
    assert digests(tmp_path / "one") == digests(tmp_path / "many")


def test_odd_numbers_are_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = use(monkeypatch, FakeSource(balanced(60)))
    with pytest.raises(ValueError, match="must be even and at least 14, not 21"):
        prepare(tmp_path, small(21))
    assert not (tmp_path / "data").exists()
    assert source.log.downloaded == []


def test_a_picture_under_both_labels_is_named_and_left_out_with_its_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = balanced(33)
    thefts = [own[0]._replace(label=FAKE, generator="d"), own[0]._replace(label=FAKE, generator="e", data=near_copy(0))]
    source = use(monkeypatch, FakeSource([*own, *thefts]))
    listening = Listening()
    record = prepare(tmp_path, small(60), reporter=listening)
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 60)
    assert_rows_are_their_pictures(data, source)
    assert own[0].label == REAL
    assert record.results["refused"] == {"under_both_labels": 3}
    (said,) = [text for text in listening.said if "both labels" in text]
    assert len(record.results["under_both_labels"]) == 3
    assert all(key in said for key in record.results["under_both_labels"])
    assert not {source.data(row.key) for row in data.rows} & {jpeg(0), near_copy(0)}


def test_made_up_pictures_are_marked(tmp_path: Path) -> None:
    made_up = DataSettings(
        source="synthetic", num_images=14, stored_px=64, synthetic_px=64, min_side_px=64, num_workers=0
    )
    assert prepare(tmp_path, made_up).results["demo"] is True
    data = PreparedData(tmp_path / "data")
    assert data.is_demo
    assert "demonstration" in data.subject("Confusion")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder: real/ of one origin, fake/ of two generators."""
    for number in range(20):
        add(tmp_path / "pictures/real/camera" / f"{number:02d}.jpg", jpeg(number))
        add(tmp_path / "pictures/fake" / "ab"[number % 2] / f"{number:02d}.png", encoded(picture(1000 + number), "PNG"))
    return tmp_path / "pictures"


def add(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def of_folder(path: Path | str) -> DataSettings:
    return small(40, source="folder", path=str(path))


def test_a_folder_of_pictures(pictures: Path, tmp_path: Path) -> None:
    results = prepare(tmp_path, of_folder(pictures)).results
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    for row in data.rows:
        square, _, _ = examine_image((pictures / row.key).read_bytes(), STORED_PX, STORED_PX)
        assert np.array_equal(data.split(row.split).squares[row.row], square)
        assert row.key.startswith(LABELS[row.label])
    assert results["generators"] == {"real": {"camera": 20}, "fake": {"a": 10, "b": 10}}
    assert (results["source"], results["num_images"], results["refused"]) == ("folder", 40, {})
    assert results["audit"]["random_split"] > 0.9  # reals are JPEG, fakes PNG


@pytest.mark.parametrize("named", ["plain", "home", "link"])
def test_a_changed_folder_is_prepared_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path, named: str
) -> None:
    path = str(pictures)
    if named == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
        path = "~/pictures"
    elif named == "link":
        for label in LABELS:
            (tmp_path / "links" / label).mkdir(parents=True)
            (tmp_path / "links" / label / "all").symlink_to(pictures / label)
        path = str(tmp_path / "links")
    first = prepare(tmp_path, of_folder(path))
    changed = pictures / "real" / "camera" / "00.jpg"
    changed.write_bytes(jpeg(9000))
    second = prepare(tmp_path, of_folder(path))
    assert second.key != first.key
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    assert digest in {row.sha256 for row in PreparedData(tmp_path / "data").rows}
