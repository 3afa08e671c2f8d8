"""Memory and times of the app as it is deployed: `streamlit run` in a bundle, driven as browsers drive it.

    python benchmarks/app_memory.py BUNDLE [--parts first,users,growth,flood,time] [--uploads 1000]

Each part starts a server of its own. Visitors are tabs of a headless Chromium, whose own
memory does not count; figures are the anonymous memory (PSS) of the server's processes, its peak as sampled every
20 ms. Pictures are made here. Start it on an idle machine where times matter.
"""

import argparse
import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import MIB, _memory, report
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

Found = tuple[list[tuple[str, str, str]], dict[str, float], bool]  # rows, figures, passed
CHROMIUM = "/usr/bin/chromium"
LARGE_PX = (4000, 3000)
FIRST_MIB, USERS_MIB, NEVER_MIB, GROWTH_MIB, FLOOD_MIB, START_S, P95_S = 200, 450, 600, 20, 50, 5.0, 1.5


class Server:
    """A running app and the memory that it takes."""

    def __init__(self, bundle: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.headless=true"]
        command += ["--server.address=127.0.0.1", f"--server.port={port}"]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        started = time.perf_counter()
        self.process = subprocess.Popen(command, cwd=bundle, env=env, stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5):
                break
            time.sleep(0.02)
        self.start_s = time.perf_counter() - started
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    @property
    def mib(self) -> float:
        root = psutil.Process(self.process.pid)
        return sum(_memory(one)[1] for one in (root, *root.children(recursive=True))) / MIB

    def _sample(self) -> None:
        while not self._stop.wait(0.02):
            self.peak_mib = max(self.peak_mib, self.mib)

    def close(self) -> None:
        self._stop.set()
        self._sampler.join()
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def serving(bundle: Path) -> Iterator[Server]:
    server = Server(bundle)
    try:
        yield server
    finally:
        server.close()


def picture(kind: str, seed: int, size: tuple[int, int] = LARGE_PX) -> bytes:
    """A made-up picture of natural compressibility: coarse colours, and grain."""
    rng = np.random.default_rng((seed, size[0]))
    coarse = Image.fromarray(rng.integers(0, 256, (size[1] // 40, size[0] // 40, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-2, 3, (size[1] // 8, size[0] // 8, 1), dtype=np.int16).repeat(8, 0).repeat(8, 1)
    if kind == "PNG":
        grain, pixels = grain * 0, pixels // 6 * 6  # under the limit of 10 MB, as a screenshot would be
    buffer = io.BytesIO()
    options: dict[str, Any] = {"PNG": {"compress_level": 3}, "WEBP": {"quality": 80, "method": 0}}.get(kind, {})
    Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def payload(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": f"image/{name.rpartition('.')[2]}", "buffer": data}


def open_page(browser: Browser, server: Server) -> Page:
    page = browser.new_context().new_page()
    page.set_default_timeout(120_000)
    page.goto(server.url)
    page.locator("input[type=file]").first.wait_for(state="attached")
    page.get_by_role("tab").first.wait_for()
    return page


def upload(page: Page, *files: dict[str, Any]) -> None:
    page.locator("input[type=file]").first.set_input_files(files)


def verdict_of(page: Page, name: str) -> None:
    page.locator("[data-testid=stText]").filter(has_text=name).first.wait_for()


def first(browser: Browser, bundle: Path) -> Found:
    """Start, and one visitor who uses all tabs on one picture."""
    started = time.perf_counter()
    with serving(bundle) as server:
        page = open_page(browser, server)
        usable_s = time.perf_counter() - started
        upload(page, payload("first.jpeg", picture("JPEG", 1, (1600, 1200))))
        verdict_of(page, "first.jpeg")
        one_mib = server.peak_mib
        for tab in page.get_by_role("tab").all()[1:]:
            tab.click()
            page.wait_for_timeout(1500)
        page.get_by_text("agreement is no proof").wait_for()
        figures = {"usable_s": usable_s, "first_verdict_mib": one_mib, "all_tabs_mib": server.peak_mib}
    rows = [
        ("start to usable page", f"{usable_s:.1f} s", f"at most {START_S:g} s"),
        ("peak, first verdict", f"{one_mib:.0f} MiB", ""),
        ("peak, all tabs used", f"{figures['all_tabs_mib']:.0f} MiB", f"at most {FIRST_MIB} MiB"),
    ]
    return rows, figures, usable_s <= START_S and figures["all_tabs_mib"] <= FIRST_MIB


def users(browser: Browser, bundle: Path) -> Found:
    """Five visitors at once with four pictures of 12 megapixels each, one format after another."""
    figures = {}
    with serving(bundle) as server:
        pages = [open_page(browser, server) for _ in range(5)]
        for kind in ("JPEG", "PNG", "WEBP"):
            data = picture(kind, 2)
            before = server.peak_mib = server.mib
            for number, page in enumerate(pages):
                suffix = kind.lower()
                files = [payload(f"{kind}{number}{copy}.{suffix}", data) for copy in range(4)]
                upload(page, *files)
            for page in pages:
                page.locator(".st-key-download-CSV button").wait_for()
                page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
            figures[f"{kind.lower()}_mib"] = server.peak_mib
            figures[f"{kind.lower()}_file_mb"] = len(data) / 1e6
            print(f"{kind}: {before:.0f} -> peak {server.peak_mib:.0f} MiB", file=sys.stderr, flush=True)
            for page in pages:
                page.reload()
                page.get_by_role("tab").first.wait_for()
    worst = max(value for name, value in figures.items() if name.endswith("_mib"))
    rows = [("peak, 5 × 4 pictures of 12 MP", f"{worst:.0f} MiB", f"at most {USERS_MIB} MiB, never {NEVER_MIB}")]
    return rows, figures, worst <= USERS_MIB


def growth(browser: Browser, bundle: Path, num_uploads: int) -> Found:
    """Many uploads by visitors who come, judge 25 pictures and leave."""
    per_session = 25
    with serving(bundle) as server:
        seen = []
        for session in range(max(2, num_uploads // per_session)):
            page = open_page(browser, server)
            files = [payload(f"{session}-{n}.jpeg", picture("JPEG", n, (800, 600))) for n in range(per_session)]
            upload(page, *files)
            page.get_by_text("Look closer at").wait_for()
            page.context.close()
            seen.append(server.mib)
            print(f"session {session}: {seen[-1]:.0f} MiB", file=sys.stderr, flush=True)
        peak = server.peak_mib
    warm = seen[: max(1, len(seen) // 4)]
    grown = float(np.mean(seen[-3:]) - max(warm))
    figures = {"warm_mib": max(warm), "last_mib": seen[-1], "grown_mib": grown, "peak_mib": peak, "sessions": len(seen)}
    rows = [
        (
            f"growth, {len(seen) * per_session} uploads, {len(seen)} sessions",
            f"{grown:+.0f} MiB",
            f"at most {GROWTH_MIB}",
        )
    ]
    return rows, figures, grown <= GROWTH_MIB and peak < NEVER_MIB


def flood(browser: Browser, bundle: Path) -> Found:
    """Fifty files of 9 MB at once into one visitor's session, none of them ever looked at."""
    with serving(bundle) as server:
        page = browser.new_context().new_page()
        page.goto(server.url)
        with page.expect_request(re.compile("upload_file")) as seen:
            page.locator("input[type=file]").first.set_input_files([payload("a.png", picture("PNG", 3, (320, 320)))])
        target, headers = seen.value.url.rpartition("/")[0], seen.value.all_headers()
        page.wait_for_timeout(3000)
        before = server.peak_mib = server.mib
        statuses = _fifty(target, headers)
        peak = server.peak_mib
    refused = statuses.count(429)
    figures = {"before_mib": before, "grown_mib": peak - before, "refused": refused, "taken": statuses.count(204)}
    rows = [
        ("flood of 50 × 9 MB", f"{refused} answered 429, {figures['taken']} taken", "429"),
        ("its growth", f"{peak - before:.0f} MiB", f"at most {FLOOD_MIB} MiB"),
    ]
    return rows, figures, refused > 40 and peak - before <= FLOOD_MIB


def _fifty(target: str, headers: dict[str, str]) -> list[int]:
    with ThreadPoolExecutor(50) as pool:
        return list(pool.map(lambda number: _put(f"{target}/{number:032d}", headers), range(50)))


def _put(url: str, headers: dict[str, str]) -> int:
    line = b"--x\r\nContent-Disposition: form-data; name=f; filename=f.png\r\nContent-Type: image/png\r\n\r\n"
    body = line + bytes(9_000_000) + b"\r\n--x--\r\n"
    kept = {name: value for name, value in headers.items() if name in ("cookie", "x-xsrftoken", "origin")}
    kept["Content-Type"] = "multipart/form-data; boundary=x"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, kept, method="PUT"), timeout=120) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def times(bundle: Path) -> Found:
    """Verdicts on a 12 megapixel JPEG through the endpoint, on one core."""
    data, seconds = picture("JPEG", 4), []
    with serving(bundle) as server:
        psutil.Process(server.process.pid).cpu_affinity([0])
        for _ in range(43):
            started = time.perf_counter()
            request = urllib.request.Request(f"{server.url}/api/verdict", data, method="POST")
            urllib.request.urlopen(request, timeout=60).read()
            seconds.append(time.perf_counter() - started)
    p95 = float(np.quantile(seconds[3:], 0.95))
    rows = [("12 MP verdict, warm, p95", f"{p95:.2f} s", f"at most {P95_S:g} s")]
    return rows, {"p50_s": float(np.median(seconds[3:])), "p95_s": p95}, p95 <= P95_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parts", default="first,users,growth,flood,time")
    parser.add_argument("--uploads", type=int, default=1000)
    args = parser.parse_args()
    parts, rows, figures, passed = args.parts.split(","), [], {}, True
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        runs = {
            "first": lambda: first(browser, args.bundle),
            "users": lambda: users(browser, args.bundle),
            "growth": lambda: growth(browser, args.bundle, args.uploads),
            "flood": lambda: flood(browser, args.bundle),
            "time": lambda: times(args.bundle),
        }
        for part in parts:
            more, found, good = runs[part]()
            rows += more
            figures[part] = {name: round(value, 2) for name, value in found.items()}
            passed &= good
            print(part, figures[part], file=sys.stderr, flush=True)
    return report(rows, figures, passed)


if __name__ == "__main__":
    raise SystemExit(main())
