"""Published weights through the hub's own client: a local checkpoint in the hub's format, trained in two phases."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from fakelens.core.artifacts import load_record
from fakelens.detectors.network import ensure_torchvision
from fakelens.detectors.spec import DetectorSpec, discover
from fakelens.training.history import read_history

THROUGH_TIMM = [spec for spec in discover().values() if spec.weights and spec.weights.startswith("timm/")]
STEM, COMMIT = "conv_stem.weight", "a1" * 20


def put_into_cache(hub_home: Path, repository: str) -> np.ndarray:
    """Random weights of the true architecture where the hub's client keeps what it has fetched; returns the stem's."""
    ensure_torchvision()
    import timm
    from safetensors.torch import save_file

    network = timm.create_model(repository.removeprefix("timm/"), num_classes=1000)
    repo = hub_home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    described = {"architecture": repository.removeprefix("timm/").split(".")[0], "num_classes": 1000}
    pretrained = {**network.pretrained_cfg, "num_classes": 1000}
    (snapshot / "config.json").write_text(json.dumps({**described, "pretrained_cfg": pretrained}))
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return np.asarray(network.state_dict()[STEM])


@pytest.mark.slow
@pytest.mark.parametrize("spec", THROUGH_TIMM, ids=lambda spec: spec.name)
def test_the_recipe_trains_from_published_weights_in_two_phases(
    finished_run: Path, tmp_path: Path, spec: DetectorSpec
) -> None:
    assert spec.weights is not None
    stem = put_into_cache(tmp_path / "hf", spec.weights)
    (tmp_path / "data").symlink_to(finished_run / "data")
    own = f"detectors.{spec.name}"
    options = {"train.tiny": "false", "train.max_epochs": "3", f"{own}.pretrained": "true", f"{own}.head_epochs": "1"}
    command = [sys.executable, "-m", "fakelens", "train", spec.name, "--recipe", "smoke", "--workdir", str(tmp_path)]
    result = subprocess.run(
        [*command, *(word for key, value in options.items() for word in ("--set", f"{key}={value}"))],
        capture_output=True, text=True, timeout=200,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert load_record(tmp_path / spec.name / "train.json").results["pretrained"] == spec.weights
    assert [row.phase for row in read_history(tmp_path / spec.name / "history.csv")] == ["head", "all", "all"]
    with safe_open(tmp_path / spec.name / "best.safetensors", framework="pt") as file:
        trained = file.get_tensor(f"network.{STEM}").numpy()
    # Fine-tuned for a step or two at most: still the published stem, which no fresh start would hit.
    assert np.abs(trained - stem).max() < 0.05 * np.abs(stem).max()
