"""Scores travel through their file unchanged, and belong to the pictures that they were given for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fakelens.core.imaging import ImageF32, to_model_input
from fakelens.dataset.store import ManifestRow, SplitData
from fakelens.evaluation.scores import Scores, score_split


def split(name: str, num: int) -> SplitData:
    squares = np.random.default_rng(num).integers(0, 256, (num, 40, 40, 3), dtype=np.uint8)
    rows = tuple(
        ManifestRow(name, row, row % 2, f"größe-{row % 3}", f"{name}/{row}", "", "", row, "PNG", 40, 40, 1, 0.0, 0.0)
        for row in range(num)
    )
    return SplitData(name, squares, rows)


def scored(name: str, num: int) -> Scores:
    logits = iter(np.random.default_rng(num).normal(0, 5, num).astype(np.float32))
    return score_split(lambda images: np.array([next(logits) for _ in images]), split(name, num), 32)


def assert_equal(one: Scores, other: Scores) -> None:
    for name, column in one.__dict__.items():
        assert column.tolist() == getattr(other, name).tolist(), name
        assert column.dtype.kind == getattr(other, name).dtype.kind, name


def test_round_trip(tmp_path: Path) -> None:
    scores = Scores.joined([scored("val", 5), scored("test", 8)])
    scores.write(tmp_path / "deep" / "scores.parquet")
    read = Scores.read(tmp_path / "deep" / "scores.parquet")
    assert_equal(scores, read)
    assert read.logit.dtype == np.float32
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["scores.parquet"]


def test_joined_sets_come_apart_again() -> None:
    parts = [scored("val", 5), scored("test", 8), scored("ood", 3)]
    whole = Scores.joined(parts)
    assert len(whole) == 16
    for name, part in zip(("val", "test", "ood"), parts, strict=True):
        assert_equal(whole.of(name), part)
    assert len(whole.of("wild")) == 0


def test_rows_belong_to_their_pictures() -> None:
    scores = score_split(lambda images: np.arange(len(images), dtype=np.float32), split("val", 4), 32)
    assert scores.key.tolist() == ["val/0", "val/1", "val/2", "val/3"]
    assert scores.label.tolist() == [0, 1, 0, 1]
    assert scores.generator.tolist() == ["größe-0", "größe-1", "größe-2", "größe-0"]
    assert set(scores.split) == {"val"}


@pytest.mark.parametrize("num", [1, 32, 70])
def test_every_picture_is_scored_once_and_in_order(num: int) -> None:
    data = split("val", num)
    sizes: list[int] = []

    def mean_red(images: ImageF32) -> ImageF32:
        sizes.append(len(images))
        return images[:, 0].mean(axis=(1, 2))

    logits = score_split(mean_red, data, 32).logit
    expected = to_model_input(data.squares, 32)[:, 0].mean(axis=(1, 2))
    assert logits == pytest.approx(expected, rel=1e-6)
    assert logits.dtype == np.float32
    assert sum(sizes) == num
    assert max(sizes) <= 32


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*scores\.parquet .*run `fakelens evaluate`"):
        Scores.read(tmp_path / "scores.parquet")


def test_another_table_names_the_remedy(tmp_path: Path) -> None:
    pq.write_table(pa.table({"logit": [1.0]}), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"cannot read .*scores\.parquet .*run `fakelens evaluate`"):
        Scores.read(tmp_path / "scores.parquet")
