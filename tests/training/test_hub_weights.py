"""Published weights through the hub's own client: fetched, compared with the network, trained in two phases."""

import io
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from fakelens.core.errors import FakelensError
from fakelens.detectors.checkpoint import build_network
from fakelens.detectors.network import ensure_torchvision, load_published
from fakelens.detectors.spec import DetectorSpec, discover
from fakelens.recipes import load_recipe, training_settings
from fakelens.training.stage import train
from model_hub import ModelHub, ModelRepository
from reading import read_history

pytestmark = pytest.mark.usefixtures("undrawn")
PUBLISHED = [spec for spec in discover().values() if spec.weights]
NAME, FILE = "someone/weights", "model.safetensors"
THROUGH_TIMM = [spec for spec in discover().values() if spec.weights and spec.weights.startswith("timm/")]
STEM = "conv_stem.weight"


@pytest.mark.slow
@pytest.mark.parametrize("spec", THROUGH_TIMM, ids=lambda spec: spec.name)
def test_the_recipe_trains_from_published_weights_in_two_phases(
    finished_run: Path, tmp_path: Path, model_hub: ModelHub, spec: DetectorSpec
) -> None:
    """Random weights of the true architecture, as the repository would serve them."""
    ensure_torchvision()
    import timm

    assert spec.weights is not None
    published = timm.create_model(spec.weights.removeprefix("timm/"), num_classes=1000).state_dict()
    publish(model_hub, save(published), name=spec.weights)
    (tmp_path / "data").symlink_to(finished_run / "data")
    own = f"detectors.{spec.name}"
    changes = ["train.tiny=false", "train.limit_batches=1", f"{own}.pretrained=true"]
    changes += [f"{own}.head_epochs=1", f"{own}.epochs=1"]
    recipe = load_recipe("smoke", changes)
    record = train(tmp_path, spec, training_settings(spec, recipe), recipe.train, seed=0)
    assert record.results["pretrained"] == spec.weights
    assert [row.phase for row in read_history(tmp_path / spec.name / "history.csv")] == ["head", "all"]
    with safe_open(tmp_path / spec.name / "best.safetensors", framework="pt") as file:
        trained = file.get_tensor(f"network.{STEM}")
    # Fine-tuned for a step: still the published stem, which no fresh start would hit.
    assert (trained - published[STEM]).abs().max() < 0.05 * published[STEM].abs().max()


def small_network(num_classes: int = 1) -> nn.Module:
    layers = {"stem": nn.Linear(40, 40), "norm": nn.BatchNorm1d(40), "head": nn.Linear(40, num_classes)}
    return nn.Sequential(OrderedDict(layers))


def publish(hub: ModelHub, data: bytes, file: str = FILE, name: str = NAME) -> None:
    hub.models.setdefault(name, ModelRepository(private=False)).commit("main", {file: data})


def load() -> nn.Module:
    network = small_network()
    load_published(network, NAME, "head.")
    return network


@pytest.fixture
def weights(model_hub: ModelHub) -> dict[str, torch.Tensor]:
    """What the hub has: all of them, for another number of classes."""
    tensors = dict(small_network(1000).state_dict())
    publish(model_hub, save(tensors))
    return tensors


@pytest.mark.parametrize("spec", PUBLISHED, ids=[spec.name for spec in PUBLISHED])
def test_all_but_the_head_is_the_published(model_hub: ModelHub, spec: DetectorSpec) -> None:
    head = spec.head_prefix.removeprefix("network.")
    tensors = build_network(spec, spec.defaults, tiny=False, pretrained=False).network.state_dict()
    tensors |= {name: torch.zeros(1000, *tensor.shape[1:]) for name, tensor in tensors.items() if name.startswith(head)}
    assert spec.weights is not None
    publish(model_hub, save(tensors), name=spec.weights)
    built = build_network(spec, spec.defaults, tiny=False, pretrained=True).network.state_dict()
    assert {name for name, tensor in built.items() if not torch.equal(tensor, tensors[name])} == {
        name for name in tensors if name.startswith(head)
    }


