"""The pictures of the documentation: the app with a verdict, and the first table of a report.

    python benchmarks/pictures.py [RUN]

RUN is a finished `fakelens run --recipe demo`; the picture that is judged is an example of its bundle, which fakelens
made itself. Writes `docs/pictures/*.webp`, which the README and the tutorial show.
"""

import argparse
import io
from pathlib import Path

from app_memory import CHROMIUM, serving
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
MAX_BYTES = 300_000
WIDTH_PX, MARGIN_PX = 900, 12


def save(page: Page, name: str, first: Locator, last: Locator) -> None:
    """The page's whole width from one element to another as WebP."""
    page.wait_for_timeout(2_000)  # animations
    top, bottom = first.bounding_box(), last.bounding_box()
    y = top["y"] - MARGIN_PX
    clip = {"x": 0, "y": y, "width": WIDTH_PX, "height": bottom["y"] + bottom["height"] + MARGIN_PX - y}
    shot = page.screenshot(clip=clip)
    Image.open(io.BytesIO(shot)).save(PICTURES / f"{name}.webp", quality=80, method=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/demo"))
    run = parser.parse_args().run.resolve()
    PICTURES.mkdir(exist_ok=True)
    with serving(run / "bundle") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": 1400}, device_scale_factor=1.5)
        page.goto(server.url)
        example = run / "bundle" / "examples" / "generator-like-1.jpg"
        page.locator("input[type=file]").first.set_input_files(example)
        page.get_by_role("heading", name="AI-generated").first.wait_for()
        save(page, "app", page.get_by_role("heading", name="fakelens"), page.get_by_text("agreement is no proof"))
        page.goto((run / "report" / "index.html").as_uri())
        save(page, "report", page.get_by_role("heading", name="Comparison"), page.get_by_role("table").first)
        browser.close()
    size = sum(path.stat().st_size for path in PICTURES.glob("*.webp"))
    assert size <= MAX_BYTES, f"the pictures have {size} bytes together, more than {MAX_BYTES}"
    print(f"{size} bytes in {PICTURES}")


if __name__ == "__main__":
    main()
