"""How much `fakelens prepare` fetches for the images that it takes, and what it costs beside `datasets` streaming.

Figure 1: all bytes that the hub sent, by its own log, over the bytes of the image cells of the row groups that image
bytes were fetched from; at most 1.05. Figure 2: time and peak memory of the usual way (rival.py) to the same balanced
sample from the same hub, over prepare's; at least 3 each, in every repeat. The same sample is as many of each label and
generator as prepare took; `--balance labels` asks the rival for half fakes only, which is less than prepare does.
Measure on the large stand-in (standin.py): memory is about pictures of real size.

    python benchmarks/reading.py --hub LARGE --python VENV/bin/python --work DIR
"""

import argparse
import json
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from harness import (
    NO_TEST_SETS,
    REPOSITORY,
    Usage,
    hub_environment,
    measured,
    parsed_settings,
    prepare_command,
    report,
    serve,
)

MAX_FETCHED, MIN_FASTER, MIN_SMALLER = 1.05, 3.0, 3.0
# A row group counts as read when this share of its image column was asked for: more than a read-ahead touches.
_READ_SHARE = 0.1
SPLITS = ("train", "val", "test")
Group = tuple[str, int]


def fetched_ranges(log: Path, sizes: dict[str, int]) -> dict[str, list[tuple[int, int]]]:
    """Byte ranges [start, stop) that were sent of each file, by its path in the repository."""
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        request = json.loads(line)
        name = request["p"].split("?")[0].partition("/resolve/")[2].partition("/")[2]
        if request["m"] == "GET" and name in sizes and request["s"] in (200, 206, -1):
            first, _, _ = (request["r"] or "bytes=0-").removeprefix("bytes=").partition("-")
            asked = (request["r"] or "").rpartition("-")[2]
            start = int(first) if first else sizes[name] - int(asked)
            ranges[name].append((start, start + request["n"]))
    return ranges


def read_groups(repository: Path, log: Path) -> dict[Group, int]:
    """Row groups whose image column was fetched, with the bytes of their image cells."""
    sizes = {path.relative_to(repository).as_posix(): path.stat().st_size for path in repository.rglob("*.parquet")}
    cells = {}
    for name, ranges in fetched_ranges(log, sizes).items():
        # A footer is read to the file's end, and a guess of its size reaches into the last image column.
        inner = [(start, stop) for start, stop in ranges if stop < sizes[name]]
        with pq.ParquetFile(repository / name) as parquet:
            for number in range(parquet.num_row_groups):
                chunk = parquet.metadata.row_group(number).column(0)
                assert chunk.path_in_schema == "image.bytes"
                first = chunk.dictionary_page_offset or chunk.data_page_offset
                last = first + chunk.total_compressed_size
                overlap = sum(max(0, min(stop, last) - max(start, first)) for start, stop in inner)
                if overlap > _READ_SHARE * chunk.total_compressed_size:
                    column = parquet.read_row_group(number, columns=["image.bytes"])["image"]
                    cells[name, number] = pc.sum(pc.binary_length(pc.struct_field(column, "bytes"))).as_py()
    return cells


def fetched(repository: Path, log: Path, workdir: Path) -> dict[str, float]:
    """Figure 1 with its parts; `unread` is how many row groups of the manifest the log does not know (0)."""
    requests = [json.loads(line) for line in log.read_text().splitlines()]
    num_bytes = sum(request["n"] for request in requests)
    cells = read_groups(repository, log)
    keys = pq.read_table(workdir / "data" / "manifest.parquet", columns=["key"])["key"].to_pylist()
    named = {(key.split("#")[0], int(key.split("#")[1].split(":")[0])) for key in keys}
    used = sum(size for group, size in cells.items() if group in named)
    return {
        "requests": len(requests), "bytes": num_bytes, "row_groups": len(cells), "cell_bytes": sum(cells.values()),
        "ratio": num_bytes / max(1, sum(cells.values())), "ratio_by_manifest": num_bytes / max(1, used),
        "unread": len(named - set(cells)), "unused": len(set(cells) - named),
    }  # fmt: skip


