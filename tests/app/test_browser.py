"""The bundle as a visitor meets it: `streamlit run` in the bundle's own folder, and a real browser."""

import csv
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving import served

from onnx_models import DETECTORS, encoded, flat_picture, make_bundle, noise

playwright_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--deny-permission-prompts",
]
LABELS = [display_name for display_name, _ in DETECTORS.values()]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("browser") / "bundle")


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    """The address of one running app for all; the server ends with the tests."""
    with served(bundle) as address:
        yield address


@pytest.fixture(scope="module")
def frame_url(url: str) -> Iterator[str]:
    """A page of another site that shows the app in a frame, as portals do: without Streamlit's own menu."""
    frame = f'<iframe src="{url}/?embed=true" width="900" height="1500"></iframe>'
    page = f"<!doctype html><title>portal</title>{frame}".encode()

    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        yield f"http://localhost:{portal.server_port}"  # to a browser another site than 127.0.0.1
        portal.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        # One for all: each would load and compile Streamlit's scripts anew. Every page is a session of its own.
        context = launched.new_context()
        context.set_default_timeout(30_000)
        yield context
        launched.close()


@pytest.fixture
def visit(browser: Any, url: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Open the page as one more visitor; FAKELENS_SCREENSHOTS names a folder for how each test left it."""
    pages = []

    def opened(query: str = "", width: int = 1280, height: int = 1800, color_scheme: str = "light") -> Any:
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=color_scheme)
        page.goto(url + query)
        page.get_by_role("tab", name=LABELS[0]).wait_for()
        page.locator("[data-test-script-state=notRunning]").wait_for()  # a click before that may be lost
        pages.append(page)
        return page

    yield opened
    for number, page in enumerate(pages):
        if "FAKELENS_SCREENSHOTS" in os.environ:
            page.wait_for_timeout(1_000)
            page.screenshot(path=Path(os.environ["FAKELENS_SCREENSHOTS"], f"{request.node.name}-{number}.png"))
        page.close()


@pytest.fixture
def give(tmp_path: Path) -> Callable[..., None]:
    """Choose files, from a folder: through the browser's own protocol large ones take half a minute."""

    def given(page: Any, *files: tuple[str, bytes]) -> None:
        for name, data in files:
            (tmp_path / name).write_bytes(data)
        page.locator("input[type=file]").first.set_input_files([tmp_path / name for name, _ in files])

    return given


def heading(page: Any, name: str) -> Any:
    return page.get_by_role("heading", name=name)


def test_from_upload_to_verdict_to_heat_map(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    pixels = noise(300, 400) // 4
    pixels[:, 200:] += 190
    give(page, ("half.png", encoded(Image.fromarray(pixels))))
    page.get_by_role("img", name="The picture half.png").wait_for()
    page.get_by_role("tab", name=LABELS[0]).click()
    page.get_by_role("switch", name="Show the heat-map").or_(page.get_by_label("Show the heat-map")).first.press(
        "Space"
    )
    page.get_by_role("img", name="The picture half.png with the heat-map over it").wait_for()
    assert "heatmap=true" in page.url
    page.get_by_role("tab", name=LABELS[2]).click()
    page.get_by_text(DETECTORS["mobile_net"][1]).wait_for()
    page.get_by_role("img", name="The picture half.png").wait_for()


def test_from_a_batch_to_its_csv(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    files = [(f"={number}.png", flat_picture(255)) for number in range(5)]
    give(page, *files, ("empty.png", b""))
    with page.expect_download() as download:
        page.locator(".st-key-download-CSV button").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))
    assert [row["verdict"] for row in rows] == ["fake"] * 15 + [""] * 3
    assert rows[0]["path"] == "'=0.png"
    assert "empty" in rows[15]["error"]


def test_a_detector_by_its_link(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit(f"?detector={LABELS[1]}")
    give(page, ("white.png", flat_picture(255)))
    heading(page, "Likely AI-generated.").wait_for()
    assert page.get_by_role("tab", name=LABELS[1]).get_attribute("aria-selected") == "true"


def test_a_camera_that_is_denied_leaves_the_page_usable(visit: Callable[..., Any]) -> None:
    page = visit()
    page.get_by_text("Paste a picture, use the camera").click()
    page.get_by_text("Use the camera", exact=True).click()
    page.get_by_text("allow access").first.wait_for()
    page.get_by_role("button", name="Camera-like 1", exact=True).click()
    heading(page, "likely a photograph").wait_for()


def test_an_examples_verdict_is_in_sight_on_a_telephone(visit: Callable[..., Any]) -> None:
    page = visit(width=390, height=844)
    page.get_by_text("Paste a picture, use the camera").click()
    page.get_by_role("button", name="Camera-like 1", exact=True).click()
    verdict = page.get_by_role("heading", name="detectors")
    verdict.wait_for()
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop == 0")
    assert verdict.bounding_box()["y"] < 844


def test_each_pasted_picture_is_judged_in_sight(visit: Callable[..., Any]) -> None:
    page = visit(width=390, height=844)
    page.get_by_text("Paste a picture, use the camera").click()
    box = page.get_by_test_id("stChatInputTextArea")
    for name, level, words in (("white.png", 255, "likely AI-generated"), ("black.png", 0, "likely a photograph")):
        box.click()
        box.evaluate(
            """(box, [name, bytes]) => {
                const held = new DataTransfer();
                held.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
                box.dispatchEvent(new ClipboardEvent('paste', {clipboardData: held, bubbles: true}));
            }""",
            [name, list(flat_picture(level))],
        )
        page.get_by_test_id("stChatInput").get_by_text(name).wait_for()
        page.wait_for_timeout(500)
        box.press("Enter")
        heading(page, words).wait_for()
        page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop == 0")


def test_a_telephone_in_the_dark(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit(width=390, height=2600, color_scheme="dark")
    give(page, ("white.png", flat_picture(255)))
    heading(page, "likely AI-generated").wait_for()
    page.get_by_role("tab", name=LABELS[2]).click()
    heading(page, "Likely AI-generated.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert max(int(part) for part in colour[4:-1].split(",")[:3]) < 60


def test_twenty_megabytes_are_refused_in_words(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    give(page, ("large.png", bytes(20_000_000)))
    reason = page.get_by_text("10.0MB or smaller").or_(page.get_by_text("File must be 10")).first
    reason.wait_for()
    # Streamlit says it to screen readers alone.
    page.wait_for_function("[...document.querySelectorAll('[role=alert]')].some(e => e.offsetWidth > 100)")
    give(page, ("white.png", flat_picture(255)))
    heading(page, "likely AI-generated").wait_for()


def test_two_visitors_see_each_their_own(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    one, other = visit(), visit(color_scheme="dark")
    give(one, ("white.png", flat_picture(255)))
    give(other, ("black.png", flat_picture(0)))
    heading(one, "likely AI-generated").wait_for()
    heading(other, "likely a photograph").wait_for()
    assert heading(one, "likely a photograph").count() == 0


def test_more_than_may_wait_is_answered_with_words(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    with page.expect_response(lambda response: "upload_file" in response.url and response.status == 429) as refused:
        give(page, *((f"{number}.png", bytes(9_400_000)) for number in range(5)))
    assert "32 MB may wait" in refused.value.text()
    page.get_by_text("A file was not taken. Too much at once").wait_for()


def test_an_upload_in_a_frame_of_another_site_is_judged(browser: Any, frame_url: str, url: str, tmp_path: Path) -> None:
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(frame_url)
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    frame = page.frame_locator("iframe")
    frame.locator("input[type=file]").first.set_input_files(tmp_path / "white.png")
    frame.get_by_role("heading", name="likely AI-generated").wait_for()
    assert [address for address in asked if not address.startswith((frame_url, url, "data:", "blob:"))] == []
    page.close()


def test_the_page_asks_no_other_site_for_anything(browser: Any, url: str, tmp_path: Path) -> None:
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    (tmp_path / "white.png").write_bytes(flat_picture(255))
    page.locator("input[type=file]").first.set_input_files(tmp_path / "white.png")
    heading(page, "likely AI-generated").wait_for()
    page.get_by_role("tab", name=LABELS[2]).click()
    heading(page, "Likely AI-generated.").wait_for()
    assert asked
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []
    page.close()


@pytest.mark.parametrize("size", [(390, 844), (1280, 900)])
def test_the_verdict_is_above_the_fold(
    visit: Callable[..., Any], give: Callable[..., None], size: tuple[int, int]
) -> None:
    page = visit(width=size[0], height=size[1])
    bright = 255 - noise(900, 900) // 6
    bright[:, :450] -= 40  # of one colour it would get no verdict
    give(page, ("white.png", encoded(Image.fromarray(bright), "JPEG")))
    heading(page, "All 3 detectors: likely AI-generated.").wait_for()
    image = page.get_by_role("img", name="The picture white.png")
    image.wait_for()
    page.wait_for_timeout(500)
    rows = [page.get_by_text(label, exact=True).last for label in LABELS]
    for seen in (heading(page, "All 3 detectors"), image, *rows):
        box = seen.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= size[1]
    assert image.evaluate("image => image.naturalWidth") >= 600  # the file itself, not the detector's square


def test_what_has_just_come_is_looked_at(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    give(page, ("white.png", flat_picture(255)))
    heading(page, "likely AI-generated").wait_for()
    give(page, ("black.png", flat_picture(0)))
    heading(page, "likely a photograph").wait_for()


def test_a_row_of_the_table_opens_its_picture(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    give(page, ("white.png", flat_picture(255)), ("black.png", flat_picture(0)))
    heading(page, "All 3 detectors: likely AI-generated.").wait_for()
    table = page.get_by_test_id("stDataFrame").bounding_box()
    page.mouse.click(table["x"] + 18, table["y"] + 88)  # the box of the second row
    heading(page, "All 3 detectors: likely a photograph.").wait_for()


def test_a_file_that_is_not_taken_is_said_on_the_page(visit: Callable[..., Any], give: Callable[..., None]) -> None:
    page = visit()
    give(page, ("notes.txt", b"no picture"))
    page.get_by_text("notes.txt").wait_for()
    playwright_api.expect(page.get_by_text("A file that turns red was not taken")).to_be_visible()
