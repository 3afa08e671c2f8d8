"""From pictures of every kind to balanced arrays whose rows are what the manifest says they are."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakelens.core.imaging import decode, to_square
from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.dataset import prepare as module
from fakelens.dataset.manifest import ManifestRow, read_manifest, write_manifest
from fakelens.dataset.prepare import DataSettings, prepare
from fakelens.dataset.prepared import PreparedData
from fakelens.dataset.splits import SPLITS, split_sizes
from fakelens.sources.base import Candidate

STORED_PX, MIN_SIDE_PX = 64, 64
OUTPUTS = {"train.npy", "val.npy", "test.npy", "manifest.parquet"}


def picture(seed: int) -> Image.Image:
    """One of a kind for the perceptual hash too, a little larger than what is stored."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((90, 72), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, codec: str = "JPEG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return buffer.getvalue()


def fill(root: Path, num_real: int = 20, num_fake: int = 20) -> Path:
    """Good pictures: real/ of one origin, fake/ of two generators."""
    for number in range(num_real):
        add(root / "real" / "camera" / f"{number:02d}.jpg", encoded(picture(number)))
    for number in range(num_fake):
        add(root / "fake" / "ab"[number % 2] / f"{number:02d}.png", encoded(picture(1000 + number), "PNG"))
    return root


