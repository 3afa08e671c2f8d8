"""The page as Streamlit draws it, without a browser."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fakelens.app import view
from onnx_models import DETECTORS, flat_picture, make_bundle

SOURCE = Path(view.__file__).with_name("streamlit_app.py")
LABELS = [display_name for display_name, _ in DETECTORS.values()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def page(folder: Path) -> AppTest:
    return checked(AppTest.from_file(folder / "streamlit_app.py", default_timeout=20).run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    return app


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files])
    return checked(app.run())


def words(app: AppTest) -> list[str]:
    return [text.value for text in app.subheader][:-2]  # the last two head the figures and the caveats


def test_three_tabs_of_which_one_runs(folder: Path) -> None:
    app = page(folder)
    assert app.title[0].value == "fakelens"
    assert [tab.label for tab in app.tabs] == LABELS
    assert len(app.file_uploader) == 1
    assert app.file_uploader[0].accept_multiple_files
    assert not app.warning
    assert [metric.label for metric in app.metric][:5] == ["Accuracy", "Precision", "Recall", "F1", "AUC"]
    text = " ".join(element.value for element in [*app.markdown, *app.caption])
    assert view.NOTHING_STORED in text
    assert all(sentence in text for sentence in view.CANNOT_TELL)


def test_several_pictures_get_a_verdict_each(folder: Path) -> None:
    app = upload(page(folder), ("white.png", flat_picture(255)), ("*black*.png", flat_picture(0)))
    assert words(app) == ["Likely AI-generated", "Likely a photograph"]
    assert [text.value for text in app.text] == ["white.png", "*black*.png"]
    assert "99.8 %" in app.html[0].value


def test_the_pictures_stay_when_another_detector_is_chosen(folder: Path) -> None:
    app = upload(page(folder), ("white.png", flat_picture(255)))
    app.session_state["detector"] = LABELS[2]
    checked(app.run())
    assert words(app) == ["Likely AI-generated"]
    assert {key[0] for key in app.session_state["views"]} == {"small_net", "mobile_net"}


def test_a_removed_picture_is_forgotten(folder: Path) -> None:
    app = upload(page(folder), ("white.png", flat_picture(255)))
    app.file_uploader[0].clear()
    checked(app.run())
    assert words(app) == []
    assert app.session_state["views"] == {}


def test_a_corrupt_file_spoils_only_itself(folder: Path) -> None:
    app = upload(page(folder), ("bad.png", flat_picture(0)[:60]), ("white.png", flat_picture(255)))
    assert "cannot be judged" in app.error[0].value
    assert words(app) == ["Likely AI-generated"]


def test_too_many_pictures_are_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "MAX_PICTURES", 1)
    app = upload(page(folder), ("a.png", flat_picture(255)), ("b.png", flat_picture(0)))
    assert words(app) == ["Likely AI-generated"]
    assert "first 1 of 2" in app.info[0].value


def test_a_damaged_model_is_one_clear_page(folder: Path) -> None:
    path = folder / "small_net.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    app = page(folder)
    assert len(app.error) == 1
    assert "small_net.onnx is damaged" in app.error[0].value
    assert not app.file_uploader


def test_a_damaged_description_is_one_clear_page(folder: Path) -> None:
    (folder / "bundle.json").write_text(json.dumps({"format": 1}))
    app = page(folder)
    assert "bundle.json cannot be used" in app.error[0].value
    assert not app.tabs


def test_a_demonstration_says_that_it_is_one(tmp_path: Path) -> None:
    assert page(make_bundle(tmp_path / "demo", demo=True)).warning[0].value == view.DEMO_NOTICE


def test_from_the_source_tree_the_bundle_is_named_by_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKELENS_BUNDLE", str(folder))
    app = checked(AppTest.from_file(SOURCE, default_timeout=20).run())
    assert [tab.label for tab in app.tabs] == LABELS
    monkeypatch.delenv("FAKELENS_BUNDLE")
    app = checked(AppTest.from_file(SOURCE, default_timeout=20).run())
    assert "set FAKELENS_BUNDLE" in app.error[0].value


def test_a_stricter_threshold_gives_another_verdict(folder: Path) -> None:
    app = upload(page(folder), ("grey.png", flat_picture(160)))
    assert words(app) == ["Likely AI-generated"]
    app.selectbox[0].select_index(1)
    checked(app.run())
    assert words(app) == ["Uncertain"]


def test_the_card_in_a_few_sentences_is_on_the_page(folder: Path) -> None:
    shown = "\n".join(text.value for text in page(folder).markdown)
    assert r"It most often misses\: some\_generator (40% of 20)." in shown
