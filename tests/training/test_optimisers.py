import pytest
import torch
from torch import nn

from synfire.core.errors import ConfigError
from synfire.training import Optimiser, Schedule


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
    with pytest.raises(ConfigError, match="adamw or sgd, got 'lion'"):
        Optimiser(name="lion")
    with pytest.raises(ConfigError, match="above 0"):
        Optimiser(lr=0)
