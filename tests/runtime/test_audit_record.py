"""What an editor keeps of a verdict: complete, escaped, and never overwritten."""

import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml

from fakelens import __version__, cli
from fakelens.runtime.audit_record import write_audit_records
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import Judgement, judge
from onnx_models import DETECTORS, flat_picture, make_bundle

ROOT = Path(__file__).parents[2]
WHITE = flat_picture(255)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(make_bundle(tmp_path_factory.mktemp("audit") / "bundle"), num_threads=1)


@pytest.fixture
def judgement(bundle: Bundle) -> Judgement:
    answer = judge(WHITE, bundle.detector("small_net"), name="folder/photo.png")
    assert isinstance(answer, Judgement)
    return answer


def test_the_record_holds_all_that_the_verdict_rests_on(tmp_path: Path, bundle: Bundle, judgement: Judgement) -> None:
    (page,) = write_audit_records(tmp_path / "kept", [judgement], bundle)
    record = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert record["file"]["sha256"] == hashlib.sha256(WHITE).hexdigest()
    assert (record["file"]["name"], record["file"]["format"]) == ("folder/photo.png", "PNG")
    model = bundle.model("small_net")
    assert record["detector"]["sha256"] == hashlib.sha256((bundle.folder / model.file).read_bytes()).hexdigest()
    assert record["detector"]["display_name"] == DETECTORS["small_net"][0]
    assert record["thresholds"] == {"real": model.threshold.real, "fake": model.threshold.fake}
    assert (record["verdict"], record["probability"]) == ("fake", judgement.probability)
    assert (record["cautions"], record["marks"], record["fakelens"]) == ([], [], __version__)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["time"])
    text = page.read_text(encoding="utf-8")
    assert all(words in text for words in (record["file"]["sha256"], record["detector"]["sha256"], record["time"]))
    assert "Likely AI-generated" in text
    assert "proves nothing" in text
    assert not re.search(r"(src|href)=", text)  # it needs nothing from elsewhere


def test_names_and_marks_are_text_whatever_they_hold(tmp_path: Path, bundle: Bundle, judgement: Judgement) -> None:
    name = '<script>alert(1)</script>/../b\udcfccher $title & "x".png'
    (page,) = write_audit_records(tmp_path, [replace(judgement, name=name)], bundle)
    assert page.parent == tmp_path
    assert "<script>" not in page.read_text(encoding="utf-8")
    assert "$title" in page.read_text(encoding="utf-8")
    assert json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["file"]["name"] == name


def test_a_record_is_never_replaced(tmp_path: Path, bundle: Bundle, judgement: Judgement) -> None:
    pages = [write_audit_records(tmp_path, [judgement], bundle)[0] for _ in range(3)]
    assert len(set(pages)) == 3
    assert len(list(tmp_path.iterdir())) == 6


def test_the_form_for_wrong_verdicts_asks_for_this_record(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "wrong_verdict.yml").read_text(encoding="utf-8"))
    (told,) = (field["attributes"]["description"] for field in form["body"] if field.get("id") == "record")
    (command,) = re.findall(r"`fakelens (predict .+?)`", told)
    (tmp_path / "PICTURE").write_bytes(WHITE)
    (tmp_path / "BUNDLE").symlink_to(bundle.folder)
    monkeypatch.chdir(tmp_path)
    assert "`--detector NAME`" in told
    for option in ([], ["--detector", "large_net"]):
        typer.main.get_command(cli.app).main([*shlex.split(command), *option], standalone_mode=False)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "DIR").glob("*.json")]
    assert {record["file"]["sha256"] for record in records} == {hashlib.sha256(WHITE).hexdigest()}
    assert {record["fakelens"] for record in records} == {__version__}
    assert {record["detector"]["name"] for record in records} == {bundle.model().name, "large_net"}
    assert all(len(record["detector"]["sha256"]) == 64 for record in records)
