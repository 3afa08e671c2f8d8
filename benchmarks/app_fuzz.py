"""Seeded mutations of valid pictures through what the app does with strangers' bytes: no crash, hang or bare error.

    python benchmarks/app_fuzz.py [--num 20000] [--seed 0] [--workers 2]

Every mutation is taken in as the page does it: limits, decoding, the file's own statements, and the cautions on what
was decoded. It must give a picture or a refusal with a reason. A worker that dies is a crash and is started again
behind the mutation that killed it; more than two seconds of processor time on one mutation are a hang.
"""

import argparse
import contextlib
import io
import itertools
import multiprocessing as mp
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from queue import Empty
from typing import Any

import numpy as np
from harness import report
from PIL import Image, PngImagePlugin

from fakelens.app import view
from fakelens.core.imaging import heif_is_read
from fakelens.runtime.cautions import cautions_of
from fakelens.runtime.judgement import Picture

HANG_S = 2.0
_KILL_AFTER_S = 60.0
_SIDE_PX = (256,)
_XMP = b'<x:xmpmeta><a DigitalSourceType="x/digitalsourcetype/trainedAlgorithmicMedia"/></x:xmpmeta>'


def originals() -> dict[str, bytes]:
    """Valid pictures of every kind that the app reads, small enough to mutate many thousand times."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    colour = coarse.resize((320, 240), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, Steps: 20, Sampler: Euler", zip=True)
    text.add_itxt("XML:com.adobe.xmp", _XMP.decode(), zip=True)
    deep = Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257)
    clear = colour.copy()
    clear.putalpha(colour.convert("L"))
    frames = [colour.rotate(angle) for angle in (90, 180)]
    made: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "jpeg": (colour, "JPEG", {"exif": exif, "xmp": _XMP}),
        "jpeg-progressive": (colour, "JPEG", {"progressive": True, "quality": 60}),
        "jpeg-cmyk": (colour.convert("CMYK"), "JPEG", {}),
        "jpeg-large": (colour.resize((1600, 1200)), "JPEG", {"quality": 30, "restart_marker_blocks": 8}),
        "png": (colour, "PNG", {"pnginfo": text}),
        "png-alpha": (clear, "PNG", {"exif": exif}),
        "png-palette": (colour.quantize(16), "PNG", {"transparency": 3}),
        "png-deep": (deep, "PNG", {}),
        "png-animated": (colour, "PNG", {"save_all": True, "append_images": frames}),
        "webp": (colour, "WEBP", {"exif": exif, "xmp": _XMP}),
        "webp-lossless": (clear, "WEBP", {"lossless": True}),
        "webp-animated": (colour, "WEBP", {"save_all": True, "append_images": frames}),
        "avif": (colour, "AVIF", {"exif": exif, "xmp": _XMP}),
        "avif-alpha": (clear, "AVIF", {}),
        "tiff": (colour, "TIFF", {"xmp": _XMP}),
        "tiff-lzw": (clear, "TIFF", {"compression": "tiff_lzw"}),
        "tiff-jpeg": (colour, "TIFF", {"compression": "jpeg"}),
        "tiff-deflate": (colour.quantize(16), "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-deep": (deep, "TIFF", {"exif": exif}),
        "bmp": (colour, "BMP", {}),
        "bmp-palette": (colour.quantize(16), "BMP", {}),
        "gif": (colour, "GIF", {"comment": b"a comment"}),
        "gif-animated": (clear, "GIF", {"save_all": True, "append_images": frames}),
    }
    if heif_is_read():
        from pillow_heif import register_heif_opener

        register_heif_opener()
        made |= {
            "heic": (colour, "HEIF", {"exif": exif, "xmp": _XMP}),
            "heic-alpha": (clear, "HEIF", {"quality": 40}),
            "heic-many": (colour, "HEIF", {"save_all": True, "append_images": frames}),
        }
    files = {}
    for name, (image, kind, options) in made.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


def _flip(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= int(rng.integers(1, 256))
    return bytes(data)


def _flip_in_head(data: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, min(len(data), 400), rng.integers(1, 5)):
        data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)]))
    return bytes(data)


def _cut(data: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(data[: rng.integers(0, len(data))])


def _leave_out(data: bytearray, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(data)))
    return bytes(data[:start] + data[start + int(rng.integers(1, 200)) :])


def _repeat(data: bytearray, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(at) for at in rng.integers(0, len(data), 2))
    return bytes(data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:])


def _overwrite(data: bytearray, rng: np.random.Generator) -> bytes:
    start, size = int(rng.integers(0, len(data))), int(rng.integers(1, 300))
    data[start : start + size] = rng.bytes(size) if rng.random() < 0.5 else bytes([int(rng.choice([0, 255]))]) * size
    return bytes(data)


def _big_number(data: bytearray, rng: np.random.Generator) -> bytes:
    """Sizes and lengths are 2 and 4 bytes somewhere near the start."""
    width = int(rng.choice([2, 4]))
    at = int(rng.integers(0, min(len(data), 600)))
    value = int(rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1])) % 2 ** (8 * width)
    data[at : at + width] = value.to_bytes(width, "big" if rng.random() < 0.5 else "little")
    return bytes(data)


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    _flip,
    _flip_in_head,
    _cut,
    _leave_out,
    _repeat,
    _overwrite,
    _big_number,
)


def mutated(files: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """The mutation of this number, and what it is one of."""
    rng = np.random.default_rng((seed, number))
    name = list(files)[number % len(files)]
    mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
    return f"{name} {mutation.__name__.strip('_')}", mutation(bytearray(files[name]), rng)


def work(numbers: range, seed: int, at: "Synchronized[int]", outcomes: "mp.Queue[tuple[int, str, str, float]]") -> None:
    files = originals()
    for number in numbers:
        at.value = number
        kind, data = mutated(files, seed, number)
        started = time.process_time()
        try:
            picture = view.take("picture", data, _SIDE_PX)
            if isinstance(picture, Picture):
                for image in picture.images.values():
                    cautions_of(picture.container, image, 224)
            said = "judged" if isinstance(picture, Picture) else "refused"
        except Exception as error:  # the very thing that is looked for
            said = f"error {error!r}"
        outcomes.put((number, kind, said, time.process_time() - started))


def watch(numbers: range, seed: int) -> list[tuple[int, str, str, float]]:
    """Run workers over these numbers, one after another when one dies, and gather what became of each."""
    fresh = mp.get_context("spawn")  # a fork of a process with threads may die at its end
    outcomes: mp.Queue[tuple[int, str, str, float]] = fresh.Queue()
    found, files = [], originals()
    while numbers:
        at = fresh.Value("i", numbers.start)
        worker = fresh.Process(target=work, args=(numbers, seed, at, outcomes))
        worker.start()
        last, since = -1, time.monotonic()
        while worker.is_alive() or not outcomes.empty():
            with contextlib.suppress(Empty):
                found.append(outcomes.get(timeout=0.5))
            if at.value != last:
                last, since = at.value, time.monotonic()
            if time.monotonic() - since > _KILL_AFTER_S:
                worker.kill()
        worker.join()
        if worker.exitcode == 0:
            break
        said = "hang" if worker.exitcode == -9 else f"crash {worker.exitcode}"
        found.append((at.value, mutated(files, seed, at.value)[0], said, 0.0))
        numbers = range(at.value + 1, numbers.stop)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    started = time.monotonic()
    edges = np.linspace(0, args.num, args.workers + 1).astype(int)
    ranges = [range(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    if args.workers == 1:
        found = watch(ranges[0], args.seed)
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(args.workers) as pool:
            found = [one for each in pool.map(watch, ranges, [args.seed] * args.workers) for one in each]
    said = Counter(outcome.split(" ")[0] for _, _, outcome, _ in found)
    bad = [one for one in found if one[2] not in ("judged", "refused")]
    slow = [one for one in found if one[3] > HANG_S]
    for number, kind, outcome, seconds in [*bad, *slow][:20]:
        print(f"mutation {number} ({kind}): {outcome}, {seconds:.2f} s")
    slowest = max(seconds for *_, seconds in found)
    rows = [
        ("mutations", str(len(found)), str(args.num)),
        ("judged, refused", f"{said['judged']}, {said['refused']}", ""),
        ("crashes, untyped errors, hangs", f"{len(bad)}", "0"),
        ("slowest", f"{slowest:.2f} s of processor time", f"under {HANG_S:g} s"),
        ("wall time", f"{time.monotonic() - started:.0f} s", ""),
    ]
    passed = len(found) == args.num and not bad and not slow
    return report(rows, {"seed": args.seed, **said, "slowest_s": round(slowest, 3)}, passed)


if __name__ == "__main__":
    raise SystemExit(main())
