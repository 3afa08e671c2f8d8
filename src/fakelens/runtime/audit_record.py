"""Audit record of a verdict: what an editor keeps of it, as JSON and as a page that can be printed."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path, PurePath
from string import Template
from typing import TYPE_CHECKING, Any

from fakelens import __version__
from fakelens.core.artifacts import write_json, write_text
from fakelens.core.scoring import VERDICT_WORDS, capital, percent, probability_words
from fakelens.runtime.cautions import DEMO
from fakelens.runtime.judgement import Judgement

if TYPE_CHECKING:
    from fakelens.runtime.bundle import Bundle

_MAX_STEM = 60
_NO_PROOF = (
    "A verdict is a statistical guess and no proof. That a file carries no mark of its origin proves nothing. Do not "
    "accuse anybody on the strength of it."
)
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
.verdict { font-size: 1.2rem; font-weight: 600; margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-top: 1px solid #8884; }
th { width: 30%; font-weight: 600; }
td { overflow-wrap: anywhere; }
p.note { font-size: .9rem; border-left: 3px solid #b8860b; padding-left: .8rem; }
@media print { body { padding: 0; color: #000; background: #fff; } }
</style>
</head>
<body>
<h1>$title</h1>
<p class="verdict">$verdict</p>
<table>
$rows
</table>
<p class="note">$note</p>
</body>
</html>
""")


def audit_record(judgement: Judgement, bundle: "Bundle", time: datetime) -> dict[str, Any]:
    """Everything that the verdict rests on, as plain values; `time` is when it was made."""
    model = bundle.model(judgement.detector)
    return {
        "record": "fakelens verdict",
        "fakelens": __version__,
        "time": time.astimezone(UTC).isoformat(timespec="seconds"),
        "file": {"name": judgement.name, "sha256": judgement.sha256, **asdict(judgement.container)},
        "detector": {
            "name": model.name,
            "display_name": model.display_name,
            "sha256": judgement.detector_sha256,
            "variant": model.variant,
            "is_demo": bundle.demo,
            "trained_on": bundle.info.data.description,
        },
        "thresholds": asdict(judgement.threshold),
        "probability": judgement.probability,
        "verdict": str(judgement.verdict),
        "sentence": judgement.sentence,
        "cautions": [caution.words for caution in judgement.cautions],
        "marks": [mark.words for mark in judgement.marks],
        "note": _NO_PROOF,
    }


def write_audit_records(folder: Path, judgements: Sequence[Judgement], bundle: "Bundle") -> list[Path]:
    """Write a JSON file and a page for each judgement; returns the pages. A name that is there already is left alone.

    A file is called after the picture, its hash and the time, so that a later verdict stands beside an earlier one.
    """
    time = datetime.now(UTC)
    pages = []
    for judgement in judgements:
        record = audit_record(judgement, bundle, time)
        page = _free_name(folder, judgement, time)
        write_json(page.with_suffix(".json"), record)
        write_text(page, _page(record))
        pages.append(page)
    return pages


def _free_name(folder: Path, judgement: Judgement, time: datetime) -> Path:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in PurePath(judgement.name).stem)
    stem = f"{plain[:_MAX_STEM]}-{judgement.sha256[:12]}-{judgement.detector}-{time:%Y%m%dT%H%M%SZ}"
    number, page = 1, folder / f"{stem}.html"
    while page.exists() or page.with_suffix(".json").exists():
        number += 1
        page = folder / f"{stem}-{number}.html"
    return page


def _page(record: dict[str, Any]) -> str:
    file, detector, thresholds = record["file"], record["detector"], record["thresholds"]
    rows = {
        "File": file["name"],
        "SHA-256 of the file": file["sha256"],
        "Picture": f"{file['format']}, {file['width_px']} × {file['height_px']} px, {file['num_bytes']:,} bytes",
        "Judged at": record["time"],
        "Probability of being AI-generated": probability_words(record["probability"]),
        "Lower threshold": f"{percent(thresholds['real'])}: below it a photograph",
        "Upper threshold": f"{percent(thresholds['fake'])}: from it on AI-generated",
        "Marks found in the file": "; ".join(record["marks"]) or "none",
        "Cautions": " ".join(record["cautions"]) or "none",
        "Detector": f"{detector['display_name']}, {detector['variant']}",
        "SHA-256 of the detector": detector["sha256"],
        "Trained on": detector["trained_on"],
        "fakelens": record["fakelens"],
    }
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows.items())
    demo = f"{DEMO.words} " if detector["is_demo"] else ""
    return _PAGE.substitute(
        title=html.escape(f"Verdict on {PurePath(file['name']).name}"),
        verdict=html.escape(f"{demo}{capital(VERDICT_WORDS[record['verdict']])}. {record['sentence']}"),
        rows="\n".join(cells),
        note=html.escape(record["note"]),
    )
