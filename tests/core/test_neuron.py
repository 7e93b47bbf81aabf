"""The neuron protocol."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError
from synfire.core.neuron import Neuron, named_neurons
from synfire.neurons import LIF


class Doubling(Neuron):
    """The least that a neuron must be: v = 2 v + x, emits x."""

    def run(self, x, state, timesteps):
        v = None if state is None else state["v"]
        for x_t in x.reshape(timesteps, -1, *x.shape[1:]):
            v = x_t if v is None else 2 * v + x_t
        return x, {"v": v}


def test_a_subclass_runs_folded_and_streamed():
    net = synfire.TimeFolded(nn.Sequential(Doubling()), timesteps=3, readout="none").eval()
    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(net(x), x)
    stream = synfire.Stream(net)
    assert torch.equal(torch.stack([stream(x_t) for x_t in x]), x)
    assert stream.state["net.0", 0]["v"].tolist() == [(0 * 2 + 2) * 2 + 4, (1 * 2 + 3) * 2 + 5]


def test_the_base_is_abstract():
    with pytest.raises(NotImplementedError):
        Neuron()(torch.rand(1))


@pytest.mark.parametrize("name", ["timesteps", "levels"])
@pytest.mark.parametrize("value", [0, -2, 1.5, True, "3"])
def test_timesteps_and_levels_are_positive_ints(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be an int of at least 1, got {value!r}"):
        Neuron(**{name: value})


def test_named_neurons_come_once_each_in_order():
    shared = LIF()
    net = nn.Sequential(nn.Linear(2, 2), shared, nn.Sequential(LIF(), shared))
    assert [path for path, _ in named_neurons(net)] == ["1", "2.0"]
    assert named_neurons(net)[0][1] is shared
