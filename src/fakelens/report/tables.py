"""The tables of the report and the model cards."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from operator import itemgetter

from fakelens.core.records import Metrics
from fakelens.core.scoring import LABELS, percent
from fakelens.core.table import Table
from fakelens.dataset.audit import Evidence
from fakelens.dataset.splits import TEST
from fakelens.dataset.store import PreparedData
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.metrics import GroupFigures, PointFigures, SetMetrics, wilson_interval
from fakelens.evaluation.significance import Comparison, compare
from fakelens.report.records import Entry

_RATE_WORDS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "auc": "AUC",
}
# What scores without looking at content, beside which every figure must be read.
_NULLS: dict[Evidence, str] = {
    "container": "Files' metadata alone (no pixels)",
    "pixels": "Pixel statistics alone (no content)",
}
_GROUP_WORDS = {"real": "photographs from", "fake": "fakes by"}
# Small groups' shares are mostly chance.
SMALLEST_GROUP = 5
"""Pictures that a group must have to be called weak."""


def summary_table(entries: Sequence[Entry]) -> Table:
    """Shipped files: accuracy, AUC, size and time of each."""
    head = ("Detector", "Accuracy", "AUC", "Ships as", "MB", "ms a picture")
    rows = [
        (
            e.spec.display_name, f"{v.metrics.accuracy:.3f} ({low:.3f}–{high:.3f})", f"{v.metrics.auc:.3f}",
            v.name, f"{v.size_bytes / 1e6:.2f}", f"{v.latency_ms:.1f}",
        )
        for e in entries
        for v in [e.shipped]
        for low, high in [wilson_interval(round(v.metrics.accuracy * v.num_images), v.num_images)]
    ]  # fmt: skip
    return Table(head, tuple(rows))


def comparison_table(data: PreparedData, entries: Sequence[Entry]) -> Table:
    """Comparison of the detectors, a column each, the best in bold; and of what scores without looking at content."""
    own = (TEST, *data.results.test_sets)
    named = [name for name in entries[0].named_sets if all(name in e.named_sets for e in entries)]
    sets = {name: [e.sets[name] for e in entries] for name in (*own, *named)}
    shipped = [e.shipped for e in entries]
    figures: dict[str, list[tuple[str, float]]] = {
        **{_RATE_WORDS[rate]: _higher(sets[TEST], rate) for rate in ("accuracy", "precision", "recall", "f1", "auc")},
        **{
            f"{_RATE_WORDS[rate]} on {name}": _higher(blocks, rate)
            for name, blocks in sets.items()
            if name != TEST
            for rate in ("accuracy", "auc")
        },
        "Accuracy as shipped": _higher([variant.metrics for variant in shipped], "accuracy"),
        "The same on validation": _higher([variant.val.metrics for variant in shipped], "accuracy"),
        "ONNX size (MB)": [(f"{variant.size_bytes / 1e6:.2f}", -variant.size_bytes) for variant in shipped],
        "Time per picture (ms)": [(f"{variant.latency_ms:.1f}", -variant.latency_ms) for variant in shipped],
    }
    audits = [data.results.audits[evidence].random_split for evidence in _NULLS]
    rows, best = [("Start", *(e.start for e in entries), *("—" for _ in audits))], set()
    for name, cells in figures.items():
        nulls = (f"{null:.3f} (balanced)" if name == "Accuracy" else "—" for null in audits)
        if len({words for words, _ in cells}) > 1:
            top, _ = max(cells, key=itemgetter(1))  # who reads two equal figures wants both marked
            best |= {(len(rows), 1 + i) for i, (words, _) in enumerate(cells) if words == top}
        rows.append((name, *(words for words, _ in cells), *nulls))
    rows.append(("Ships as", *(e.exported.ships for e in entries), *("—" for _ in audits)))
    rows.append(("Parameters", *(f"{e.trained.num_parameters:,}" for e in entries), *("—" for _ in audits)))
    head = ("Detector", *(e.spec.display_name for e in entries), *_NULLS.values())
    return Table(head, tuple(rows), frozenset(best))


def _higher(blocks: Sequence[Metrics], rate: str) -> list[tuple[str, float]]:
    """Cells of a rate, each with what it is ranked by."""
    return [(f"{getattr(block, rate):.3f}", getattr(block, rate)) for block in blocks]


def sets_table(entries: Sequence[Entry]) -> Table:
    """Every detector on every test set, with 95 % intervals."""
    head = ("Detector", "Set", "Pictures", *_RATE_WORDS.values())
    rows = [
        (e.spec.display_name, name, str(block.num_images), *(with_interval(block, rate) for rate in _RATE_WORDS))
        for e in entries
        for name, block in e.sets.items()
    ]
    return Table(head, tuple(rows))


def calibration_table(entries: Sequence[Entry]) -> Table:
    """Expected calibration error of every set, beside that of a perfectly calibrated detector by chance."""
    head = ("Detector", "Set", "Uncalibrated", "Calibrated", "By chance: mean", "By chance: 95th percentile")
    rows = [
        (
            e.spec.display_name, name,
            *(f"{error:.3f}" for error in astuple(e.evaluated.calibration_error[name])),
            *(f"{value:.3f}" for value in block.calibration_error_by_chance),
        )
        for e in entries
        for name, block in e.metrics.items()
    ]  # fmt: skip
    return Table(head, tuple(rows))


def with_interval(block: SetMetrics, rate: str) -> str:
    """A figure with its 95 % interval: `0.957 (0.941–0.971)`; alone where no resample differs: no certainty."""
    low, high = block.intervals[rate]
    return f"{getattr(block, rate):.3f}" + (f" ({low:.3f}–{high:.3f})" if low < high else "")


def thresholds_table(entries: Sequence[Entry]) -> Table:
    """Operating points: the thresholds and their figures on every set."""
    rows = [
        (e.spec.display_name, name, *point_cells(point))
        for e in entries
        for name, block in e.sets.items()
        for point in block.operating_points
    ]
    return Table(("Detector", "Set", *POINT_COLUMNS), tuple(rows))


POINT_COLUMNS = (
    "Threshold chosen for", "Lower threshold", "Upper threshold", "False-positive rate", "Recall", "Coverage",
    "Selective risk",
)  # fmt: skip
"""Heads of `point_cells`."""


def point_cells(point: PointFigures) -> tuple[str, ...]:
    """One operating point, and what it does on a set."""
    rates = (point.false_positive_rate, point.recall, point.abstaining.coverage, point.abstaining.risk)
    thresholds = (f"{threshold:.3f}" for threshold in (point.threshold_real, point.threshold_fake))
    chosen = point.false_positive_rate_on_validation
    why = "around 0.5" if chosen is None else f"false-positive rate at most {100 * chosen:g} % on validation"
    return why, *thresholds, *(percent(rate, 1) for rate in rates)


def groups_table(entries: Sequence[Entry], weakest: int | None = None) -> Table:
    """Recall per generator and specificity per source of photographs, the worst first; or the `weakest` of each."""
    head = ("Detector", "Set", "Group", "Pictures", "Accuracy (95 %)")
    rows = []
    for e in entries:
        for name, block in e.sets.items():
            for label, word in enumerate(LABELS):
                groups = [group for group in block.groups if group.label == label]
                if weakest is not None:
                    large = (group for group in groups if group.num_images >= SMALLEST_GROUP)
                    groups = [group for group in large if group.share_right < 1][:weakest]
                rows += [
                    (e.spec.display_name, name, f"{_GROUP_WORDS[word]} {g.name}", str(g.num_images), share_words(g))
                    for g in groups
                ]
    return Table(head, tuple(rows))


def share_words(group: GroupFigures) -> str:
    """Share of a group's pictures that are judged rightly, with its 95 % interval: `75 % (30 %–95 %)`."""
    low, high = group.interval
    return f"{percent(group.share_right, 0)} ({percent(low, 0)}–{percent(high, 0)})"


