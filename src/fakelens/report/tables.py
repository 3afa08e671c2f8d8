"""The tables of the report and the model cards."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import astuple

from fakelens.core.scoring import LABELS
from fakelens.core.table import Table
from fakelens.dataset.store import PreparedData
from fakelens.evaluation.calibration import calibrated
from fakelens.evaluation.metrics import GroupFigures, SetMetrics
from fakelens.evaluation.significance import compare
from fakelens.report.records import Entry

_RATES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auc")


_GROUP_WORDS = {"real": "photographs from", "fake": "fakes by"}


# Small groups' shares are mostly chance.
_SMALLEST_GROUP = 5


def sets_table(entries: Sequence[Entry], data: PreparedData) -> Table:
    """Every detector on every test set, with 95 % intervals, and what metadata alone scores."""
    head = (
        "Detector", "Set", "Pictures", "Accuracy", "Balanced accuracy", "Precision", "Recall", "F1", "AUC",
        "Calibration error before → after", "If perfectly calibrated: mean, 95 %", "Metadata alone",
    )  # fmt: skip
    null = f"{data.results.audit.random_split:.3f}"
    rows = [
        (
            e.spec.display_name, name, str(block.num_images),
            *(with_interval(block, rate) for rate in _RATES),
            " → ".join(f"{error:.3f}" for error in astuple(e.evaluated.calibration_error[name])),
            ", ".join(f"{value:.3f}" for value in block.calibration_error_by_chance), null,
        )
        for e in entries
        for name, block in e.metrics.items()
    ]  # fmt: skip
    return Table(head, tuple(rows))


def with_interval(block: SetMetrics, rate: str) -> str:
    """A figure with its 95 % interval: `0.957 (0.941–0.971)`."""
    low, high = block.intervals[rate]
    return f"{getattr(block, rate):.3f} ({low:.3f}–{high:.3f})"


def thresholds_table(entries: Sequence[Entry]) -> Table:
    """Where the lines are drawn, and what each does on every set."""
    head = (
        "Detector", "Threshold chosen for", "Lower threshold", "Upper threshold", "Set",
        "False-positive rate", "Recall", "Coverage", "Selective risk",
    )  # fmt: skip
    rows = [
        (
            e.spec.display_name, point_words(point.false_positive_rate_on_validation),
            f"{point.threshold_real:.3f}", f"{point.threshold_fake:.3f}", name,
            f"{point.false_positive_rate:.1%}", f"{point.recall:.1%}",
            f"{point.abstaining.coverage:.1%}", f"{point.abstaining.risk:.1%}",
        )
        for e in entries
        for name, block in e.metrics.items()
        for point in block.operating_points
    ]  # fmt: skip
    return Table(head, tuple(sorted(rows, key=lambda row: [e.spec.display_name for e in entries].index(row[0]))))


def point_words(rate: float | None) -> str:
    """Why a threshold stands where it stands."""
    return "around 0.5" if rate is None else f"at most {100 * rate:g} % of validation photographs above it"


def groups_table(entries: Sequence[Entry], weakest: int | None = None) -> Table:
    """Recall per generator and specificity per source of photographs, the worst first; or the `weakest` of each."""
    head = ("Detector", "Set", "Group", "Pictures", "Judged rightly (95 %)")
    rows = []
    for e in entries:
        for name, block in e.metrics.items():
            for label, word in enumerate(LABELS):
                groups = [group for group in block.groups if group.label == label]
                if weakest is not None:
                    groups = [group for group in groups if group.num_images >= _SMALLEST_GROUP][:weakest]
                rows += [(e.spec.display_name, name, *_group_cells(group, word)) for group in groups]
    return Table(head, tuple(rows))


def _group_cells(group: GroupFigures, label: str) -> tuple[str, ...]:
    low, high = group.interval
    share = f"{group.share_right:.0%} ({low:.0%}–{high:.0%})"
    return f"{_GROUP_WORDS[label]} {group.name}", str(group.num_images), share


def comparisons_table(entries: Sequence[Entry]) -> Table:
    """McNemar's and DeLong's tests between every two detectors, on every set that both scored."""
    head = (
        "First", "Second", "Set", "Only first right", "Only second right", "McNemar p",
        "AUC difference (95 %)", "DeLong p",
    )  # fmt: skip
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
    low, high = comparison.auc_interval
    return (
        str(comparison.only_first_right), str(comparison.only_second_right), p_words(comparison.mcnemar_p),
        f"{comparison.auc_difference:+.3f} ({low:+.3f} to {high:+.3f})", p_words(comparison.delong_p),
    )  # fmt: skip


def p_words(p: float) -> str:
    """A p-value to two digits."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def robustness_table(entries: Sequence[Entry]) -> Table:
    """Each degradation's cost, a column for each detector that has a sweep."""
    swept = [e for e in entries if e.robustness]
    head = ("Degradation", "Step", *(f"{e.spec.display_name}: {_ROBUSTNESS_WORDS}" for e in swept))
    rows = [
        (
            steps[0].family,
            steps[0].label,
            *(f"{s.auc:.3f} / {s.balanced_accuracy:.3f} / {s.flips:.0%} / {s.false_positive_rate:.0%}" for s in steps),
        )
        for steps in zip(*(e.robustness for e in swept), strict=True)
    ]
    return Table(head, tuple(rows))


_ROBUSTNESS_WORDS = "AUC / balanced accuracy / verdicts flipped / photographs called AI-generated"


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
    splits = "; ".join(f"{name}: {n['real']} photographs, {n['fake']} fakes" for name, n in results.splits.items())
    rows = [
        ("Source", results.description),
        ("Revision", results.revision or "—"),
        ("Licence", results.licence),
        ("Seed", str(data.settings.seed)),
        (
            "Splits",
            "; ".join(f"{name}: {n['real']} photographs, {n['fake']} fakes" for name, n in results.splits.items()),
        ),
        ("Refused images, replaced by others", _counts(results.refused)),
        ("Near-duplicates kept within one split", str(results.num_near_duplicates)),
        ("Generators of the fakes", _counts(results.generators["fake"])),
        ("Origins of the photographs", _counts(results.generators["real"])),
        *((f"Set {name}", f"{s.description}, n={s.num_images}") for name, s in results.test_sets.items()),
        *((f"Leak check: {name}", audit.sentence) for name, audit in results.audits.items()),
    ]
    return Table(("", "Data"), tuple(rows))


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
