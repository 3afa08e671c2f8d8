"""What once made prepare loop, give up too early, or leave files behind."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_source import FakeSource, Shot, balanced, shots, small, use
from fakelens.core.progress import SILENT
from fakelens.core.scoring import FAKE, REAL
from fakelens.dataset import stage as module
from fakelens.dataset.collecting import Collection, Collector
from fakelens.dataset.selection import choose_blocks
from fakelens.dataset.stage import prepare
from fakelens.sources.base import Block, Row


def collect(source: FakeSource, folder: Path, num_images: int, **changes: Any) -> Collection:
    return Collector("images", folder, small(), SILENT).collect(source.catalogue(), num_images, **changes)


def test_a_label_that_has_more_than_its_quota_does_not_count_against_the_other() -> None:
    # Photographs are ten over, every block brings ten fakes.
    fakes = [Block(rank, tuple(Row(i, FAKE, "a") for i in range(10)), None) for rank in range(4)]
    useless = Block(9, (Row(0, REAL, "p"),), None)
    caps, taken = {(FAKE, "a"): 1000, (REAL, "p"): 1000}, {(REAL, "p"): 110, (FAKE, "a"): 80}
    chosen = choose_blocks([*fakes, useless], {REAL: 100, FAKE: 100}, caps, taken)
    assert [block.rank for block in chosen] == [0, 1]


@pytest.mark.timeout(10)
def test_collecting_ends(tmp_path: Path) -> None:
    mixed = shots(REAL, "p", 12, 0) + shots(FAKE, "a", 4, 1000) + [Shot(FAKE, "a", b"")] * 8
    blocks = FakeSource(mixed, block_size=24).catalogue()
    more = FakeSource(shots(FAKE, "a", 20, 5000), block_size=2, prefix="more").catalogue()
    blocks += [Block(100 + block.rank, block.rows, block.reader) for block in more]
    found = Collector("images", tmp_path, small(), SILENT).collect(blocks, 20)
    assert len(found.pictures) == 20


@pytest.mark.timeout(10)
def test_collecting_ends_with_three_in_ten_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(30)
    given = [shot._replace(data=b"") if rng.random() < 0.3 else shot for shot in balanced(120)]
    assert len(collect(FakeSource(given, block_size=6), tmp_path, 40).pictures) == 40


def test_rows_that_were_not_examined_of_a_block_that_was_read_may_replace_refused_ones(tmp_path: Path) -> None:
    # One block, as any folder of up to 64 pictures is.
    given = shots(REAL, "p", 15, 0) + [Shot(REAL, "p", b"")] * 15 + shots(FAKE, "a", 15, 1000)
    found = collect(FakeSource(given, block_size=64), tmp_path, 20)
    assert Counter(p.label for p in found.pictures) == {REAL: 10, FAKE: 10}


def test_at_most_gives_the_largest_number(tmp_path: Path) -> None:
    given = shots(REAL, "p", 15, 0) + [Shot(REAL, "p", b"")] * 15 + shots(FAKE, "a", 15, 1000)
    assert len(collect(FakeSource(given, block_size=64), tmp_path, 20, at_most=True).pictures) == 20


def test_a_test_set_that_is_no_longer_wanted_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ood = FakeSource(balanced(20, "x", "r", 50_000), prefix="ood")
    use(monkeypatch, FakeSource(balanced(30), test_sets={"ood": ood}))
    prepare(tmp_path, small(40, num_ood_images=20))
    prepare(tmp_path, small(40, num_ood_images=0))
    assert not (tmp_path / "data" / "ood.npy").exists()


def test_what_a_killed_call_left_of_the_arrays_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(30)))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".train.npy.12345.tmp").write_bytes(b"half")
    prepare(tmp_path, small(40))
    assert not list((tmp_path / "data").glob(".*"))


def test_parts_of_a_call_killed_after_its_record_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeSource(balanced(30)))
    rmtree = module.shutil.rmtree

    def killed(path: Path, **changes: Any) -> None:
        if path.name == ".parts" and (tmp_path / "data" / "prepare.json").exists():
            raise KeyboardInterrupt
        rmtree(path, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, small(40))
    prepare(tmp_path, small(40))
    assert not (tmp_path / "data" / ".parts").exists()
