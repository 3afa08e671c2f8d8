"""The demonstration's detectors on pictures of its own kind that they have not seen, at the page's default setting.

    make demo && .venv/bin/python benchmarks/demonstration.py runs/demo/bundle

The bundle's four examples and ten more of the same kind, drawn with other seeds; each should be judged rightly by at
least two of three detectors. Ends with 1 where one is not, or where the files have more than 15 MB together.
"""

import argparse
import sys
from pathlib import Path

from fakelens.core.scoring import FAKE, LABELS, REAL
from fakelens.recipes import RECIPES
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.judgement import Refusal, judge
from fakelens.sources.synthetic import example_pictures

NUM_OTHERS = 10
MAX_MB = 15.0


def main() -> int:
    """Print a line a picture; the exit status says whether all holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    own = RECIPES["demo"].data.synthetic_px
    parser.add_argument("--side-px", type=int, default=own, help="side of the pictures, data.synthetic_px of the run")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle, num_threads=1)
    size_mb = sum((arguments.bundle / model.file).stat().st_size for model in bundle.models) / 1e6
    pictures = {f"example {name}": data for name, data in example_pictures(arguments.side_px).items()}
    seed = 1
    while len(pictures) < 4 + NUM_OTHERS:
        drawn = example_pictures(arguments.side_px, seed)
        pictures |= {f"seed {seed} {name}": data for name, data in drawn.items()}
        seed += 1
    wrong = 0
    for name, data in list(pictures.items())[: 4 + NUM_OTHERS]:
        label = FAKE if "generator" in name else REAL
        answers = [judge(data, bundle.detector(model.name), name=name) for model in bundle.models]
        verdicts = ["refused" if isinstance(answer, Refusal) else answer.verdict for answer in answers]
        right = sum(verdict == LABELS[label] for verdict in verdicts)
        wrong += right < min(2, len(verdicts))
        print(f"{name}: {', '.join(verdicts)} ({right} of {len(verdicts)} right)")
    print(f"{wrong} of {4 + NUM_OTHERS} pictures judged wrongly; {size_mb:.2f} MB together, at most {MAX_MB:g} wanted")
    return int(wrong > 0 or size_mb > MAX_MB)


if __name__ == "__main__":
    sys.exit(main())