def add(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def settings(path: Path | str, num_images: int = 40, **changes: Any) -> DataSettings:
    return DataSettings(
        source="folder", path=str(path), num_images=num_images, stored_px=STORED_PX, min_side_px=MIN_SIDE_PX, **changes
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return fill(tmp_path / "pictures")


def digests(workdir: Path) -> dict[str, str]:
    return {name: hashlib.sha256((workdir / "data" / name).read_bytes()).hexdigest() for name in OUTPUTS}


def assert_rows_are_their_pictures(data: PreparedData, root: Path) -> None:
    """Decode each original again and compare it with its row of its split's array."""
    for name in SPLITS:
        split = data.split(name)
        assert [row.row for row in split.rows] == list(range(len(split.squares)))
        for row in split.rows:
            original = (root / row.key).read_bytes()
            image, container = decode(original, short_side_px=STORED_PX, min_side_px=MIN_SIDE_PX)
            assert np.array_equal(split.squares[row.row], to_square(image)), row
            assert row.sha256 == hashlib.sha256(original).hexdigest()
            assert row.key.startswith(LABELS[row.label])
            assert (row.format, row.width_px, row.height_px) == (container.format, 90, 72)
            assert row.num_bytes == len(original)


def assert_exact(data: PreparedData, num_images: int) -> None:
    for name, size in zip(SPLITS, split_sizes(num_images), strict=True):
        split = data.split(name)
        assert split.squares.shape == (size, STORED_PX, STORED_PX, 3)
        assert split.squares.dtype == np.uint8
        assert np.bincount(split.labels).tolist() == [size // 2, size // 2]
    assert len({(row.split, row.row) for row in data.rows}) == len(data.rows) == num_images
    assert len({row.key for row in data.rows}) == len({row.sha256 for row in data.rows}) == num_images


def test_good_pictures(pictures: Path, tmp_path: Path) -> None:
    record = prepare(tmp_path, settings(pictures))
    assert {path.name for path in (tmp_path / "data").iterdir()} == OUTPUTS | {"prepare.json"}
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    assert_rows_are_their_pictures(data, pictures)
    assert not data.is_demo
    results = record.results
    assert results["splits"] == {
        "train": {"real": 14, "fake": 14},
        "val": {"real": 3, "fake": 3},
        "test": {"real": 3, "fake": 3},
    }
    assert results["generators"] == {"real": {"camera": 20}, "fake": {"a": 10, "b": 10}}
    assert (results["source"], results["num_images"], results["refused"]) == ("folder", 40, {})
    assert results["num_near_duplicates"] == 0
    assert results["audit"]["random_split"] > 0.9  # reals are JPEG, fakes PNG


def test_bad_pictures_are_counted_and_replaced(tmp_path: Path) -> None:
    root = fill(tmp_path / "pictures", 24, 24)
    whole = encoded(picture(77))
    bad = {
        "real/bad/empty.jpg": b"",
        "real/bad/text.jpg": b"no picture" * 50,
        "real/bad/cut.jpg": whole[: len(whole) // 2],
        "fake/bad/tiny-1.png": encoded(picture(1).resize((60, 80)), "PNG"),
        "fake/bad/tiny-2.png": encoded(picture(2).resize((200, 63)), "PNG"),
        "fake/bad/huge.png": encoded(Image.new("1", (8100, 8000)), "PNG"),
        "fake/bad/gif.png": encoded(picture(3), "GIF"),
    }
    for name, data in bad.items():
        add(root / name, data)
    # A generator of which nothing was accepted is asked first, so that every bad picture is met.
    record = prepare(tmp_path, settings(root))
    assert record.results["refused"] == {
        "empty": 1, "unsupported_format": 2, "truncated": 1, "too_small": 2, "too_many_pixels": 1
    }  # fmt: skip
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 40)
    assert_rows_are_their_pictures(data, root)
    assert not any("/bad/" in row.key for row in data.rows)


def test_exact_duplicates_are_kept_once(pictures: Path, tmp_path: Path) -> None:
    for path in sorted((pictures / "fake").rglob("*.png")):
        add(pictures / "fake" / "copies" / path.name, path.read_bytes())
    record = prepare(tmp_path, settings(pictures))
    assert_exact(PreparedData(tmp_path / "data"), 40)
    # Twenty different fakes there are, so that no draw of them can do without meeting a copy.
    assert set(record.results["refused"]) == {"exact_duplicate"}
    assert 1 <= record.results["refused"]["exact_duplicate"] <= 20


def test_the_same_file_under_both_labels_is_kept_once(pictures: Path, tmp_path: Path) -> None:
    add(pictures / "fake" / "c" / "stolen.jpg", (pictures / "real" / "camera" / "00.jpg").read_bytes())
    add(pictures / "fake" / "c" / "own.png", encoded(picture(5000), "PNG"))
    prepare(tmp_path, settings(pictures, 40))
    assert_exact(PreparedData(tmp_path / "data"), 40)


def test_near_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    root = fill(tmp_path / "pictures", 40, 20)
    originals = [(number, f"fake/c/{number:02d}.jpg") for number in range(0, 40, 2)]
    for number, name in originals:
        add(root / name, encoded(picture(number), quality=60))
    record = prepare(tmp_path, settings(root, 80))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, 80)
    found = {row.key: row for row in data.rows}
    for number, name in originals:
        original, copy = found[f"real/camera/{number:02d}.jpg"], found[name]
        assert (original.split, original.group) == (copy.split, copy.group)
    by_group = Counter(row.group for row in data.rows)
    assert sorted(by_group.values()) == [1] * 40 + [2] * 20
    assert record.results["num_near_duplicates"] == 20


def test_a_second_run_is_skipped(pictures: Path, tmp_path: Path) -> None:
    first = prepare(tmp_path, settings(pictures))
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    again = prepare(tmp_path, settings(pictures))
    assert again.key == first.key
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == times


def test_a_forced_redo_gives_the_same_bytes(pictures: Path, tmp_path: Path) -> None:
    prepare(tmp_path, settings(pictures))
    before, written_ns = digests(tmp_path), (tmp_path / "data" / "train.npy").stat().st_mtime_ns
    prepare(tmp_path, settings(pictures), force=True)
    assert (tmp_path / "data" / "train.npy").stat().st_mtime_ns > written_ns
    assert digests(tmp_path) == before


def test_seed_decides_choice_and_split(tmp_path: Path) -> None:
    root = fill(tmp_path / "pictures", 30, 30)
    rows = []
    for seed in (0, 1):
        prepare(tmp_path / str(seed), settings(root, 20, seed=seed))
        rows.append(PreparedData(tmp_path / str(seed) / "data").rows)
    keys = [{row.key for row in some} for some in rows]
    assert keys[0] != keys[1]
    assert [row.key for row in rows[0]] != sorted(keys[0])


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
    first = prepare(tmp_path, settings(path))
    changed = pictures / "real" / "camera" / "00.jpg"
    changed.write_bytes(encoded(picture(9000)))
    second = prepare(tmp_path, settings(path))
    assert second.key != first.key
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    assert digest in {row.sha256 for row in PreparedData(tmp_path / "data").rows}


def test_any_setting_that_matters_asks_for_a_redo(pictures: Path, tmp_path: Path) -> None:
    first = prepare(tmp_path, settings(pictures, 20))
    second = prepare(tmp_path, settings(pictures, 22))
    assert (first.key != second.key, second.results["num_images"]) == (True, 22)


@pytest.mark.parametrize(
    ("num_real", "num_fake", "message"),
    [
        (20, 12, "it has 20 usable photographs and 12 usable fakes. Ask for at most --set data.num_images=24"),
        (9, 20, "it has 9 usable photographs and 20 usable fakes. Ask for at most --set data.num_images=18"),
    ],
)
def test_too_few_pictures_are_counted(tmp_path: Path, num_real: int, num_fake: int, message: str) -> None:
    root = fill(tmp_path / "pictures", num_real, num_fake)
    with pytest.raises(ValueError, match="cannot give 40 balanced images") as caught:
        prepare(tmp_path, settings(root))
    assert message in str(caught.value)
    most = int(message.rpartition("=")[2])
    assert prepare(tmp_path, settings(root, most)).results["num_images"] == most


def test_too_few_good_pictures_say_what_was_refused(pictures: Path, tmp_path: Path) -> None:
    for number in (3, 8):
        (pictures / "real" / "camera" / f"{number:02d}.jpg").write_bytes(b"no picture")
    message = r"18 usable photographs and 20 usable fakes \(2 refused as unsupported_format\)\. .*num_images=36"
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, settings(pictures))
    assert list((tmp_path / "data").iterdir()) == []


def test_odd_numbers_are_refused_before_anything_is_read(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be even and at least 14, not 21"):
        prepare(tmp_path, settings(pictures, 21))
    assert not (tmp_path / "data").exists()


class Recording:
    """A source in memory whose delivery ends in an error after `fail_after` pictures."""

    name, is_demo, description, licence, revision = "recording", False, "pictures in memory", "none", None

    def __init__(self, fail_after: int | None = None) -> None:
        self.fail_after = fail_after
        self.fetched: list[Candidate] = []

    def catalogue(self) -> list[Candidate]:
        return [Candidate(i % 7, f"{i:03d}", i % 2, "xyz"[i % 3]) for i in range(120)]

    def fetch(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, bytes]]:
        for candidate in candidates:
            if len(self.fetched) == self.fail_after:
                raise ValueError("the hub went away")
            self.fetched.append(candidate)
            number = int(candidate.key)
            yield candidate, encoded(picture(number)) if number % 5 else b"bad"


def prepare_from(source: Recording, workdir: Path, monkeypatch: pytest.MonkeyPatch, num_images: int = 60) -> Any:
    monkeypatch.setattr(module, "open_source", lambda _: source)
    return prepare(
        workdir, DataSettings(num_images=num_images, stored_px=STORED_PX, min_side_px=MIN_SIDE_PX), force=True
    )


def test_blocks_are_read_in_order_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Recording()
    record = prepare_from(source, tmp_path, monkeypatch)
    assert len(set(source.fetched)) == len(source.fetched)
    # The first sixty come in one sweep over the blocks, replacements in further ones.
    assert source.fetched[:60] == sorted(source.fetched[:60])
    num_bad = sum(int(candidate.key) % 5 == 0 for candidate in source.fetched)
    assert record.results["refused"] == {"unsupported_format": num_bad}
    assert num_bad > 0
    assert len(source.fetched) == 60 + num_bad
    accepted = record.results["generators"]
    assert all(counts == {"x": 10, "y": 10, "z": 10} for counts in accepted.values())
    assert_exact(PreparedData(tmp_path / "data"), 60)


def test_a_failing_source_leaves_no_finished_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_from(Recording(), tmp_path, monkeypatch)
    before = digests(tmp_path)
    with pytest.raises(ValueError, match="the hub went away"):
        prepare_from(Recording(fail_after=40), tmp_path, monkeypatch)
    # Neither a record that vouches for what is there, nor the working file.
    assert {path.name for path in (tmp_path / "data").iterdir()} == OUTPUTS
    prepare_from(Recording(), tmp_path, monkeypatch)
    assert digests(tmp_path) == before


def test_made_up_pictures_are_marked(tmp_path: Path) -> None:
    small = DataSettings(source="synthetic", num_images=14, stored_px=64, synthetic_px=64, min_side_px=64)
    assert prepare(tmp_path, small).results["demo"] is True
    assert PreparedData(tmp_path / "data").is_demo


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_verify_finds_one_flipped_byte(pictures: Path, tmp_path: Path, name: str) -> None:
    prepare(tmp_path, settings(pictures, 14))
    data = PreparedData(tmp_path / "data")
    data.verify()
    path = tmp_path / "data" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"changed since `prepare` wrote it: {name} in .* --force"):
        data.verify()


def test_unprepared_data_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prepare\.json is missing"):
        PreparedData(tmp_path)


def test_manifest_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    rows = [ManifestRow("val", i, (REAL, FAKE)[i % 2], "größe", f"k{i}", "s", "p", i, "PNG", 9, 8, 7) for i in range(3)]
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    for damage in (b"", b"PAR1" + bytes(100)):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"cannot read .*manifest\.parquet .* --force"):
            read_manifest(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*manifest\.parquet .* --force"):
        read_manifest(path)
