"""Prepared data opened again: any changed byte of any file is found and named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fake_source import FakeSource, balanced, small, use
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import ManifestRow, PreparedData, read_manifest, write_manifest

FILES = ("train.npy", "val.npy", "test.npy", "ood.npy", "manifest.parquet", "prepare.json")
CHANGED = r"changed since `prepare` wrote it: {name} in .* --force"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("prepared")
    source = FakeSource(balanced(20), test_sets={"ood": FakeSource(balanced(4, "x", "r", 50_000), prefix="ood")})
    with pytest.MonkeyPatch.context() as patch:
        use(patch, source)
        prepare(workdir, small(14, num_ood_images=8))
    return workdir / "data"


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def test_untouched_data_is_sound(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == set(FILES)
    PreparedData(folder).verify()


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_found(folder: Path, name: str) -> None:
    data, path = PreparedData(folder), folder / name
    whole, rng = path.read_bytes(), np.random.default_rng(FILES.index(name))
    ends = [0, 1, len(whole) - 2, len(whole) - 1]
    for position in [*ends, *rng.integers(0, len(whole), 150 if name == "prepare.json" else 25).tolist()]:
        content = bytearray(whole)
        content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(ValueError, match=CHANGED.format(name=name)):
            data.verify()
    path.write_bytes(whole)
    data.verify()


def test_a_damaged_record_is_named_whether_it_still_opens_or_not(folder: Path) -> None:
    path = folder / "prepare.json"
    whole, rng = path.read_bytes(), np.random.default_rng(7)
    for position in rng.integers(0, len(whole), 150).tolist():
        content = bytearray(whole)
        content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"prepare\.json.* --force"):
            PreparedData(folder).verify()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", ["cut", "longer", "emptied"])
def test_another_length_is_found(folder: Path, name: str, change: str) -> None:
    data, path = PreparedData(folder), folder / name
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-1], "longer": whole + b"\n", "emptied": b""}[change])
    with pytest.raises(ValueError, match=CHANGED.format(name=name)):
        data.verify()


def test_all_changed_files_are_named(folder: Path) -> None:
    data = PreparedData(folder)
    (folder / "val.npy").write_bytes(b"")
    (folder / "ood.npy").unlink()
    with pytest.raises(ValueError, match=CHANGED.format(name=r"(val\.npy, ood\.npy|ood\.npy, val\.npy)")):
        data.verify()


def test_a_missing_array_is_prepared_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (folder / "val.npy").read_bytes()
    (folder / "val.npy").unlink()
    source = FakeSource(balanced(20), test_sets={"ood": FakeSource(balanced(4, "x", "r", 50_000), prefix="ood")})
    use(monkeypatch, source)
    prepare(folder.parent, small(14, num_ood_images=8))
    assert (folder / "val.npy").read_bytes() == whole
    PreparedData(folder).verify()


def test_splits_are_mapped_not_read(folder: Path) -> None:
    split = PreparedData(folder).split("ood")
    assert isinstance(split.squares, np.memmap)
    assert (len(split), split.labels.tolist().count(FAKE), split.labels.dtype) == (8, 4, np.int64)


def test_unprepared_data_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"prepare\.json is missing"):
        PreparedData(tmp_path)


def test_manifest_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    rows = [
        ManifestRow("val", i, (REAL, FAKE)[i % 2], "größe", f"k{i}", "s", "p", i, "PNG", 9, 8, 7, 0.0, 0.0)
        for i in range(3)
    ]
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    for damage in (b"", b"PAR1" + bytes(100)):
        path.write_bytes(damage)
        with pytest.raises(ValueError, match=r"cannot read .*manifest\.parquet .* --force"):
            read_manifest(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*manifest\.parquet .* --force"):
        read_manifest(path)
