"""Conv-norm, residual and the factory of activations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synfire.core.errors import ConfigError
from synfire.core.neuron import named_neurons
from synfire.layers import ConvNorm, SpikingResidual, spike_activation
from synfire.neurons import IntegerLIF


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (5, 1), (7, 2)])
def test_conv_norm_sizes(kernel, stride, size):
    layer = ConvNorm(2, 4, kernel=kernel, stride=stride)
    out = layer.eval()(torch.rand(3, 2, *size))
    assert out.shape == (3, 4, *(-(-s // stride) for s in size))


def test_conv_norm_parts():
    layer = ConvNorm(4, 8, groups=2)
    assert [type(part) for part in layer] == [nn.Conv2d, nn.BatchNorm2d]
    assert layer[0].bias is None
    assert sum(p.numel() for p in layer.parameters()) == 8 * 2 * 9 + 16


@pytest.mark.parametrize("expansion", [1, 3])
def test_residual_adds_potentials_and_sends_counts(expansion):
    block = SpikingResidual(4, spike_activation("spike", 4, 1), expansion).eval()
    fed = []
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs: fed.append(inputs[0]))
    x = torch.randn(2, 4, 5, 5) * 3
    out = block(x)
    torch.testing.assert_close(out - x, block.body(x))
    assert [t.shape[1] for t in fed[:2]] == [4, 4 * expansion]
    for spikes in fed:
        assert torch.equal(spikes * 4, (spikes * 4).round())
        assert 0 <= spikes.min() <= spikes.max() <= 1
    assert not torch.equal(x * 4, (x * 4).round())
    convolutions = 4 * 4 * expansion * 9 * 2
    assert sum(p.numel() for p in block.parameters()) == convolutions + 8 * expansion + 8


def test_residual_passes_the_gradient_by():
    block = SpikingResidual(2, spike_activation("spike", 4, 1)).eval()
    x = torch.full((1, 2, 3, 3), -5.0, requires_grad=True)  # outside of every window
    block(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_factory_makes_a_new_neuron_each_time():
    make = spike_activation("spike", levels=3, timesteps=2)
    first, second = make(), make()
    assert first is not second
    assert isinstance(first, IntegerLIF)
    assert (first.levels, first.timesteps) == (3, 2)


def test_relu_nets_have_no_neurons():
    block = SpikingResidual(2, spike_activation("relu", 4, 1))
    assert named_neurons(block) == []
    assert sum(isinstance(module, nn.ReLU) for module in block.modules()) == 2
    with pytest.raises(ConfigError, match="a ReLU net has no time: timesteps must be 1, got 3"):
        spike_activation("relu", 4, 3)
    with pytest.raises(ConfigError, match="activation must be spike or relu, got 'gelu'"):
        spike_activation("gelu", 4, 1)
