"""What was found on a folder as tables for a terminal or a page: `Against` in, `Table` out. Pure."""

from fakelens.core.scoring import LABELS
from fakelens.evaluation.against import Against, System
from fakelens.evaluation.breakdown import GroupFigures
from fakelens.evaluation.intervals import Interval
from fakelens.evaluation.metrics import Metrics
from fakelens.evaluation.tables import Table

_NONE = "—"


def main_table(found: Against) -> Table:
    """Each system's figures at 0.5, and what the files' metadata alone would score in the last row."""
    head = (
        "System", "n", "Accuracy (95 %)", "Balanced accuracy", "Precision", "Recall", "F1", "AUC (95 %)",
        "Calibration error", "False positives",
    )  # fmt: skip
    score = _NONE if found.null is None else f"{found.null.random_split:.3f}"
    null = ("metadata alone", str(found.num_images), _NONE, score, *(_NONE,) * (len(head) - 4))
    return Table(head, (*(_main_row(system) for system in found.systems), null))


def points_table(found: Against) -> Table:
    """What each system's thresholds, chosen on validation, do here."""
    head = (
        "System", "Thresholds chosen for", "Photograph below", "Fake from", "False positives", "Recall",
        "Gets a verdict", "Of those wrong",
    )  # fmt: skip
    rows = [
        (
            system.name, _wanted(point.false_positive_rate_on_validation),
            f"{point.threshold_real:.3f}", f"{point.threshold_fake:.3f}", f"{point.false_positive_rate:.3f}",
            f"{point.recall:.3f}", f"{point.abstaining.coverage:.3f}", f"{point.abstaining.risk:.3f}",
        )
        for system in found.systems
        for point in system.summary.operating_points
    ]  # fmt: skip
    return Table(head, tuple(rows))


def groups_table(found: Against, at_most: int | None = None) -> Table:
    """Share of each generator's and each origin's pictures that every system judges rightly, the weakest first."""
    head = ("Label", "Generator or origin", "n", *(f"{system.name}: right (95 %)" for system in found.systems))
    own = [{(group.label, group.name): group for group in system.summary.groups} for system in found.systems]
    weakest_first = sorted(own[0], key=lambda key: (sum(groups[key].share_right for groups in own), key))
    rows = [
        (LABELS[key[0]], key[1], str(own[0][key].num_images), *(_share(groups[key]) for groups in own))
        for key in weakest_first[:at_most]
    ]
    return Table(head, tuple(rows))


def pairs_table(found: Against) -> Table:
    """Every two systems on the same pictures; differences are first minus second."""
    head = (
        "First", "Second", "Accuracy difference", "Only first right", "Only second right", "McNemar p",
        "AUC difference (95 %)", "DeLong p",
    )  # fmt: skip
    rows = [
        (
            pair.first, pair.second, f"{c.accuracy_difference:+.3f}", str(c.only_first_right),
            str(c.only_second_right), _p(c.mcnemar_p),
            f"{c.auc_difference:+.3f} ({c.auc_interval[0]:+.3f} to {c.auc_interval[1]:+.3f})", _p(c.delong_p),
        )
        for pair, c in ((pair, pair.comparison) for pair in found.pairs)
    ]  # fmt: skip
    return Table(head, tuple(rows))


def pairs_note(found: Against) -> str:
    """How to read `pairs_table`."""
    several = f", and {len(found.pairs)} tests are made here: they are not corrected for that" * (len(found.pairs) > 1)
    return (
        "Differences are first minus second, on the same pictures. McNemar tests the verdicts at 0.5, DeLong the AUCs; "
        f"p is how often chance alone would give such a difference{several}."
    )


def _main_row(system: System) -> tuple[str, ...]:
    summary = system.summary
    metrics, intervals = summary.metrics, summary.intervals
    return (
        system.name,
        str(metrics.num_images),
        _with(metrics.accuracy, intervals["accuracy"]),
        *(f"{value:.3f}" for value in (metrics.balanced_accuracy, metrics.precision, metrics.recall, metrics.f1)),
        _with(metrics.auc, intervals["auc"]),
        f"{summary.calibration_error:.3f}",
        f"{_false_positive_rate(metrics):.3f}",
    )


def _false_positive_rate(metrics: Metrics) -> float:
    right, wrong = metrics.confusion_matrix[0]
    return wrong / (right + wrong)


def _share(group: GroupFigures) -> str:
    return _with(group.share_right, group.interval)


def _with(value: float, interval: Interval) -> str:
    return f"{value:.3f} ({interval[0]:.3f}–{interval[1]:.3f})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _wanted(rate: float | None) -> str:
    return "0.5" if rate is None else f"{100 * rate:g} % false alarms"
