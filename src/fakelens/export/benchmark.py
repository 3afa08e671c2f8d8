"""Time per picture of ONNX files on this CPU: files in, milliseconds out."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fakelens.core.scoring import Scorer

_WARMUP, _ROUNDS = 5, 31


def median_latencies_ms(scorers: Mapping[str, Scorer], rounds: int = _ROUNDS) -> dict[str, float]:
    """Median time of one picture for each scorer; their runs alternate, so that a noisy machine hits all alike."""
    images = {
        name: np.random.default_rng(0).random((1, 3, scorer.input_px, scorer.input_px), dtype=np.float32)
        for name, scorer in scorers.items()
    }
    times: dict[str, list[float]] = {name: [] for name in scorers}
    for number in range(_WARMUP + rounds):
        for name, scorer in scorers.items():
            elapsed = _timed_ms(scorer, images[name])
            if number >= _WARMUP:
                times[name].append(elapsed)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def _timed_ms(scorer: Scorer, image: Any) -> float:
    started = time.perf_counter()
    scorer.score(image)
    return (time.perf_counter() - started) * 1000
