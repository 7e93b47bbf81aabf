import pytest
import torch
from torch import nn

from synfire.core.errors import ConfigError
from synfire.training import Optimiser, Schedule
from synfire.training.optimisers import Average


def test_norms_and_biases_are_not_decayed() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    groups = Optimiser(weight_decay=0.3).build(net).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.3), (3, 0.0)]


def test_frozen_parameters_are_left_out() -> None:
    net = nn.Linear(2, 2)
    net.weight.requires_grad_(False)
    groups = Optimiser(name="sgd").build(net).param_groups
    assert [p.shape for g in groups for p in g["params"]] == [torch.Size([2])]
    assert groups[0]["nesterov"]


def test_schedule_warms_up_and_ends_at_its_final_share() -> None:
    net = nn.Linear(1, 1)
    optimiser = Optimiser(lr=1.0).build(net)
    schedule = Schedule(warmup=1.0, final=0.1).build(optimiser, epochs=3, steps_per_epoch=4)
    rates = []
    for _ in range(13):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.1)


def test_bad_values() -> None:
    with pytest.raises(ConfigError, match="adamw, sgd or lamb, got 'lion'"):
        Optimiser(name="lion")
    with pytest.raises(ConfigError, match="above 0"):
        Optimiser(lr=0)
    for words, message in (
        ({"layer_decay": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"clip": -1.0}, "must not be negative"),
    ):
        with pytest.raises(ConfigError, match=message):
            Optimiser(**words)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="set one of"):
        Schedule(final=0.1, min_lr=1e-6)
    with pytest.raises(ConfigError, match="needs an average"):
        Average(evaluate=True)


def test_the_rate_grows_with_the_batch() -> None:
    optimiser = Optimiser(lr=6e-4, base_batch=256).build(nn.Linear(2, 2), batch_size=2048)
    assert [group["lr"] for group in optimiser.param_groups] == [pytest.approx(4.8e-3)] * 2
    schedule = Schedule(warmup=2, start=0.25, min_lr=1.2e-3).build(optimiser, 4, 2)
    rates = []
    for _ in range(9):
        rates.append(schedule.get_last_lr()[0] / 4.8e-3)
        optimiser.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.4375, 0.625, 0.8125, 1.0])
    assert rates[-1] == pytest.approx(0.25)


class Layered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def parameter_layers(self) -> dict[str, int]:
        order = ("stem", "block", "head")
        return {name: order.index(name.split(".")[0]) for name, _ in self.named_parameters()}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb"])
def test_lower_layers_learn_more_slowly(name: str) -> None:
    groups = Optimiser(name=name, lr=1.0, layer_decay=0.75).build(Layered()).param_groups
    found = [(group["lr"], group["weight_decay"]) for group in groups]
    assert found == [(rate, decay) for rate in (0.5625, 0.75, 1.0) for decay in (0.05, 0.0)]


def test_layer_decay_needs_a_net_that_knows_its_layers() -> None:
    with pytest.raises(ConfigError, match="Linear does not"):
        Optimiser(layer_decay=0.5).build(nn.Linear(2, 2))
    net = Layered()
    net.parameter_layers = lambda: {"stem.weight": 0}  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"does not name 'stem.bias'"):
        Optimiser(layer_decay=0.5).build(net)
