"""Named sets: kept under a name, judged by the run's detectors, and again when these or the pictures have changed."""

from pathlib import Path

import pytest

from fakelens.core.run_folder import RunFolder
from fakelens.detectors.spec import DetectorSpec
from fakelens.judging import named_sets
from fakelens.judging.named_sets import check_set_name, judge_named_sets, keep_set
from fakelens.report.records import NamedSet, read_named_sets
from fakelens.settings import EvaluationSettings
from labelled_pictures import evaluated, fill, flat_folder, structured, tiny_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flat_folder(tmp_path / "mistakes")


@pytest.fixture
def spec(tmp_path: Path) -> DetectorSpec:
    """A detector with a checkpoint and an evaluation in the run."""
    (tmp_path / "run" / "other").mkdir(parents=True)
    spec = tiny_checkpoint(tmp_path / "run" / "other" / "best.safetensors")
    (tmp_path / "run" / "other").rename(RunFolder(tmp_path / "run").detector(spec.name).path)
    evaluated(RunFolder(tmp_path / "run").detector(spec.name).best, 0.1, [(None, 0.4, 0.6), (0.01, 0.4, 0.9)])
    return spec


def judged(workdir: Path, spec: DetectorSpec) -> NamedSet:
    judge_named_sets(workdir, [spec], settings=EvaluationSettings(num_resamples=100), seed=0)
    (named,) = read_named_sets(workdir)
    return named


def test_a_set_is_judged_by_the_runs_detectors_until_nothing_changes(
    folder: Path, spec: DetectorSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    keep_set(run, "reports", folder, {})
    first = judged(run, spec)
    figures = first.figures[spec.name]
    assert (first.name, Path(first.folder), figures.metrics.num_images) == ("reports", folder, 8)
    assert [point.threshold_fake for point in figures.metrics.operating_points] == [0.6, 0.9]
    with monkeypatch.context() as patch:
        patch.setattr(named_sets, "judge_folder", lambda *_, **__: pytest.fail("judged again"))
        keep_set(run, "reports", folder, {})
        assert judged(run, spec) == first
    fill(folder, {"fake/new.png": structured(7)})
    more = judged(run, spec)
    assert more.figures[spec.name].metrics.num_images == 9
    evaluated(RunFolder(run).detector(spec.name).best, 0.1, [(None, 0.3, 0.7)])
    again = judged(run, spec)
    assert [point.threshold_fake for point in again.figures[spec.name].metrics.operating_points] == [0.7]


def test_another_folder_takes_the_name(folder: Path, spec: DetectorSpec, tmp_path: Path) -> None:
    keep_set(tmp_path / "run", "reports", folder, {})
    judged(tmp_path / "run", spec)
    other = fill(tmp_path / "other", {"real/a.png": structured(0), "fake/b.png": structured(1)})
    keep_set(tmp_path / "run", "reports", other, {})
    assert judged(tmp_path / "run", spec).figures[spec.name].metrics.num_images == 2


def test_the_meaning_of_the_folders_names_is_kept_with_the_set(spec: DetectorSpec, tmp_path: Path) -> None:
    cats = fill(tmp_path / "cats", {"cat/a.png": structured(0), "dog/b.png": structured(1)})
    keep_set(tmp_path / "run", "cats", cats, {"cat": "fake", "dog": "real"})
    assert judged(tmp_path / "run", spec).figures[spec.name].metrics.num_images == 2
    assert judged(tmp_path / "run", spec).label_values == {"cat": "fake", "dog": "real"}
    keep_set(tmp_path / "run", "cats", cats, {"cat": "real", "dog": "fake"})
    assert read_named_sets(tmp_path / "run")[0].figures == {}


def test_pictures_that_are_gone_are_asked_for(folder: Path, spec: DetectorSpec, tmp_path: Path) -> None:
    record = keep_set(tmp_path / "run", "reports", folder, {})
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"reports are gone from {folder}: .*--set-name reports, or delete {record}"):
        judged(tmp_path / "run", spec)
    record.unlink()
    judge_named_sets(tmp_path / "run", [spec], settings=EvaluationSettings(), seed=0)


@pytest.mark.parametrize("name", ["test", "val", "ood", "", "Reports", "../reports", "a b", "-", "x" * 41])
def test_names_that_no_set_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="take a name of small letters, digits"):
        check_set_name(tmp_path, name)


def test_a_set_is_kept_in_a_run_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run whose report would show it, name one \(--workdir\)"):
        check_set_name(tmp_path, "reports")


def test_pictures_that_cannot_be_judged_are_named(folder: Path, spec: DetectorSpec, tmp_path: Path) -> None:
    (folder / "fake" / "broken.jpg").write_bytes(b"no picture")
    keep_set(tmp_path / "run", "reports", folder, {})
    (words,) = judged(tmp_path / "run", spec).left_out
    assert words.startswith("fake/broken.jpg: ")


def test_a_damaged_record_is_named(folder: Path, tmp_path: Path) -> None:
    record = keep_set(tmp_path, "reports", folder, {})
    record.write_text('{"name": "reports"}')
    with pytest.raises(ValueError, match=r"reports\.json"):
        read_named_sets(tmp_path)
