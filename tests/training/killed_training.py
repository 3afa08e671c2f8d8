"""Trains in two phases again and again, each time killed at another fsync or rename, and goes on; not a test itself.

`python killed_training.py DATA SCRATCH EPOCHS WORKERS:STEP…` prints, as JSON, for each number of loader workers how
many such moments there are with so many epochs a phase, and for every STEP-th of them what the training that was killed
there and went on ended with.
"""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fakelens.detectors.spec import discover
from fakelens.recipes import RECIPES, training_settings
from fakelens.training import stage as module
from fakelens.training.phases import Phase
from reading import read_history

SPEC = next(iter(discover().values()))


def count(kill_at: int) -> list[int]:
    """Count fsyncs and renames from here on, and die at one of them, before it is done."""
    moments = [0]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            moments[0] += 1
            if moments[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    os.fsync, os.replace, os.rename = counted(os.fsync), counted(os.replace), counted(os.rename)
    return moments


def trained(workdir: Path, workers: int, kill_at: int) -> dict[str, Any]:
    """One training in a process of its own; empty if it was killed."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        moments = count(kill_at)
        recipe = RECIPES["smoke"]
        engine = recipe.train.model_copy(update={"num_workers": workers, "num_threads": 1})
        record = module.train(workdir, SPEC, training_settings(SPEC, recipe), engine, seed=0)
        folder = workdir / SPEC.name
        history = [{**row.__dict__, "seconds": 0} for row in read_history(folder / "history.csv")]
        outcome = {
            "moments": moments[0],
            "weights": hashlib.sha256((folder / "best.safetensors").read_bytes()).hexdigest(),
            "history": history,
            "best": record.results["best"]["epoch"],
            "files": sorted(path.name for path in folder.iterdir()),
        }
        os.write(writer, json.dumps(outcome).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return json.loads(text) if status == 0 else {}


def tried(data: Path, scratch: Path, workers: int, step: int) -> dict[str, Any]:
    """The undisturbed training, and those that were killed."""

    def folder(name: str) -> Path:
        place = scratch / f"{workers}-{name}"
        place.mkdir()
        (place / "data").symlink_to(data)
        return place

    expected = trained(folder("undisturbed"), workers, 0)
    outcomes = {}
    for moment in range(1, expected["moments"] + 1, step):
        place = folder(str(moment))
        assert trained(place, workers, moment) == {}, moment
        outcomes[moment] = trained(place, workers, 0)
    return {"expected": expected, "outcomes": outcomes}


def main(data: Path, scratch: Path, epochs: int, *tries: str) -> None:
    torch.set_num_threads(1)  # a process that has computed in several threads cannot be forked
    # Imported once for all children.
    import fakelens.training.callbacks
    import fakelens.training.fit  # noqa: F401

    phases = [Phase("head", True, 0, epochs, 1e-2, 0.0), Phase("all", False, epochs, epochs, 1e-2, 0.1)]
    module.plan_phases = lambda *_: phases  # type: ignore[assignment]
    print(json.dumps([tried(data, scratch, *map(int, each.split(":"))) for each in tries]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
