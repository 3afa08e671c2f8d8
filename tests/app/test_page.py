"""The page as Streamlit draws it, without a browser: every way in, every kind of file, every tab."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from fakelens.app import limits, view, wording
from fakelens.app.uploads import DESK
from fakelens.core import imaging
from fakelens.runtime.cautions import DEMO
from onnx_models import DETECTORS, encoded, flat_picture, make_bundle, noise
from picture_files import png_promising

pytestmark = pytest.mark.usefixtures("unscanned")
SOURCE = Path(view.__file__).with_name("page.py")
LABELS = [display_name for display_name, _ in DETECTORS.values()]
TABS = ["Overview", *LABELS]
ALL_FAKE, ALL_REAL, ALL_UNCERTAIN = (
    f"All 3 detectors: {words}." for words in ("likely AI-generated", "likely a photograph", "uncertain")
)
WHITE, BLACK = flat_picture(255), flat_picture(0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle for all; who damages it takes a copy."""
    return make_bundle(tmp_path_factory.mktemp("page") / "bundle")


@pytest.fixture
def open_page(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    def opened(folder: Path = bundle, **query: str) -> AppTest:
        monkeypatch.setenv("FAKELENS_BUNDLE", str(folder))
        app = AppTest.from_file(SOURCE, default_timeout=30)
        for name, value in query.items():
            app.query_params[name] = value
        return checked(app.run())

    return opened


@pytest.fixture
def app(open_page: Callable[..., AppTest]) -> AppTest:
    return open_page()


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    return app


def upload(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files])
    return checked(app.run())


def choose_tab(app: AppTest, label: str) -> AppTest:
    app.session_state["detector"] = label
    return checked(app.run())


def verdicts(app: AppTest) -> list[str]:
    return [text.value for text in app.subheader][:-1]  # the last one heads the caveats


def shown_text(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in [*app.markdown, *app.caption, *app.text])


def test_three_detectors_and_a_comparison_of_which_one_runs(app: AppTest) -> None:
    assert app.title[0].value == "fakelens"
    assert [tab.label for tab in app.tabs] == TABS
    assert len(app.file_uploader) == 1
    assert app.file_uploader[0].accept_multiple_files
    assert not app.warning
    assert all(sentence in shown_text(app) for sentence in (*wording.CANNOT_TELL, wording.LIMITS))
    assert wording.NOTHING_STORED in shown_text(app)
    choose_tab(app, LABELS[0])
    assert [metric.label for metric in app.metric][:3] == ["Judged rightly", "Fakes found", "False alarms"]
    assert r"It most often misses\: some\_generator (40% of 20)." in shown_text(app)


@pytest.mark.parametrize("label", LABELS)
def test_each_tab_judges_what_was_given_once(app: AppTest, label: str) -> None:
    upload(choose_tab(app, label), ("white.png", WHITE))
    assert verdicts(app) == ["Likely AI-generated."]
    assert any("99.7 %" in html.value for html in app.html)
    name = list(DETECTORS)[LABELS.index(label)]
    assert list(app.session_state["assessments"]) == [(name, next(iter(app.session_state["taken"])))]


