"""Which training settings pay: a detector trained with and without each on several prepared runs (seeds); AUC out.

    python benchmarks/ablation.py mobilenet_v2 --output ablation \\
        --prepared runs/a --prepared runs/b --prepared runs/c \\
        --common input_px=160 head_epochs=0 epochs=3 data.num_images=4000 \\
        --variant averaged ema_decay=0.99 \\
        --variant distilled 'teacher={run}/efficientnet_lite2/best.safetensors'

`--common` holds for every training, `--variant NAME KEY=VALUE …` for one of them; a key with a dot is any `--set`, one
without is the detector's own; `data.num_images` is what the runs were prepared with. What is trained already is kept,
so a run may be interrupted and variants added. Prints AUC for each set, and differences from `base` on the same seed
with their standard error: only what exceeds it says something. Choose by `val` and `ood`.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sklearn.metrics import roc_auc_score

from fakelens.core.artifacts import load_record
from fakelens.evaluation.scores import Scores

BASE = "base"


def trained(detector: str, prepared: Path, folder: Path, settings: Sequence[str]) -> dict[str, float]:
    """AUC for each set of the detector, trained and evaluated in `folder` with these settings."""
    folder.mkdir(parents=True, exist_ok=True)
    data, meant = folder / "data", (prepared / "data").resolve()
    if not data.is_symlink():
        data.symlink_to(meant)
    elif data.resolve() != meant:
        raise ValueError(
            f"{folder} was trained on {data.resolve()}, not {meant}: another --output, or --prepared as then"
        )
    seed = load_record(data / "prepare.json").settings["seed"]
    pairs = [pair if "." in pair.split("=")[0] else f"detectors.{detector}.{pair}" for pair in settings]
    pairs += [f"data.seed={seed}", "evaluate.robustness_images=0"]
    options = [f"--set={pair.replace('{run}', str(prepared.resolve()))}" for pair in pairs]
    for stage in ("train", "evaluate"):
        subprocess.run([sys.executable, "-m", "fakelens", stage, detector, "--workdir", folder, *options], check=True)
    scores = Scores.read(folder / detector / "evaluation" / "scores.parquet")
    names = dict.fromkeys(str(name) for name in scores.split)
    return {name: float(roc_auc_score(scores.of(name).label, scores.of(name).logit)) for name in names}


def with_error(values: Sequence[float], form: str) -> str:
    """Mean and standard error over seeds; one seed has none."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{error}"


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a row for each variant, for each set the mean AUC and the paired difference from `base`."""
    sets = list(found[BASE][0])
    rows = [["variant", *sets], ["---"] * (len(sets) + 1)]
    for name, runs in found.items():
        cells = [name]
        for split in sets:
            values, base = [run[split] for run in runs], [run[split] for run in found[BASE]]
            differences = [value - other for value, other in zip(values, base, strict=True)]
            changed = f"{statistics.mean(values):.3f} ({with_error(differences, '+.3f')})"
            cells.append(with_error(values, ".3f") if name == BASE else changed)
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector")
    parser.add_argument("--prepared", type=Path, action="append", required=True, help="a --workdir with data/ in it")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--common", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--variant", nargs="+", action="append", default=[], metavar=("NAME", "KEY=VALUE"))
    args = parser.parse_args()
    names = [BASE, *(name for name, *_ in args.variant)]
    if len(set(names)) < len(names):
        parser.error(f"each --variant needs a name of its own, and not {BASE!r}: {', '.join(names)}")
    found = {
        name: [
            trained(args.detector, prepared, args.output / f"{name}-{number}", [*args.common, *own])
            for number, prepared in enumerate(args.prepared)
        ]
        for name, *own in ([BASE], *args.variant)
    }
    print(table(found))


if __name__ == "__main__":
    main()
