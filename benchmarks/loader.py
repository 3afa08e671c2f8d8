"""Whether loading holds training up: the loader alone, the step on resident batches, and both together, in images/s.

Made-up pictures of the stored size with the default augmentation, the detectors' own settings from scratch. On a CPU,
where loading and training share the cores, "together" can at best be 1 / (1 / loader + 1 / step); the script says what
share of the resident step is reached, 0.95 being wanted on a CPU and 0.9 beside a GPU. The three are measured in turns,
and medians of the turns' ratios are reported.

    python benchmarks/loader.py [DETECTOR ...] [--batches 6] [--turns 3] [--workers N]
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fakelens.core.imaging import STORED_PX
from fakelens.core.machine import available_cpus, keep_freed_memory
from fakelens.dataset.loader import EpochSampler, TrainingImages, make_loader
from fakelens.dataset.store import ManifestRow, SplitData
from fakelens.detectors.checkpoint import build_network
from fakelens.detectors.spec import discover, find
from fakelens.settings import AugmentationSettings

_NUM = 512


def pictures() -> SplitData:
    """Smooth blobs with grain: codecs take about as long as with photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (_NUM, 8, 8, 3)).repeat(STORED_PX // 8, 1).repeat(STORED_PX // 8, 2)
    squares = np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)
    rows = tuple(ManifestRow("train", i, i % 2, "g", f"k{i}", "", "", i, "PNG", 1, 1, 1, 0.0, 0.0) for i in range(_NUM))
    return SplitData("train", squares, rows)


def endless(data: SplitData, input_px: int, batch: int, workers: int) -> Iterator[Any]:
    """Augmented batches, epoch after epoch, the workers staying alive."""
    sampler = EpochSampler(len(data), 0, shuffle=True)
    loader = make_loader(TrainingImages(data, input_px, AugmentationSettings(), 0), batch, sampler, workers)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from (pair for pair in loader if len(pair[0]) == batch)


def measure(name: str, data: SplitData, num_batches: int, turns: int, workers: int) -> dict[str, float]:
    """Images/s of each way, and the median over the turns of together / step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()  # as training does
    spec = find(name)
    settings = spec.defaults
    network = build_network(spec, settings, tiny=False, pretrained=False).train()
    network.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        floats = images.float().div_(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.float16, enabled=on_gpu):
            logits = network(floats)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    batches = endless(data, settings.input_px, settings.batch_size, workers)
    resident = [tensor.to(device) for tensor in next(batches)]

    def rate(work: Any) -> float:
        work()  # warms up
        if on_gpu:
            torch.cuda.synchronize()
        started_s = time.perf_counter()
        for _ in range(num_batches):
            work()
        if on_gpu:
            torch.cuda.synchronize()
        return num_batches * settings.batch_size / (time.perf_counter() - started_s)

    ways = {
        "loader": lambda: next(batches),
        "step": lambda: step(*resident),
        "together": lambda: step(*next(batches)),
    }
    found = [{way: rate(work) for way, work in ways.items()} for _ in range(turns)]
    medians = {way: statistics.median(turn[way] for turn in found) for way in ways}
    return medians | {"share": statistics.median(turn["together"] / turn["step"] for turn in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detectors", nargs="*", default=[s.name for s in discover().values() if s.runs_by_default])
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=available_cpus() if torch.cuda.is_available() else 0)
    chosen = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{available_cpus()} CPUs"
    print(f"{device}, {chosen.workers} workers, torch {torch.__version__}; images/s, medians of {chosen.turns} turns")
    data = pictures()
    for name in chosen.detectors:
        found = measure(name, data, chosen.batches, chosen.turns, chosen.workers)
        print(
            f"{name}: loader {found['loader']:.0f}, step {found['step']:.1f}, together {found['together']:.1f}: "
            f"{found['share']:.3f} of the step"
        )


if __name__ == "__main__":
    main()
