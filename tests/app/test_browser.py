"""The bundle as a visitor meets it: `streamlit run` in the bundle's own folder, and a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from onnx_models import DETECTORS, flat_picture, make_bundle

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a running app; the server ends with the test."""
    folder = make_bundle(tmp_path / "bundle", demo=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.headless=true"]
    command += ["--server.address=127.0.0.1", f"--server.port={port}", "--server.fileWatcherType=none"]
    # Without PYTHONPATH the bundle's own copy of the package is what runs.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, tmp_path / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
            return
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"the app did not start: {log.read_text()}")


def test_an_uploaded_picture_is_judged(url: str) -> None:
    playwright_api = pytest.importorskip("playwright.sync_api")
    labels = [display_name for display_name, _ in DETECTORS.values()]
    files = [
        {"name": "white.png", "mimeType": "image/png", "buffer": flat_picture(255)},
        {"name": "cut.png", "mimeType": "image/png", "buffer": flat_picture(0)[:60]},
    ]
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        page.goto(url)
        page.get_by_role("tab", name=labels[0]).wait_for()
        page.locator("input[type=file]").first.set_input_files(files)
        page.get_by_role("heading", name="Likely AI-generated").wait_for()
        page.get_by_text("This file cannot be judged").wait_for()
        page.get_by_role("tab", name=labels[2]).click()
        page.get_by_text(DETECTORS["mobile_net"][1]).wait_for()
        page.get_by_role("heading", name="Likely AI-generated").wait_for()
        page.set_viewport_size({"width": 390, "height": 844})  # a telephone: nothing may stick out
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
