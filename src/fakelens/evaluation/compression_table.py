"""Full and compact detectors' records in; the table of what compression gained and lost out."""

from collections.abc import Sequence

from fakelens.evaluation.entry import Entry
from fakelens.evaluation.tables import Table


def compression_table(entries: Sequence[Entry]) -> Table:
    """Every compact detector beside the full one that it was made of, and the difference."""
    by_name = {entry.spec.name: entry for entry in entries}
    pairs = [(by_name[e.spec.full.name], e) for e in entries if e.spec.full and e.spec.full.name in by_name]
    sets = list(pairs[0][0].metrics) if pairs else []
    head = (
        "Detector", "Parameters", "fp32 (MB)", "Ships (MB)", "fp32 (ms)", "Ships (ms)",
        *(f"{rate} on {name}" for name in sets for rate in ("Accuracy", "AUC")),
    )  # fmt: skip
    rows = []
    for full, compact in pairs:
        costs = [(_costs(e), _rates(e, sets)) for e in (full, compact)]
        rows += [
            (e.spec.display_name, f"{cost[0]:,.0f}", *(f"{c:.2f}" for c in cost[1:]), *(f"{r:.3f}" for r in rate))
            for e, (cost, rate) in zip((full, compact), costs, strict=True)
        ]
        (old_cost, old_rates), (new_cost, new_rates) = costs
        rows.append(
            (
                "difference",
                *(f"÷ {old / new:.1f}" for old, new in zip(old_cost, new_cost, strict=True)),
                *(f"{new - old:+.3f}" for old, new in zip(old_rates, new_rates, strict=True)),
            )
        )
    return Table(head, tuple(rows))


def _costs(entry: Entry) -> tuple[float, ...]:
    variants = [next(v for v in entry.export.results["variants"] if v["name"] == "fp32"), entry.shipped]
    return (
        float(entry.train.results["num_parameters"]),
        *(variant["size_bytes"] / 1e6 for variant in variants),
        *(float(variant["latency_ms"]) for variant in variants),
    )


def _rates(entry: Entry, sets: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(entry.metrics[name][rate]) for name in sets for rate in ("accuracy", "auc"))
