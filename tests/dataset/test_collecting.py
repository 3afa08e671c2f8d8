"""The exact number of good pictures out of good and bad ones; what was refused is counted, what is there is kept."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_source import STORED_PX, FakeSource, ReaderError, Shot, balanced, jpeg, near_copy, shots, small
from fakelens.core.imaging import ImageU8
from fakelens.core.progress import SILENT, Reporter
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset.collecting import Collection, Collector, NotEnoughError
from fakelens.dataset.duplicates import MAX_DISTANCE_BITS
from fakelens.dataset.examine import Picture, examine_image

BAD = {"empty": b"", "unsupported_format": b"no picture" * 9, "truncated": jpeg(99)[: len(jpeg(99)) // 2]}


def collect(
    offered: FakeSource, folder: Path, num_images: int, *, reporter: Reporter = SILENT, **changes: Any
) -> Collection:
    folder.mkdir(exist_ok=True)
    own = {key: changes.pop(key) for key in ("keep_out", "at_most") if key in changes}
    collector = Collector("images", folder, small(**changes), reporter)
    return collector.collect(offered.catalogue(), num_images, **own)


def bad(label: int, generator: str, reasons: list[str]) -> list[Shot]:
    return [Shot(label, generator, BAD[reason]) for reason in reasons]


def square(picture: Picture, folder: Path) -> ImageU8:
    array: ImageU8 = np.load(folder / f"{picture.part}.npy")
    return array[picture.slot]


def assert_exact(found: Collection, num_images: int) -> None:
    assert Counter(p.label for p in found.pictures) == Counter({REAL: num_images // 2, FAKE: num_images // 2})
    assert len({p.key for p in found.pictures}) == len({p.sha256 for p in found.pictures}) == num_images
    order = [(p.block, p.position) for p in found.pictures]
    assert order == sorted(order)
    assert all(p.refused is None for p in found.pictures)


def assert_squares_are_their_pictures(found: Collection, source: FakeSource, folder: Path) -> None:
    for picture in found.pictures:
        shot = source.shot(picture.key)
        assert picture.kind == (shot.label, shot.generator)
        expected, container, phash = examine_image(shot.data, STORED_PX, STORED_PX)
        assert np.array_equal(square(picture, folder), expected)
        assert (picture.container, picture.phash) == (container, phash)


@pytest.mark.parametrize("num_images", [14, 40, 80])
def test_good_pictures(tmp_path: Path, num_images: int) -> None:
    source = FakeSource(balanced(40))
    found = collect(source, tmp_path, num_images)
    assert_exact(found, num_images)
    assert_squares_are_their_pictures(found, source, tmp_path)
    assert found.refused == {}
    shares = Counter(p.generator for p in found.pictures if p.label == FAKE)
    assert set(shares) == set("abc")


def test_the_number_that_a_refusal_names_can_be_had(tmp_path: Path) -> None:
    twins = [Shot(REAL, "a", jpeg(i % 17)) for i in range(60)]
    source = FakeSource([*twins, *shots(FAKE, "abc", 60, 1000)], block_size=5)
    with pytest.raises(NotEnoughError, match=r"it has 17 of 30 real ones .*=34\b"):
        collect(source, tmp_path, 60)
    assert_exact(collect(source, tmp_path, 34), 34)


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_refused_ones_are_replaced_and_counted(tmp_path: Path, share: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    reasons = sorted(BAD)
    given = [
        Shot(shot.label, shot.generator, BAD[reasons[i % 3]] if rng.random() < share else shot.data)
        for i, shot in enumerate(balanced(120))
    ]
    source = FakeSource(given, block_size=6)
    found = collect(source, tmp_path, 40)
    assert_exact(found, 40)
    assert_squares_are_their_pictures(found, source, tmp_path)
    read = [source.shot(key) for key in source.log.read]
    by_data = {data: reason for reason, data in BAD.items()}
    assert found.refused == Counter(by_data[shot.data] for shot in read if shot.data in by_data)
    assert len(source.log.read) == len(set(source.log.read))


def test_spares_save_a_second_round(tmp_path: Path) -> None:
    """One in twenty is bad: what the first round reads beyond the quota makes up for it."""
    given = [shot if i % 20 else shot._replace(data=b"") for i, shot in enumerate(balanced(100, "a", "p"))]
    listening = Listening([])
    found = collect(FakeSource(given, block_size=50), tmp_path, 120, reporter=listening)
    assert_exact(found, 120)
    assert found.refused["empty"] > 0
    assert [title for title, _, _ in listening.tasks] == ["Preparing images"]


def test_exact_duplicates_are_taken_once_whatever_their_generator(tmp_path: Path) -> None:
    own = balanced(60)
    copies = [shot._replace(generator="thief") for shot in own[:20]]
    source = FakeSource(own + copies, block_size=4)
    found = collect(source, tmp_path, 100)
    assert_exact(found, 100)
    datas = Counter(source.data(key) for key in source.log.read)
    assert found.refused == Counter(exact_duplicate=sum(n - 1 for n in datas.values())) != {}


def test_near_duplicates_of_what_is_kept_out_are_refused(tmp_path: Path) -> None:
    copied = [0, 7, 10_003]
    keep_out = np.array([examine_image(near_copy(s), STORED_PX, STORED_PX)[2] for s in copied], dtype=np.uint64)
    source = FakeSource(balanced(20))
    own = np.array([examine_image(jpeg(s), STORED_PX, STORED_PX)[2] for s in copied], dtype=np.uint64)
    assert all(0 <= bits <= MAX_DISTANCE_BITS for bits in np.bitwise_count(keep_out ^ own))
    found = collect(source, tmp_path, 34, keep_out=keep_out)
    assert_exact(found, 34)
    assert not {jpeg(seed) for seed in copied} & {source.data(p.key) for p in found.pictures}
    assert set(found.refused) == {"near_duplicate_of_other_sets"}
    assert 1 <= found.refused["near_duplicate_of_other_sets"] <= 3


@pytest.mark.parametrize(
    ("num_real", "num_fake", "wanted", "expected"), [(9, 30, 40, 18), (30, 9, 40, 18), (30, 30, 40, 40), (0, 30, 40, 0)]
)
def test_at_most_gives_the_largest_balanced_number(
    tmp_path: Path, num_real: int, num_fake: int, wanted: int, expected: int
) -> None:
    source = FakeSource(shots(REAL, "p", num_real, 0) + shots(FAKE, "ab", num_fake, 1000), block_size=2)
    assert_exact(collect(source, tmp_path, wanted, at_most=True), expected)


def test_at_most_counts_good_ones_alone(tmp_path: Path) -> None:
    """Fourteen photographs, five of them bad: nine pairs, though that is known only after reading."""
    given = shots(REAL, "p", 9, 0) + bad(REAL, "p", ["empty"] * 5) + shots(FAKE, "ab", 30, 1000)
    source = FakeSource(given, block_size=1)
    found = collect(source, tmp_path, 40, at_most=True)
    assert_exact(found, 18)
    assert found.refused == {"empty": 5}


def test_too_few_are_counted_by_reason_with_remedies(tmp_path: Path) -> None:
    given = shots(REAL, "p", 16, 0) + bad(REAL, "p", ["empty"] * 3 + ["truncated"]) + shots(FAKE, "a", 30, 1000)
    source = FakeSource(given, block_size=1)
    with pytest.raises(NotEnoughError) as caught:
        collect(source, tmp_path, 40)
    message = str(caught.value)
    assert "it has 16 of 20 real ones and 20 of 20 fake ones (3 refused as empty; 1 refused as truncated)" in message
    assert "Ask for at most --set data.num_images=32" in message
    assert "--set data.num_shards" in message
    assert "cap_per_generator" not in message
    assert_exact(collect(source, tmp_path / "again", 32), 32)


def test_too_few_because_of_the_cap_names_the_cap(tmp_path: Path) -> None:
    source = FakeSource(balanced(40))
    with pytest.raises(NotEnoughError, match=r"it has 20 of 20 real ones and 15 of 20 fake ones\. .*=30") as caught:
        collect(source, tmp_path, 40, cap_per_generator=5, source="synthetic")
    assert "raise data.cap_per_generator=5" in str(caught.value)
    assert "num_shards" not in str(caught.value)
    assert source.log.read == []
    assert_exact(collect(source, tmp_path, 30, cap_per_generator=5), 30)


@pytest.mark.parametrize("cap", [7, 8, 12])
def test_the_cap_holds_for_fakes_alone(tmp_path: Path, cap: int) -> None:
    """Generator a has most, c little; the only origin of photographs gives all of them."""
    given = shots(REAL, "p", 40, 0) + shots(FAKE, "aaaabbc", 70, 1000)
    given = [shot if i % 9 else shot._replace(data=b"") for i, shot in enumerate(given)]
    found = collect(FakeSource(given, block_size=4), tmp_path, 40, cap_per_generator=cap)
    assert_exact(found, 40)
    shares = Counter(p.generator for p in found.pictures if p.label == FAKE)
    assert max(shares.values()) <= cap
    assert Counter(p.generator for p in found.pictures if p.label == REAL) == {"p": 20}


def test_parts_that_are_there_are_not_examined_again(tmp_path: Path) -> None:
    first, second = FakeSource(balanced(40)), FakeSource(balanced(40))
    found = collect(first, tmp_path, 40)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert collect(second, tmp_path, 40) == found
    assert second.log.downloaded == second.log.read == []
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert all(path.suffix in (".npy", ".json") for path in tmp_path.iterdir())


@pytest.mark.parametrize("missing", [".json", ".npy"])
def test_a_part_that_is_not_whole_is_examined_again(tmp_path: Path, missing: str) -> None:
    found = collect(FakeSource(balanced(40)), tmp_path, 40)
    victims = sorted(tmp_path.glob(f"*{missing}"))[1:3]
    contents = {path: path.read_bytes() for path in victims}
    for path in victims:
        path.unlink()
    source = FakeSource(balanced(40))
    assert collect(source, tmp_path, 40) == found
    assert len(source.log.downloaded) == 2
    assert {path: path.read_bytes() for path in victims} == contents


def test_after_a_failure_it_goes_on_where_it_was(tmp_path: Path) -> None:
    expected = collect(FakeSource(balanced(40)), tmp_path / "whole", 60)
    failing, source = FakeSource(balanced(40)), FakeSource(balanced(40))
    failing.log.fail_after = 3
    with pytest.raises(ReaderError):
        collect(failing, tmp_path / "cut", 60)
    assert collect(source, tmp_path / "cut", 60) == expected
    assert not set(source.log.read) & set(failing.log.read)
    assert len(failing.log.downloaded) == 3


class Listening:
    """A reporter that keeps (title, total, steps) of each task."""

    def __init__(self, tasks: list[Any]) -> None:
        self.tasks, self.notes = tasks, list[str]()

    def say(self, text: str) -> None:
        raise AssertionError(text)

    @contextmanager
    def task(self, title: str, total: float) -> Iterator["Listening"]:
        self.tasks.append((title, total, 0))
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        title, total, done = self.tasks[-1]
        self.tasks[-1] = (title, total, done + steps)
        self.notes.append(note)


def test_progress_reaches_its_total_in_every_round(tmp_path: Path) -> None:
    given = [shot if i % 2 else shot._replace(data=b"") for i, shot in enumerate(balanced(120))]
    source = FakeSource(given, block_size=5)
    listening = Listening([])
    found = collect(source, tmp_path, 40, reporter=listening)
    assert all(total == done > 0 for _, total, done in listening.tasks)
    assert sum(done for _, _, done in listening.tasks) == len(source.log.read)
    assert [title for title, _, _ in listening.tasks[:2]] == [
        "Preparing images", "Preparing images, round 2 for the refused"
    ]  # fmt: skip
    assert listening.notes[-1].endswith(" refused")
    # A second call finds all parts: the same totals, and no speed is claimed for them.
    again = Listening([])
    assert collect(FakeSource(given, block_size=5), tmp_path, 40, reporter=again) == found
    assert again.tasks == listening.tasks
    assert all(note.startswith("0 images/s, 0 MB") for note in again.notes)
