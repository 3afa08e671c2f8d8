"""Whether `fakelens prepare` gives the same bytes through a failing hub and kill -9, and finds every flipped byte.

Figure 4. Faults: with 20 % of the hub's file requests answered 503 and 10 % of the bodies cut half way, all files are
those of a clean run. Kills: the whole process group is killed at ten random moments of a clean run's time, each time
in a new folder; the same command then ends with the clean run's files. Flips: one random byte of one random file in
`data/` is changed, 100 times, each file at least ten times; `--verify` must name the file.

    python benchmarks/survival.py --hub HUB --work DIR
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import hub_environment, measured, parsed_settings, prepare_command, report, serve

from fakelens.dataset.store import PreparedData

# The server counts requests: its every 10th would fall on every 5th, which fails already, and none would be cut.
# Every 8th cuts 12.5 % of them, of which a fifth fails first: 10 % of all.
FAIL_EVERY, CUT_EVERY = 5, 8
SETTINGS = ("num_images=2000", "num_ood_images=60", "num_wild_images=60")
MIN_PER_FILE = 10
PARTS = ("faults", "kills", "flips")
TIMEOUT_S = 3600
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    hub: Path
    work: Path
    settings: dict[str, str]
    latency: float
    mbps: float

    def prepare(self, name: str, endpoint: str) -> tuple[float, dict[str, str]]:
        """Run to the end in the folder `name`; seconds, and each output's hash."""
        env = hub_environment(endpoint, self.work / f"{name}-hf")
        usage = measured(prepare_command(self.work / name, self.settings), env, TIMEOUT_S)
        if usage.status:
            print(usage.output[-3000:], file=sys.stderr)
            return usage.seconds, {}
        return usage.seconds, self.outputs(name)

    def outputs(self, name: str) -> dict[str, str]:
        """File: sha256, of a finished run; empty before it is finished."""
        record = self.work / name / "data" / "prepare.json"
        return dict(json.loads(record.read_text())["outputs"]) if record.exists() else {}


def faults(bench: Bench, clean: dict[str, str]) -> tuple[list[Row], dict[str, object], bool]:
    """One run against a failing hub."""
    log = bench.work / "faults.jsonl"
    with serve(bench.hub, log, fail_every=FAIL_EVERY, cut_every=CUT_EVERY) as endpoint:
        seconds, outputs = bench.prepare("faults", endpoint)
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    statuses = Counter(r["s"] for r in requests if "/resolve/" in r["p"] and r["m"] == "GET")
    failed, cut = (statuses[status] / max(1, statuses.total()) for status in (503, -1))
    rows = [
        ("hub's answers", f"{failed:.1%} failed, {cut:.1%} cut of {statuses.total()}", "about 20 % and 10 %"),
        ("files of the run with faults", "the same" if outputs == clean else "others", "the same"),
    ]
    figures = {"failed": round(failed, 3), "cut": round(cut, 3), "seconds": round(seconds, 1)}
    return rows, figures, outputs == clean and failed > 0.1 and cut > 0.05


def kills(bench: Bench, clean: dict[str, str], clean_s: float, num: int, seed: int) -> tuple[list[Row], dict, bool]:
    """Kill at random moments, run again to the end."""
    rng = np.random.default_rng((seed, 1))
    same, again_s, moments = 0, [], []
    with serve(bench.hub, latency=bench.latency, mbps=bench.mbps) as endpoint:
        while len(moments) < num:
            name, moment = "killed", float(rng.uniform(0, clean_s))
            shutil.rmtree(bench.work / name, ignore_errors=True)
            _start_and_kill(bench, name, endpoint, moment)
            if bench.outputs(name):
                continue  # it was quicker than the clean run, and done: another moment
            seconds, outputs = bench.prepare(name, endpoint)
            moments.append(round(moment, 2))
            again_s.append(round(seconds, 2))
            same += outputs == clean
            left = sorted({path.name for path in (bench.work / name / "data").iterdir()} - set(clean))
            print(f"killed at {moment:.2f} s: {'same' if outputs == clean else 'other'} files; beside them {left}")
    rows = [("resumed to the same files after kill -9", f"{same} of {num}", f"{num} of {num}")]
    return rows, {"same": same, "moments_s": moments, "again_s": again_s}, same == num


