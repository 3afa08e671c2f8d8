from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fakelens.dataset.loader import EpochSampler
from fakelens.detectors.checkpoint import build_network
from fakelens.detectors.spec import discover
from fakelens.settings import DetectorSettings
from fakelens.training.callbacks import EarlyStop
from fakelens.training.phases import Phase, learning_rate_factor, plan_phases, set_modes


def test_two_phases_with_pretrained_weights() -> None:
    head, everything = plan_phases(DetectorSettings(pretrained=True, head_epochs=5, epochs=12))
    assert (head.name, head.head_only, head.first_epoch, head.num_epochs) == ("head", True, 0, 5)
    assert (everything.name, everything.head_only, everything.first_epoch, everything.num_epochs) == (
        "all",
        False,
        5,
        12,
    )


def test_one_phase_from_scratch() -> None:
    (phase,) = plan_phases(DetectorSettings(pretrained=False, head_epochs=5, epochs=12))
    assert (phase.name, phase.first_epoch, phase.num_epochs) == ("all", 0, 12)


@given(st.booleans(), st.integers(0, 9), st.integers(1, 20), st.integers(1, 40))
def test_a_cap_bounds_the_sum_and_leaves_the_whole_network_an_epoch(
    pretrained: bool, head: int, everything: int, cap: int
) -> None:
    phases = plan_phases(DetectorSettings(pretrained=pretrained, head_epochs=head, epochs=everything), cap)
    assert sum(phase.num_epochs for phase in phases) <= cap
    assert phases[-1].name == "all"
    assert all(phase.num_epochs >= 1 for phase in phases)


@pytest.mark.parametrize("scheduler", ["cosine", "constant"])
def test_the_learning_rate_warms_up_to_its_peak(scheduler: str) -> None:
    phase = Phase("all", False, 0, 10, 1e-3, warmup_fraction=0.1)
    factors = [learning_rate_factor(step, 100, phase, scheduler) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert max(factors) == 1.0
    assert factors[-1] == pytest.approx(1.0 if scheduler == "constant" else 0.01, abs=2e-3)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_phase_two_has_epochs_of_its_own() -> None:
    """Its pictures are augmented and ordered as in none of phase 1's epochs."""
    orders = []
    for phase in plan_phases(DetectorSettings(pretrained=True, head_epochs=2, epochs=2)):
        sampler = EpochSampler(50, 0, shuffle=True, first_epoch=phase.first_epoch)
        for epoch in range(phase.num_epochs):
            if epoch:  # workers ask for the first epoch's pictures before the engine says which one it is
                sampler.set_epoch(epoch)
            orders.append(tuple(sampler))
    assert [order[0][0] for order in orders] == [0, 1, 2, 3]
    assert len({tuple(index for _, index in order) for order in orders}) == 4


@pytest.mark.parametrize("name", [spec.name for spec in discover().values() if spec.weights])
def test_dropout_before_the_head_is_on_in_phase_one_and_the_backbone_rests(name: str) -> None:
    spec = discover()[name]
    settings = spec.defaults.model_copy(update={"dropout": 0.5, "input_px": 64})
    network = build_network(spec, settings, tiny=True, pretrained=False)
    set_modes(network, spec.head_prefix, Phase("head", True, 0, 1, 1e-3, 0.0))
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_()
        images = torch.rand(4, 3, 64, 64)
        assert not torch.equal(network(images), network(images))  # two draws of the dropout
        network.eval()
        assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("losses", "min_epochs", "last"),
    [
        ([3, 2, 2, 2, 1], 1, 4),
        ([3, 2, 2, 2, 2, 2], 5, 5),
        ([3, 2, 2, 2, 1, 0], 5, 6),
        ([3, 2, 2, 2, 2, 1, 1, 1, 1], 6, 8),  # what falls again by then goes on
        ([3, 2, 1], 9, 3),
    ],
)
def test_early_stopping_waits_for_the_least_number_of_epochs(losses: list[float], min_epochs: int, last: int) -> None:
    stop = EarlyStop(DetectorSettings(patience=2, min_epochs=min_epochs))
    trainer: Any = MagicMock(fast_dev_run=False, sanity_checking=False, should_stop=False)
    trainer.val_check_interval, trainer.check_val_every_n_epoch, trainer.state.fn = 1.0, 1, "fit"
    trainer.strategy.reduce_boolean_decision = lambda decision, **_: decision
    stop.setup(trainer, MagicMock(), "fit")
    for epoch, loss in enumerate(losses):
        trainer.current_epoch, trainer.callback_metrics = epoch, {"val_loss": torch.tensor(float(loss))}
        stop.on_train_epoch_end(trainer, MagicMock())
        if trainer.should_stop:
            break
    assert epoch + 1 == last
