"""Peak memory of a fresh process that opens a bundle, loads all its models and judges 50 pictures: at most 200 MB.

The bundle's own copy of the code runs, without Streamlit. Pictures are 12-megapixel JPEGs, one every fifth, and small
ones; each goes to every model in turn. The peak is what the system counts as resident (VmHWM), shared libraries
included; beside it stands what is proportionally its own at the end (PSS), and what no file backs.

    python benchmarks/bundle_memory.py BUNDLE
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import report

from fakelens.export.benchmark import large_jpeg

MAX_PEAK_MB = 200
_CHILD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import judge
bundle = Bundle.open(Path(sys.argv[1]))
detectors = [bundle.detector(model.name) for model in bundle.models]
paths = sorted(Path(sys.argv[2]).iterdir())
for number in range(int(sys.argv[3])):
    judge(paths[number % len(paths)].read_bytes(), detectors[number % len(detectors)])
def kib(file):
    fields = (line.split() for line in Path(file).read_text().splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in fields if words[-1] == "kB"}
status, rollup = kib("/proc/self/status"), kib("/proc/self/smaps_rollup")
assert not {"torch", "streamlit"} & set(sys.modules)
print(json.dumps({"models": len(detectors), "peak_rss_mb": status["VmHWM"] * 1024 / 1e6,
                  "pss_mb": rollup["Pss"] * 1024 / 1e6, "anonymous_mb": rollup["Anonymous"] * 1024 / 1e6}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--predictions", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(5):
            data = large_jpeg(number) if number == 0 else large_jpeg(number, (1024, 768))
            (Path(folder) / f"{number}.jpg").write_bytes(data)
        command = [sys.executable, "-I", "-c", _CHILD, str(args.bundle.resolve()), folder, str(args.predictions)]
        child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode:
        raise SystemExit(child.stderr)
    found = json.loads(child.stdout)
    rows = [
        ("peak resident memory, MB", f"{found['peak_rss_mb']:.1f}", f"<= {MAX_PEAK_MB}"),
        ("proportional at the end, MB", f"{found['pss_mb']:.1f}", ""),
        ("anonymous at the end, MB", f"{found['anonymous_mb']:.1f}", ""),
    ]
    figures = {"predictions": args.predictions, **found}
    return report(rows, figures, found["models"] >= 3 and found["peak_rss_mb"] <= MAX_PEAK_MB)


if __name__ == "__main__":
    sys.exit(main())