@pytest.mark.parametrize("fault", ["fail_every", "cut_every"])
def test_a_hub_with_faults_gives_the_same_weights(
    model_hub: ModelHub, weights: dict[str, torch.Tensor], waited_s: list[float], fault: str
) -> None:
    setattr(model_hub, fault, 3)
    model_hub.num_struck = 1  # HEAD passes, GET does not
    assert torch.equal(load().state_dict()["stem.weight"], weights["stem.weight"])
    assert waited_s == ([0.5] if fault == "fail_every" else [])  # the client goes on by itself where a body is cut


def test_storage_that_refuses_is_asked_again_and_named(
    model_hub: ModelHub, storage: ModelHub, weights: dict[str, torch.Tensor], waited_s: list[float]
) -> None:
    model_hub.keep_files_elsewhere(storage)
    storage.num_refused = 9
    with pytest.raises(FakelensError, match=rf"{NAME} .* failed: {storage.url[7:]} answered 403 .*--no-pretrained"):
        load()
    assert waited_s == [0.5, 1, 2, 4, 8, 8, 8, 8]
    storage.num_refused = 2
    assert torch.equal(load().state_dict()["stem.weight"], weights["stem.weight"])


@pytest.mark.usefixtures("weights")
def test_a_hub_that_fails_is_named_and_does_without_where_there_is_a_copy(model_hub: ModelHub) -> None:
    model_hub.status = 503
    with pytest.raises(FakelensError, match=rf"{NAME} .* is not in the cache .*{model_hub.url[7:]} answered 503"):
        load()
    model_hub.status = 0
    load()
    model_hub.status = 503
    load()


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("status", [401, 403])
def test_gated_weights_name_the_page_and_the_token(model_hub: ModelHub, status: int) -> None:
    model_hub.status, model_hub.message = status, "GatedRepo"
    with pytest.raises(FakelensError, match=rf"accept its terms at {model_hub.url}/{NAME} and set HF_TOKEN .*same acc"):
        load()


@pytest.mark.usefixtures("weights")
def test_a_token_that_can_be_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_geheimnisträger")
    with pytest.raises(FakelensError, match=r"the token of the hub holds 'ä'.*set HF_TOKEN anew"):
        load()


@pytest.mark.parametrize(
    "damage",
    [b"", b"<html>not found</html>" * 99, b"version https://git-lfs.github.com/spec/v1\n", b"PK", b"\x80\x02"],
)
def test_a_damaged_file_is_named_and_fetched_anew_once_it_is_gone(
    weights: dict[str, torch.Tensor], tmp_path: Path, damage: bytes
) -> None:
    load()
    (blob,) = (tmp_path / "cache").rglob("blobs/*")
    blob.write_bytes(damage)
    with pytest.raises(FakelensError, match=rf"{NAME} in {re.escape(str(blob))} are damaged .*: delete the file"):
        load()
    blob.unlink()
    assert torch.equal(load().state_dict()["stem.weight"], weights["stem.weight"])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"stem.weight": None}, "stem.weight is missing"),
        ({"stem.bias": torch.zeros(3)}, r"stem.bias is \(3,\) in place of \(40,\)"),
        ({"norm.running_var": torch.full((40,), torch.nan)}, "norm.running_var has values that are no finite floats"),
        ({"norm.weight": torch.zeros(40, dtype=torch.int8)}, "norm.weight has values that are no finite floats"),
        ({"more.weight": torch.zeros(1)}, "more.weight is unknown"),
        ({"stem.weight": None, "stem.bias": None, "norm.weight": None, "norm.bias": None}, "norm.weight.* and 1 more"),
    ],
)
def test_weights_of_another_network_are_refused(
    model_hub: ModelHub, weights: dict[str, torch.Tensor], changes: dict[str, torch.Tensor | None], fault: str
) -> None:
    publish(model_hub, save({name: tensor for name, tensor in (weights | changes).items() if tensor is not None}))
    with pytest.raises(FakelensError, match=rf"{NAME} in /.*/blobs/\w+ are not this network's \(.*{fault}.*: delete"):
        load()


def test_older_files_are_read(model_hub: ModelHub, weights: dict[str, torch.Tensor]) -> None:
    """A pickle, without what torch has added since."""
    del weights["norm.num_batches_tracked"], weights["head.weight"]
    torch.save(weights, data := io.BytesIO())
    publish(model_hub, data.getvalue(), "pytorch_model.bin")
    assert torch.equal(load().state_dict()["stem.weight"], weights["stem.weight"])