GRAIN = noise(300, 300)[..., 0] // 6  # 0 to 42: a picture of one colour would get no verdict
BRIGHT = Image.fromarray(255 - GRAIN).convert("RGB")
MOVING = {"save_all": True, "append_images": [Image.new("RGB", (300, 300))]}
CLEAR = Image.merge("RGBA", [*Image.new("RGB", (300, 300)).split(), Image.fromarray(GRAIN)])
FORMATS = {
    "jpeg": (BRIGHT, "JPEG", {}),
    "progressive": (BRIGHT, "JPEG", {"progressive": True}),
    "cmyk": (BRIGHT.convert("CMYK"), "JPEG", {}),
    "png": (BRIGHT, "PNG", {}),
    "alpha": (CLEAR, "PNG", {}),
    "palette": (BRIGHT.quantize(4), "PNG", {}),
    "one bit": (Image.fromarray(GRAIN > 3), "PNG", {}),
    "16 bit": (Image.fromarray((255 - GRAIN).astype(np.uint16) * 257), "PNG", {}),
    "webp": (BRIGHT, "WEBP", {}),
    "avif": (BRIGHT, "AVIF", {}),
    "tiff": (BRIGHT, "TIFF", {"compression": "tiff_lzw"}),
    "16 bit tiff": (Image.fromarray((255 - GRAIN).astype(np.uint16) * 257), "TIFF", {}),
    "bmp": (BRIGHT, "BMP", {}),
    "animated png": (BRIGHT, "PNG", MOVING),
    "animated webp": (BRIGHT, "WEBP", MOVING),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_and_colour_mode_is_judged(app: AppTest, kind: str) -> None:
    image, format, options = FORMATS[kind]
    upload(app, ("picture.jpg", encoded(image, format, **options)))
    assert verdicts(app) == [ALL_FAKE]
    assert not app.error


@pytest.mark.parametrize("ending", ["JPG", "jpe", "jfif", "mpo", "tif", "TIFF", "bmp", "gif", "HEIC"])
def test_files_are_taken_under_each_of_their_endings(app: AppTest, ending: str) -> None:
    upload(app, (f"photo.{ending}", WHITE))
    assert verdicts(app) == [ALL_FAKE]


def test_a_picture_on_its_side_is_shown_upright(app: AppTest) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upload(app, ("turned.jpg", encoded(Image.fromarray(noise(300, 400)), "JPEG", exif=exif)))
    (taken,) = app.session_state["taken"].values()
    assert taken.images[256].size == (256, 341)
    assert len(verdicts(app)) == 1


def test_a_wrong_extension_does_not_matter(app: AppTest) -> None:
    upload(app, ("photo.jpg", encoded(BRIGHT, "WEBP")))
    assert "WEBP" in shown_text(app)
    assert verdicts(app) == [ALL_FAKE]


BROKEN = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture at all", "not a JPEG, PNG, WebP, AVIF,"),
    "ppm": (encoded(Image.fromarray(noise()), "PPM"), "not a JPEG"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(500), "HEIC" if not imaging.heif_is_read() else "cannot be decoded"),
    "corrupt": (encoded(Image.fromarray(noise()))[:80] + bytes(500), "cannot be"),
    "cut jpeg": (encoded(Image.fromarray(noise()), "JPEG")[:9000], "cannot be decoded"),
    "cut png": (encoded(Image.fromarray(noise()))[:9000], "cannot be decoded"),
    "cut webp": (encoded(Image.fromarray(noise()), "WEBP")[:9000], "cannot be"),
    "bomb": (png_promising(100_000, 100_000), "too many pixels"),
    "large png": (png_promising(9_000, 9_000), "limit for PNG is 24"),
    "tiny": (flat_picture(0, (20, 40)), "too small"),
    "strip": (flat_picture(0, (64, 6_400)), "limit is 1 to 16"),
    "too many bytes": (bytes(10 * 2**20 + 1), "limit is 10 MB"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_judged_is_its_reason_and_spoils_only_itself(app: AppTest, kind: str) -> None:
    data, reason = BROKEN[kind]
    upload(app, ("bad.png", data), ("white.png", WHITE))
    assert reason in app.error[0].value.replace("\\", "")
    assert list(app.dataframe[0].value["Verdict"]) == ["Not judged", "Likely AI-generated (3 of 3)"]
    assert reason in app.dataframe[0].value["Remarks"][0]
    app.selectbox(key="closer").select_index(1)
    checked(app.run())
    assert verdicts(app) == [ALL_FAKE]


def test_thirty_at_once_are_a_table_and_one_card(app: AppTest) -> None:
    files = [(f"{number}.png", BROKEN["cut png"][0] if number == 7 else WHITE) for number in range(31)]
    upload(app, *files)
    assert "1 more picture was not looked at: at most 30" in app.warning[0].value
    table = app.dataframe[0].value
    assert len(table) == limits.MAX_PICTURES == 30
    assert list(table["Verdict"]).count("Likely AI-generated (3 of 3)") == 29
    assert [f"{table[label][0]:.1f}" for label in LABELS] == ["99.7"] * 3
    assert "cannot be decoded" in table["Remarks"][7]
    assert table["Picture"][0].startswith("data:image/jpeg;base64,")
    assert [button.label for button in app.get("download_button")] == ["Download as CSV", "Download as JSON"]
    assert verdicts(app) == [ALL_FAKE]
    app.selectbox(key="closer").select_index(7)
    checked(app.run())
    assert "cannot be decoded" in app.error[0].value


def test_names_are_text_whatever_they_hold(app: AppTest) -> None:
    upload(app, ("*black*<b>.png", BLACK))
    assert [text.value for text in app.text] == ["*black*<b>.png"]
    assert verdicts(app) == [ALL_REAL]


def test_all_detectors_together_and_each_in_a_line(app: AppTest) -> None:
    upload(app, ("white.png", WHITE))
    assert verdicts(app) == [ALL_FAKE]
    assert [label for label in LABELS if any(label in html.value for html in app.html)] == LABELS
    assert {name for name, _ in app.session_state["assessments"]} == set(DETECTORS)


def test_without_a_picture_the_page_says_what_to_do(app: AppTest) -> None:
    assert wording.INTRO in shown_text(app)
    assert not app.get("image")


def test_the_session_keeps_no_bytes_of_what_was_looked_at(app: AppTest) -> None:
    upload(app, ("white.png", WHITE), ("bad.png", b"no picture"))
    assert [(file.name, file.getvalue()) for file in app.session_state["pictures"]] == [
        ("white.png", b""),
        ("bad.png", b""),
    ]
    choose_tab(app, LABELS[1])
    assert verdicts(app) == ["Likely AI-generated."]


def test_a_removed_picture_is_forgotten(app: AppTest) -> None:
    upload(app, ("white.png", WHITE))
    app.file_uploader[0].clear()
    checked(app.run())
    assert verdicts(app) == []
    assert app.session_state["taken"] == app.session_state["assessments"] == {}


def test_a_picture_that_made_room_says_so(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DESK, "max_bytes", 300_000)
    upload(app, ("old.png", WHITE), ("new.png", WHITE))
    assert view.FORGOTTEN in app.error[0].value.replace("\\", "")
    app.selectbox(key="closer").select_index(1)
    checked(app.run())
    assert verdicts(app) == [ALL_FAKE]


def test_a_pasted_picture_an_example_and_a_photograph_join_the_others(app: AppTest) -> None:
    app.session_state["more"] = True
    checked(app.run())
    app.chat_input[0].upload("pasted.png", WHITE, "image/png")
    checked(app.run())
    app.button(key="examples/camera-like-1.jpg").click()
    checked(app.run())
    assert not app.session_state["more"]  # so that the verdict is near
    app.session_state["more"] = True
    checked(app.run())
    app.toggle(key="camera_on").set_value(True)
    checked(app.run())
    app.camera_input[0].set_value(("camera.jpg", flat_picture(0, format="JPEG"), "image/jpeg"))
    checked(app.run())
    table = app.dataframe[0].value
    assert list(table["File"]) == ["pasted.png", "Camera-like 1", "Camera picture"]
    assert list(table["Verdict"]) == ["Likely AI-generated (3 of 3)", *["Likely a photograph (3 of 3)"] * 2]
    next(button for button in app.button if button.label.startswith("Remove")).click()
    checked(app.run())
    assert verdicts(app) == []


def test_settings_come_from_the_address(open_page: Callable[..., AppTest]) -> None:
    app = open_page(detector=LABELS[2], threshold="Careful: 1 % false alarms", heatmap="true")
    assert app.session_state["detector"] == LABELS[2]
    upload(app, ("grey.png", flat_picture(160)))
    assert verdicts(app) == ["Uncertain."]
    assert any("AI-generated from 90 %" in html.value for html in app.html)
    assert any("speaks for AI-generated" in html.value for html in app.html)


@pytest.mark.parametrize("query", [{"detector": "no such"}, {"threshold": "<script>"}, {"heatmap": "1e9"}])
def test_an_odd_address_is_the_page_as_ever(open_page: Callable[..., AppTest], query: dict[str, str]) -> None:
    app = open_page(**query)
    assert app.session_state["detector"] == "Overview"


def test_a_stricter_threshold_gives_another_verdict(app: AppTest) -> None:
    upload(app, ("grey.png", flat_picture(160)))
    assert verdicts(app) == [ALL_FAKE]
    app.selectbox(key="threshold").select_index(1)
    checked(app.run())
    assert verdicts(app) == [ALL_UNCERTAIN]


def test_the_heat_map_is_off_until_it_is_asked_for(app: AppTest) -> None:
    upload(choose_tab(app, LABELS[0]), ("white.png", WHITE))
    assert not any("speaks for AI-generated" in html.value for html in app.html)
    app.toggle(key="heatmap").set_value(True)
    checked(app.run())
    assert any("speaks for AI-generated" in html.value for html in app.html)


def test_a_small_picture_is_uncertain_and_why_is_said(app: AppTest) -> None:
    upload(app, ("small.png", flat_picture(255, (100, 100))))
    assert verdicts(app) == [ALL_UNCERTAIN]
    assert "had to be enlarged" in app.warning[0].value
    assert "99.7 %" in "".join(html.value for html in app.html)


def test_what_a_file_says_of_itself_stands_beside_the_verdict(app: AppTest) -> None:
    xmp = b'<x:xmpmeta><a DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    upload(app, ("said.jpg", encoded(Image.fromarray(GRAIN), "JPEG", xmp=xmp)))
    assert "made by a trained model" in app.info[0].value
    assert wording.NOT_VERIFIED in app.info[0].value
    assert verdicts(app) == [ALL_REAL]


def damaged(bundle: Path, folder: Path, name: str, data: bytes | None) -> Path:
    shutil.copytree(bundle, folder)
    (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("mobile_net.onnx", b"another", "mobile_net.onnx"),
        ("small_net.onnx", None, "small_net.onnx"),
        ("fakelens/app/view.py", b"evil = True", "view.py"),
        ("examples/camera-like-1.jpg", b"", "camera-like-1.jpg"),
        ("bundle.json", json.dumps({"format": 1}).encode(), "cannot be used"),
        ("bundle.json", None, "is not a bundle"),
    ],
)
def test_a_damaged_bundle_is_one_clear_page(
    bundle: Path, tmp_path: Path, open_page: Callable[..., AppTest], name: str, data: bytes | None, message: str
) -> None:
    app = open_page(damaged(bundle, tmp_path / "damaged", name, data))
    assert len(app.error) == 1
    assert message in app.error[0].value.replace("\\", "")
    assert not app.tabs
    assert not app.file_uploader


def test_what_a_deployer_may_change_is_no_damage(
    bundle: Path, tmp_path: Path, open_page: Callable[..., AppTest]
) -> None:
    assert open_page(damaged(bundle, tmp_path / "changed", "README.md", b"# Mine")).tabs


def test_a_demonstration_says_that_it_is_one(tmp_path: Path, open_page: Callable[..., AppTest]) -> None:
    assert DEMO.words in open_page(make_bundle(tmp_path / "demo", demo=True)).warning[0].value


def test_without_a_bundle_the_remedy_is_named(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_page()
    monkeypatch.delenv("FAKELENS_BUNDLE")
    app = checked(AppTest.from_file(SOURCE, default_timeout=20).run())
    assert "set FAKELENS_BUNDLE" in app.error[0].value.replace("\\", "")
