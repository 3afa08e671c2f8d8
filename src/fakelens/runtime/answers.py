"""Answers in; a table of them and the audit records of verdicts, where a user wants them, out."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from fakelens.core.artifacts import write_bytes
from fakelens.core.errors import FakelensError
from fakelens.core.outputs import check_folder, check_table
from fakelens.core.table import csv_bytes
from fakelens.runtime.audit_record import write_audit_records
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import COLUMNS, Answer, Judgement


def check_outputs(csv: Path | None, report: Path | None) -> None:
    """Refuse a table or a folder of audit records that cannot be written, before any work is done for it.

    Raises:
        FakelensError: naming the place and the remedy.
    """
    if report:
        check_folder(report, "--report")
    if csv and report and csv.resolve() == report.resolve():
        raise FakelensError(f"--csv and --report are both {csv}: one is a file, the other a folder, name two places")
    if csv:
        check_table(csv, "--csv", answers_csv(()))


def write_outputs(answers: Sequence[Answer], bundle: Bundle, csv: Path | None, report: Path | None) -> None:
    """Write the table, and the audit record of each verdict, where they are asked for."""
    if report:
        write_audit_records(report, [one for one in answers if isinstance(one, Judgement)], bundle)
    if csv:
        write_bytes(csv.resolve(), answers_csv(answers))  # a link stays one


def answers_csv(answers: Iterable[Answer]) -> bytes:
    """A CSV file of all answers; a refused file is a row with its reason."""
    rows = (answer.as_dict() for answer in answers)
    return csv_bytes(
        COLUMNS,
        (
            list((row | {"cautions": " ".join(row["cautions"]), "marks": "; ".join(row["marks"])}).values())
            for row in rows
        ),
    )


def answers_json(answers: Iterable[Answer]) -> bytes:
    """A JSON array of all answers."""
    rows = [answer.as_dict() for answer in answers]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode(errors="backslashreplace")