def _start_and_kill(bench: Bench, name: str, endpoint: str, moment_s: float) -> None:
    env = hub_environment(endpoint, bench.work / f"{name}-hf")
    command = prepare_command(bench.work / name, bench.settings)
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(moment_s)
    os.killpg(process.pid, signal.SIGKILL)  # the unreaped leader keeps the group's number, even when it has ended
    process.wait()


def flips(bench: Bench, name: str, num: int, seed: int) -> tuple[list[Row], dict[str, object], bool]:
    """Change one byte, verify, and put it back; the first flip of each file goes through the command line."""
    rng = np.random.default_rng((seed, 2))
    workdir = bench.work / name
    paths = sorted(path for path in (workdir / "data").iterdir() if path.is_file() and path.stat().st_size)
    sizes = np.array([path.stat().st_size for path in paths])
    forced = [path for path in paths for _ in range(MIN_PER_FILE)]
    others = rng.choice(len(paths), max(0, num - len(forced)), p=sizes / sizes.sum())
    chosen = forced + [paths[i] for i in others]
    assert len(chosen) == num, f"{num} flips do not give {len(paths)} files {MIN_PER_FILE} each"
    PreparedData(workdir / "data").verify()
    missed: Counter[str] = Counter()
    for number, path in enumerate(chosen):
        at, bits = int(rng.integers(path.stat().st_size)), int(rng.integers(1, 256))
        _flip(path, at, bits)
        by_command = path not in chosen[:number]
        found = _found_by_command(workdir, path.name) if by_command else _found(workdir / "data", path.name)
        _flip(path, at, bits)
        if not found:
            missed[path.name] += 1
            print(f"not found: {path.name}, byte {at}, bits {bits:#04x}{' (command line)' if by_command else ''}")
    PreparedData(workdir / "data").verify()
    rows = [("flipped bytes found", f"{num - missed.total()} of {num} in {len(paths)} files", f"{num} of {num}")]
    return rows, {"flips": num, "files": len(paths), "missed": dict(missed)}, not missed


def _flip(path: Path, at: int, bits: int) -> None:
    with path.open("rb+") as file:
        file.seek(at)
        value = file.read(1)[0]
        file.seek(at)
        file.write(bytes([value ^ bits]))


def _found(folder: Path, name: str) -> bool:
    try:
        PreparedData(folder).verify()
    except ValueError as error:
        return name in str(error)
    except Exception as error:  # a crash is not an answer
        print(f"{name}: {error!r}")
    return False


def _found_by_command(workdir: Path, name: str) -> bool:
    command = [sys.executable, "-m", "fakelens", "prepare", "--verify", "--workdir", str(workdir)]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "500"}, check=False)
    told = ended.stdout + ended.stderr
    return ended.returncode == 1 and name in told and "Traceback" not in told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, required=True, help="folder that the server serves, with datasets/ in it")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the runs write")
    parser.add_argument("--set", nargs="*", default=SETTINGS, metavar="KEY=VALUE", help="data.KEY of every run")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the bytes")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before the hub answers (clean, kills)")
    parser.add_argument("--mbps", type=float, default=100, help="megabits a second of one connection (clean, kills)")
    args = parser.parse_args()
    work = args.work / "survival"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    bench = Bench(args.hub, work, parsed_settings(args.set), args.latency, args.mbps)
    with serve(args.hub, latency=args.latency, mbps=args.mbps) as endpoint:
        clean_s, clean = bench.prepare("clean", endpoint)
    assert clean, "the clean run failed"
    parts = {
        "faults": lambda: faults(bench, clean),
        "kills": lambda: kills(bench, clean, clean_s, args.kills, args.seed),
        "flips": lambda: flips(bench, "clean", args.flips, args.seed),
    }
    rows: list[Row] = [("clean run", f"{clean_s:.1f} s, {len(clean)} files", "")]
    figures: dict[str, object] = {"settings": bench.settings, "clean_s": round(clean_s, 2)}
    passed = True
    for part in args.parts:
        more, figures[part], held = parts[part]()
        rows += more
        passed &= held
    return report(rows, figures, passed)


if __name__ == "__main__":
    sys.exit(main())
