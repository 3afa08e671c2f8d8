"""CSV and JSON of many verdicts: complete, and harmless to whoever opens them."""

import csv
import io
import json

import pytest

from fakelens.runtime.answers import answers_csv as as_csv
from fakelens.runtime.answers import answers_json as as_json
from fakelens.runtime.judgement import Refusal


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_name_is_never_a_formula(name: str) -> None:
    text = as_csv([Refusal(name, "tiny", "bad")]).decode("utf-8-sig")
    (cells,) = csv.DictReader(io.StringIO(text, newline=""))
    assert cells["path"] == f"'{name}"


def test_both_files_have_every_row_and_its_reason() -> None:
    rows = [Refusal(name, "tiny", 'a "reason", long') for name in ("ü.png", "b.png")]
    told = list(csv.DictReader(io.StringIO(as_csv(rows).decode("utf-8-sig"))))
    assert [(cells["path"], cells["error"]) for cells in told] == [(each.name, each.error) for each in rows]
    plain = json.loads(as_json(rows))
    assert plain[0] == {
        "path": "ü.png", "detector": "tiny", "probability": None, "verdict": None, "error": 'a "reason", long',
        "cautions": [], "marks": [],
    }  # fmt: skip
