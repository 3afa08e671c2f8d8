"""Pictures under both labels: both copies are named and left out, whatever was done to the file; edits are not."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_source import (
    STORED_PX,
    FakeSource,
    Listening,
    Shot,
    assert_exact,
    balanced,
    digests,
    jpeg,
    near_copy,
    picture,
    small,
    use,
)
from fakelens.core.progress import SILENT
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.choice import UNDER_BOTH_LABELS
from fakelens.dataset.collecting import Collector
from fakelens.dataset.duplicates import both_labels_words, same_bytes
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import PreparedData
from fakelens.settings import DataSettings


def large(seed: int, side_px: int = 300) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def sorted_by_hand(root: Path, num: int) -> Path:
    """A folder with `num` photographs and as many fakes, all different."""
    for index in range(num):
        save(root / "real" / f"{index}.jpg", large(index))
        save(root / "fake" / "ab"[index % 2] / f"{index}.jpg", large(1000 + index))
    return root


def of_folder(root: Path, num_images: int, **changes: object) -> DataSettings:
    return small(num_images, source="folder", path=str(root), **changes)


def keys(workdir: Path) -> set[str]:
    return {row.key for row in PreparedData(workdir / "data").rows}


@pytest.mark.parametrize("copied", [jpeg, near_copy])
def test_both_copies_are_named_and_left_out(tmp_path: Path, copied: object) -> None:
    shots = balanced(60)
    copies = [shots[i]._replace(label=FAKE, generator="thief", data=copied(i)) for i in range(20)]  # type: ignore[operator]
    source = FakeSource(shots + copies, block_size=4)
    listening = Listening()
    collection = Collector("images", tmp_path, small(), listening).collect(source.catalogue(), 80)
    assert Counter(picture.label for picture in collection.pictures) == {REAL: 40, FAKE: 40}
    read = set(source.log.read)
    both = {f"main/{i}": f"main/{120 + i}" for i in range(20) if {f"main/{i}", f"main/{120 + i}"} <= read}
    assert len(both) >= 5
    assert collection.under_both_labels == both | {copy: original for original, copy in both.items()}
    assert not set(collection.under_both_labels) & {picture.key for picture in collection.pictures}
    assert collection.refused == {UNDER_BOTH_LABELS: 2 * len(both)}
    assert sum(int(text.split()[0]) for text in listening.said) == 2 * len(both)
    assert all("pictures lie under both labels" in text and " as main/" in text for text in listening.said)


def test_three_copies_under_two_labels_leave_none(tmp_path: Path) -> None:
    thrice = [
        Shot(REAL, "p", jpeg(5)),
        Shot(FAKE, "a", jpeg(5)),
        Shot(FAKE, "b", near_copy(5)),
        Shot(REAL, "q", jpeg(5)),
    ]
    source = FakeSource([*balanced(20, first_seed=100), *thrice], block_size=64)
    collection = Collector("images", tmp_path, small(), SILENT).collect(source.catalogue(), 40)
    assert collection.refused == {UNDER_BOTH_LABELS: 4}
    assert {source.data(key) for key in collection.under_both_labels} == {shot.data for shot in thrice}


def test_an_edited_photograph_stays_beside_its_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def edited(seed: int) -> bytes:
        image, buffer = picture(seed), io.BytesIO()
        patch = (30, 25, 42, 37)
        image.paste(image.crop(patch).point(lambda level: 255 - level), patch)
        image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    shots = balanced(20)
    shots[20:] = [Shot(FAKE, "edits", edited(seed)) for seed in range(20)]
    use(monkeypatch, FakeSource(shots))
    results = prepare(tmp_path, small(40)).results
    assert results["under_both_labels"] == {}
    assert results["num_near_duplicates"] >= 5


def test_reconstructions_are_kept_where_the_setting_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [*balanced(20)[:20], *(Shot(FAKE, "vae", near_copy(seed)) for seed in range(20))]
    exact = [Shot(label, "x", jpeg(500 + i)) for i in range(4) for label in (REAL, FAKE)]
    use(monkeypatch, FakeSource(pairs + exact, block_size=64))
    with pytest.raises(ValueError, match=r"48 refused as under_both_labels.*data\.keep_reconstructions=true"):
        prepare(tmp_path, small(40))
    results = prepare(tmp_path, small(40, keep_reconstructions=True)).results
    assert results["refused"] in ({}, {UNDER_BOTH_LABELS: len(results["under_both_labels"])})
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    splits: dict[int, set[str]] = {}
    for row in data.rows:
        splits.setdefault(row.group, set()).add(row.split)
    assert len(splits) == 20
    assert all(len(own) == 1 for own in splits.values())


def test_all_pictures_of_a_folder_are_compared_however_few_are_wanted(tmp_path: Path) -> None:
    root = sorted_by_hand(tmp_path / "set", 40)
    changes = {
        "copy": lambda i, path: path.write_bytes((root / f"real/{i}.jpg").read_bytes()),
        "again": lambda i, path: save(path, large(i), quality=40),
        "half": lambda i, path: save(path, large(i).resize((150, 150), Image.Resampling.LANCZOS)),
        "tiny": lambda i, path: save(path, large(i).resize((60, 60), Image.Resampling.LANCZOS)),  # too small to be kept
        "double": lambda i, path: save(path, large(i).resize((600, 600), Image.Resampling.BICUBIC)),
    }
    both = set[str]()
    for number, (name, change) in enumerate(changes.items()):
        for i in (2 * number, 2 * number + 1):
            change(i, root / "fake" / "a" / f"{name}{i}.jpg")
            both |= {f"real/{i}.jpg", f"fake/a/{name}{i}.jpg"}
    for seed in range(3):
        listening = Listening()
        results = prepare(tmp_path / str(seed), of_folder(root, 14, seed=seed), reporter=listening).results
        assert set(results["under_both_labels"]) == both
        assert results["refused"][UNDER_BOTH_LABELS] == len(both)
        assert not keys(tmp_path / str(seed)) & both
        (words,) = (text for text in listening.said if "under both labels" in text)
        assert words.startswith("20 pictures lie under both labels")
        assert "fake/a/again2.jpg as real/2.jpg" in words


def test_a_held_out_generators_copies_count_and_an_excluded_ones_do_not(tmp_path: Path) -> None:
    root = sorted_by_hand(tmp_path / "set", 30)
    for i, generator in enumerate(("held", "excluded")):
        save(root / "fake" / generator / "x.jpg", large(i), quality=60)
        save(root / "fake" / generator / "y.jpg", large(5000 + i))
    settings = of_folder(root, 40, held_out_generators=("held",), exclude_generators=("excluded",), num_ood_images=2)
    results = prepare(tmp_path, settings).results
    assert set(results["under_both_labels"]) == {"real/0.jpg", "fake/held/x.jpg"}
    assert results["test_sets"]["ood"]["generators"]["fake"] == {"held": 1}


def test_a_folder_of_copies_alone_is_refused_with_names_and_the_setting(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for i in range(10):
        save(root / "real" / f"{i}.jpg", large(i))
        save(root / "fake" / f"{i}.jpg", large(i), quality=60)
    listening = Listening()
    with pytest.raises(ValueError, match=r"0 of 7 real.*20 refused as under_both_labels.*keep_reconstructions=true"):
        prepare(tmp_path, of_folder(root, 14), reporter=listening)
    assert any("fake/0.jpg as real/0.jpg" in text and "fake/9.jpg as real/9.jpg)" in text for text in listening.said)
    assert_exact(PreparedData(prepared(tmp_path, of_folder(root, 14, keep_reconstructions=True))), 14)


def prepared(workdir: Path, settings: DataSettings) -> Path:
    prepare(workdir, settings)
    return workdir / "data"


def test_a_second_call_finds_what_was_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = sorted_by_hand(tmp_path / "set", 20)
    save(root / "fake" / "copy.jpg", large(0), quality=60)
    prepare(tmp_path / "whole", of_folder(root, 30))
    with monkeypatch.context() as patch:
        patch.setattr("fakelens.dataset.stage.write_arrays", None)
        with pytest.raises(TypeError):
            prepare(tmp_path / "cut", of_folder(root, 30))
    assert list((tmp_path / "cut/data/.parts").glob("labels-*.json"))
    with monkeypatch.context() as patch:
        patch.setattr("fakelens.dataset.examine.Work.examine", None)
        prepare(tmp_path / "cut", of_folder(root, 30))
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert PreparedData(tmp_path / "cut/data").split("train").squares.shape[1] == STORED_PX


def test_same_bytes_are_paired_across_labels_alone() -> None:
    assert same_bytes(["a", "b", "a", "c", "a", "b"], [0, 0, 1, 1, 0, 0]) == {0: 2, 2: 0, 4: 2}
    assert same_bytes([], []) == {}


def test_few_pictures_are_all_named() -> None:
    assert both_labels_words({"b": "a", "a": "b"}).endswith("so both are left out (a as b)")
    assert both_labels_words({"b": "a", "a": "b", "c": "a"}).endswith("so both are left out (a as b, c as a)")