def comparisons_table(entries: Sequence[Entry]) -> Table:
    """McNemar's and DeLong's tests between every two detectors, on every set that both scored."""
    head = ("First", "Second", "Set", *COMPARISON_COLUMNS)
    rows = []
    for first, second in itertools.combinations(entries, 2):
        for name in first.metrics.keys() & second.metrics.keys():
            rows.append((first.spec.display_name, second.spec.display_name, name, *_compared(first, second, name)))
    order = list(entries[0].metrics)
    return Table(head, tuple(sorted(rows, key=lambda row: (row[:2], order.index(row[2])))))


def _compared(first: Entry, second: Entry, name: str) -> tuple[str, ...]:
    own, other = first.scores.of(name), second.scores.of(name)
    assert list(own.key) == list(other.key)  # both scored the same prepared data
    comparison = compare(
        own.label, calibrated(own.logit, first.temperature), calibrated(other.logit, second.temperature)
    )
    return comparison_cells(comparison)


COMPARISON_COLUMNS = ("Only first right", "Only second right", "McNemar p", "AUC difference (95 %)", "DeLong p")
"""Heads of `comparison_cells`."""


def comparison_cells(comparison: Comparison) -> tuple[str, ...]:
    """McNemar's and DeLong's tests between two systems on the same pictures; differences are first minus second."""
    low, high = comparison.auc_interval
    return (
        str(comparison.only_first_right), str(comparison.only_second_right), _p_words(comparison.mcnemar_p),
        f"{_signed(comparison.auc_difference)} ({_signed(low)} to {_signed(high)})", _p_words(comparison.delong_p),
    )  # fmt: skip


