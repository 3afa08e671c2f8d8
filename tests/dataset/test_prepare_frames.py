"""Data sets of video frames: exact sizes, each video within one split, and what is left out is counted and said."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_source import (
    FakeSource,
    Listening,
    Shot,
    assert_exact,
    assert_rows_are_their_pictures,
    digests,
    picture,
    shots,
    small,
    use,
)
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.choice import SURPLUS
from fakelens.dataset.stage import prepare
from fakelens.dataset.store import PreparedData


def frame(seed: int, number: int) -> bytes:
    """A still camera's: other grain in each frame."""
    scene = np.asarray(picture(seed), dtype=np.float64)
    grain = np.random.default_rng((seed, number)).normal(0, 2, scene.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(scene + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def videos(label: int, lengths: Sequence[int], generators: str = "v") -> list[Shot]:
    first = 1000 * label
    return [
        Shot(label, generators[video % len(generators)], frame(first + video, number))
        for video, length in enumerate(lengths)
        for number in range(length)
    ]


def video_of(key: str, lengths: Sequence[int]) -> int:
    position = int(key.partition("/")[2])
    return int(np.searchsorted(np.cumsum([*lengths, *lengths]), position, side="right"))


@pytest.mark.parametrize("num_images", [140, 100, 60, 40, 14])
def test_each_video_stays_in_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_images: int) -> None:
    lengths = [10] * 8
    source = use(monkeypatch, FakeSource(videos(REAL, lengths) + videos(FAKE, lengths, "ab"), block_size=16))
    listening = Listening()
    results = prepare(tmp_path, small(num_images), reporter=listening).results
    data = PreparedData(tmp_path / "data")
    assert_exact(data, num_images)
    assert_rows_are_their_pictures(data, source)
    splits: dict[int, set[str]] = {}
    for row in data.rows:
        splits.setdefault(video_of(row.key, lengths), set()).add(row.split)
    assert all(len(own) == 1 for own in splits.values())
    num_surplus = results["refused"].get(SURPLUS, 0)
    assert any(f"{num_surplus:,} near-duplicates are left out" in text for text in listening.said) == (num_surplus > 0)
    if num_images == 140:
        assert 0 < num_surplus <= 160 - 140  # of those that were examined


def test_all_frames_are_refused_with_a_number_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [10] * 8
    use(monkeypatch, FakeSource(videos(REAL, lengths) + videos(FAKE, lengths), block_size=16))
    with pytest.raises(ValueError, match=r"160 usable ones are 16 different .*largest of 10\. Ask") as caught:
        prepare(tmp_path, small(160))
    number = int(re.search(r"num_images=(\d+)", str(caught.value))[1])  # type: ignore[index]
    assert number == 140  # 15 % are a whole video of each label
    assert not (tmp_path / "data" / "prepare.json").exists()


def test_two_videos_cannot_fill_three_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(videos(REAL, [10, 10]) + shots(FAKE, "ab", 20, 5000)))
    with pytest.raises(ValueError, match=r"Each of the three splits needs groups of its own .*: add other pictures$"):
        prepare(tmp_path, small(14))


@pytest.mark.parametrize("seed", range(12))
def test_videos_of_any_length_are_divided_or_a_number_is_named_that_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    real, fake = (rng.choice([1, 1, 2, 3, 8, 15], int(rng.integers(5, 14))).tolist() for _ in range(2))
    given = videos(REAL, real, "pq") + videos(FAKE, fake, "abc")
    use(monkeypatch, FakeSource(given, block_size=int(rng.integers(3, 40))))
    num_images = max(14, 2 * int(rng.uniform(0.4, 1) * min(sum(real), sum(fake))))
    try:
        prepare(tmp_path, small(num_images, seed=seed))
    except ValueError as error:
        number = re.search(r"num_images=(\d+)", str(error))
        if number is None:
            assert "add other pictures" in str(error)  # noqa: PT017  either outcome is right
            return
        num_images = int(number[1])
        prepare(tmp_path, small(num_images, seed=seed))
    data = PreparedData(tmp_path / "data")
    assert_exact(data, num_images)
    groups = {(row.group, row.split) for row in data.rows}
    assert len(groups) == len({row.group for row in data.rows})


def test_further_blocks_are_read_where_the_first_are_of_one_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two videos fill the quota of their label, and single pictures are there."""
    given = videos(REAL, [100, 100, *[1] * 40]) + shots(FAKE, "ab", 240, 5000)
    source = use(monkeypatch, FakeSource(given, block_size=10))
    prepare(tmp_path / "first", small(200))
    data = PreparedData(tmp_path / "first" / "data")
    assert_exact(data, 200)
    assert_rows_are_their_pictures(data, source)
    prepare(tmp_path / "second", small(200))
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_the_cap_holds_where_members_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = videos(REAL, [10] * 8) + videos(FAKE, [10] * 24, "abc")
    use(monkeypatch, FakeSource(given, block_size=16))
    fakes = prepare(tmp_path, small(100, cap_per_generator=20)).results["generators"]["fake"]
    assert sum(fakes.values()) == 50
    assert max(fakes.values()) <= 20


def test_generators_stay_balanced_where_members_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(videos(REAL, [10] * 12, "pq") + videos(FAKE, [10] * 12, "abc"), block_size=16))
    results = prepare(tmp_path, small(228)).results
    assert results["refused"][SURPLUS] > 0
    fakes = Counter(results["generators"]["fake"])
    assert max(fakes.values()) - min(fakes.values()) <= 10
