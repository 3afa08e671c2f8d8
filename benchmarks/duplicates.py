"""Time, peak memory and number of pairs that grouping near-duplicates takes, at 12,000 and 1,000,000 hashes.

Run it as `python benchmarks/duplicates.py`, on an idle machine. The hashes are random, not of real pictures. In each
kind every hundredth has a planted copy at a distance of 0 to 4 bits, and each copy must be found:

- uniform: the rest is uniformly random.
- clustered: 20 % lie up to 6 bits from one of 2,000 centres, as pictures of one scene or template do.
- heap: 20 % are one hash with up to 4 bits flipped, as almost flat pictures are.
- half constant: 20 % vary in half of their bits only, as smooth or symmetric pictures may.

The time for all pairs is extrapolated from comparing 4,000 hashes with each other. Each case runs in its own process:
its time includes importing scipy (a few tenths of a second), its peak the interpreter and its libraries (65 MB).
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import numpy.typing as npt

from fakelens.dataset import duplicates

Hashes = npt.NDArray[np.uint64]
KINDS = ("uniform", "clustered", "heap", "half constant")


def with_flipped_bits(rng: np.random.Generator, hashes: Hashes, num_bits: npt.NDArray[np.int64]) -> Hashes:
    """The (N,) hashes, each at a distance of exactly its `num_bits`."""
    start, odd_step = rng.integers(0, 64, len(hashes)), 2 * rng.integers(0, 32, len(hashes)) + 1
    for k in range(num_bits.max()):
        bit = np.uint64(1) << ((start + k * odd_step) % 64).astype(np.uint64)
        hashes = np.where(k < num_bits, hashes ^ bit, hashes)
    return hashes


def make_hashes(kind: str, num: int, seed: int) -> tuple[Hashes, int]:
    """Hashes (num,), of which the last P are copies of the first P; and P."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, num, dtype=np.uint64)
    num_alike, num_planted = num // 5, num // 100
    alike = slice(num // 2, num // 2 + num_alike)
    if kind == "clustered":
        centres = rng.choice(hashes[:2000], num_alike)
        hashes[alike] = with_flipped_bits(rng, centres, rng.integers(0, 7, num_alike))
    elif kind == "heap":
        # Four bits drawn with replacement, so 0, 2 or 4 differ.
        bits = np.uint64(1) << rng.integers(0, 64, (4, num_alike), dtype=np.uint64)
        hashes[alike] = hashes[num // 2] ^ np.bitwise_xor.reduce(bits)
    elif kind == "half constant":
        hashes[alike] &= np.uint64(2**64 - 2**32)
    hashes[-num_planted:] = with_flipped_bits(rng, hashes[:num_planted], np.arange(num_planted) % 5)
    return hashes, num_planted


def s_per_pair(hashes: Hashes) -> float:
    started_s = time.process_time()
    for one in hashes[:4000]:
        np.flatnonzero(np.bitwise_count(hashes[:4000] ^ one) <= duplicates.MAX_DISTANCE_BITS)
    return (time.process_time() - started_s) / 4000**2


def measure(kind: str, num: int, seed: int) -> str:
    hashes, num_planted = make_hashes(kind, num, seed)
    all_pairs, all_pairs_s = num * (num - 1) // 2, num * (num - 1) / 2 * s_per_pair(hashes)
    num_compared = 0
    pairs_to_compare = duplicates._pairs_to_compare

    def counted(*columns: object) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        nonlocal num_compared
        for left, right in pairs_to_compare(*columns):
            num_compared += len(left)
            yield left, right

    duplicates._pairs_to_compare = counted
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    groups = duplicates.group_near_duplicates(hashes)
    took_s, took_cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    num_found = np.count_nonzero(groups[:num_planted] == groups[-num_planted:])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    if num_found < num_planted:
        raise SystemExit(f"{kind}, {num:,} hashes: only {num_found:,} of {num_planted:,} planted pairs were found")
    return (
        f"{num:>9,} {kind:13} {took_s:7.2f} s ({took_cpu_s:.2f} s of CPU), peak {peak_mb:4.0f} MB, "
        f"{len(np.unique(groups)):,} groups, all {num_planted:,} planted pairs found; compared {num_compared:,} "
        f"of {all_pairs:,} pairs (1 in {all_pairs / max(num_compared, 1):,.0f}; all: about {all_pairs_s:,.1f} s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, nargs="+", default=[12_000, 1_000_000], help="hashes, at least 10,000")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if min(options.num) < 10_000:
        parser.error("--num must be 10,000 or more: fewer leave too few planted pairs to judge by")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for num in options.num:
            for kind in options.kind:
                print(pool.submit(measure, kind, num, options.seed).result(), flush=True)


if __name__ == "__main__":
    main()