def run_ours(args: argparse.Namespace, work: Path) -> tuple[Usage, dict[str, float]]:
    """`fakelens prepare` against a hub of its own."""
    log = work / "requests.jsonl"
    settings = {"num_images": args.num_images, "seed": args.seed, **parsed_settings(args.set)}
    with serve(args.hub, log, latency=args.latency, mbps=args.mbps) as endpoint:
        usage = measured(prepare_command(work, settings), hub_environment(endpoint, work / "hf"))
    _check("fakelens prepare", usage)
    manifest = pq.read_table(work / "data" / "manifest.parquet", columns=["split", "label"]).to_pylist()
    labels = Counter(row["label"] for row in manifest if row["split"] in SPLITS)
    assert set(labels.values()) == {args.num_images // 2}, labels
    return usage, fetched(args.hub / REPOSITORY, log, work)


def quotas(args: argparse.Namespace, work: Path) -> dict[str, int]:
    """How many of each label, or of each label and generator, prepare took."""
    rows = pq.read_table(work / "data" / "manifest.parquet", columns=["split", "label", "generator"]).to_pylist()
    counts = Counter((("real", "fake")[row["label"]], row["generator"]) for row in rows if row["split"] in SPLITS)
    if args.balance == "labels":
        return {label: args.num_images // 2 for label in ("real", "fake")}
    return {f"{label}/{generator}": count for (label, generator), count in counts.items()}


def run_rival(args: argparse.Namespace, work: Path) -> tuple[Usage, dict[str, int]]:
    """rival.py against a hub of its own with the same settings, after prepare."""
    (work / "quotas.json").write_text(json.dumps(quotas(args, work)))
    command = [str(args.python), str(Path(__file__).with_name("rival.py")), "--quotas", str(work / "quotas.json")]
    command += ["--seed", str(args.seed), "--out", str(work / "squares.npy")]
    with serve(args.hub, work / "rival.jsonl", latency=args.latency, mbps=args.mbps) as endpoint:
        usage = measured(command, hub_environment(endpoint, work / "hf"))
    _check("rival.py", usage)
    result = json.loads(usage.output.splitlines()[-1])
    assert result["complete"], result
    sent = sum(json.loads(line)["n"] for line in (work / "rival.jsonl").read_text().splitlines())
    return usage, {"bytes": sent, "seen": result["seen"]}


def _check(name: str, usage: Usage) -> None:
    if usage.status:
        sys.exit(f"{name} ended with {usage.status}:\n{usage.output}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, required=True, help="folder that the server serves, with datasets/ in it")
    parser.add_argument("--python", type=Path, help="interpreter that has `datasets`; without one, figure 1 alone")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the runs write; emptied")
    parser.add_argument("--num-images", type=int, default=2000)
    parser.add_argument("--balance", choices=("generators", "labels"), default="generators", help="of the rival")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1, help="how often fakelens and the rival take turns")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before the hub answers")
    parser.add_argument("--mbps", type=float, default=200, help="megabits a second of one connection")
    parser.add_argument("--set", nargs="*", default=NO_TEST_SETS, metavar="KEY=VALUE", help="further data.KEY")
    args = parser.parse_args()
    rows, repeats, passed = [], [], True
    for repeat in range(args.repeats):
        work = args.work / f"reading-{repeat}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        ours, traffic = run_ours(args, work)
        rival = run_rival(args, work) if args.python else None
        entry = {"ours": _figures(ours), "traffic": traffic}
        detail = f"{traffic['bytes'] / 1e6:.1f} MB in {traffic['requests']} requests, {traffic['row_groups']} groups"
        rows.append(("fetched / image cells", f"{traffic['ratio']:.4f} ({detail})", f"<= {MAX_FETCHED}"))
        rows.append(("manifest's groups not in the log", str(traffic["unread"]), "0"))
        passed &= traffic["ratio"] <= MAX_FETCHED and not traffic["unread"]
        if rival:
            theirs, sent = rival
            faster, smaller = theirs.seconds / ours.seconds, theirs.pss_mib / ours.pss_mib
            seconds = f"{faster:.2f} ({theirs.seconds:.1f} s / {ours.seconds:.1f} s)"
            memory = f"{smaller:.2f} ({theirs.pss_mib:.0f} MiB / {ours.pss_mib:.0f} MiB)"
            rows.append(("time, rival / ours", seconds, f">= {MIN_FASTER}"))
            rows.append(("peak memory, rival / ours", memory, f">= {MIN_SMALLER}"))
            passed &= faster >= MIN_FASTER and smaller >= MIN_SMALLER
            entry |= {"rival": _figures(theirs) | sent, "faster": faster, "smaller": smaller}
        repeats.append(entry)
    figures = {
        "num_images": args.num_images,
        "balance": args.balance,
        "latency_s": args.latency,
        "mbps": args.mbps,
        "repeats": repeats,
    }
    return report(rows, figures, passed)


def _figures(usage: Usage) -> dict[str, float]:
    """All numbers of a run, rounded."""
    return {name: round(value, 2) for name, value in vars(usage).items() if isinstance(value, float)}


if __name__ == "__main__":
    sys.exit(main())