def _signed(difference: float) -> str:
    """A difference to three digits, with a real minus; none where it is nothing."""
    return f"{difference:+.3f}".replace("-", "−") if abs(difference) >= 0.0005 else "0.000"


def _p_words(p: float) -> str:
    """A p-value to two digits."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def robustness_table(entries: Sequence[Entry], worst: int | None = None) -> Table:
    """Cost of each degradation, or of the `worst` that flip most verdicts; the first row is the undegraded pictures."""
    head = ("Detector", "Degradation", "Step", "AUC", "Balanced accuracy", "Verdicts flipped", "One-class control")
    rows = []
    for e in entries:
        stored, *steps = e.robustness
        if worst is not None:
            steps = sorted(steps, key=lambda step: -step.flips)[:worst]
        rows += [
            (
                e.spec.display_name, s.family, s.label, f"{s.auc:.3f}", f"{s.balanced_accuracy:.3f}",
                percent(s.flips, 0), percent(s.false_positive_rate, 0),
            )
            for s in (stored, *steps)
        ]  # fmt: skip
    return Table(head, tuple(rows))


def exports_table(entries: Sequence[Entry]) -> Table:
    """Every exported file with its figures and what the gate says."""
    head = (
        "Detector", "Variant", "Size (MB)", "Time (ms)", "Accuracy", "AUC", "Verdicts changed, test",
        "Verdicts changed, validation", "Largest difference", "Gate (validation)",
    )  # fmt: skip
    rows = [
        (
            e.spec.display_name, v.name, f"{v.size_bytes / 1e6:.2f}", f"{v.latency_ms:.1f}",
            f"{v.metrics.accuracy:.3f}", f"{v.metrics.auc:.3f}", f"{v.num_changed} of {v.num_images}",
            f"{v.val.num_changed} of {v.val.num_images}",
            f"{v.max_difference:.2g}", "passed" if v.passed else "refused: " + "; ".join(v.reasons),
        )
        for e in entries
        for v in e.exported.variants
    ]  # fmt: skip
    return Table(head, tuple(rows))


def environment_table(data: PreparedData, entries: Sequence[Entry]) -> Table:
    """Seeds, times, machine and versions."""
    rows = [("Seed of the data", str(data.settings.seed))]
    for e in entries:
        where = f"{e.trained.device}, {e.trained.num_threads} threads"
        stages = ", ".join(f"{r.stage} {r.seconds:.0f} s" for r in (e.train, e.evaluate, e.export))
        rows.append((f"{e.spec.display_name}: seed of the training", str(e.choice.seed)))
        rows.append((f"{e.spec.display_name}: stage times", f"{stages}; {e.trained.num_epochs} epochs on {where}"))
    environment = entries[-1].export.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    rows += [
        ("prepare", f"{data.record.seconds:.0f} s"),
        ("Processor", f"{environment.cpu}, {environment.num_cpus} cores"),
        ("Source revision", str(environment.revision)),
        ("Versions", f"python {environment.python}, {versions}"),
    ]
    return Table(("What", "Value"), tuple(rows))


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
    variants = [entry.exported.variant("fp32"), entry.shipped]
    return (
        float(entry.trained.num_parameters),
        *(variant.size_bytes / 1e6 for variant in variants),
        *(variant.latency_ms for variant in variants),
    )


def _rates(entry: Entry, sets: Sequence[str]) -> tuple[float, ...]:
    return tuple(value for name in sets for value in (entry.metrics[name].accuracy, entry.metrics[name].auc))


def data_table(data: PreparedData) -> Table:
    """Where the pictures come from, how many there are, and what gives their labels away."""
    results = data.results
    splits = "; ".join(f"{name}: {n.real} photographs, {n.fake} fakes" for name, n in results.splits.items())
    rows = [
        ("Source", results.description),
        ("Revision", results.revision or "—"),
        ("Licence", results.licence),
        ("Seed", str(data.settings.seed)),
        ("Splits", splits),
        ("Refused images, replaced by others", _counts(results.refused)),
        ("Near-duplicates kept within one split", str(results.num_near_duplicates)),
        ("Generators of the fakes", _counts(results.generators.fake)),
        ("Origins of the photographs", _counts(results.generators.real)),
        *((f"Set {name}", f"{s.description}, n={s.num_images}") for name, s in results.test_sets.items()),
        *((f"Leak check: {name}", audit.sentence) for name, audit in results.audits.items()),
    ]
    return Table(("What", "Value"), tuple(rows))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
