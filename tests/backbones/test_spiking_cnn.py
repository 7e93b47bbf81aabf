"""The small convolutional family: parameters, shapes, what flows where."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

import synfire
from synfire.backbones import SpikingCNN
from synfire.core.errors import FoldingError, InputError
from synfire.core.neuron import named_neurons
from synfire.encoders import Latency
from synfire.neurons import IntegerLIF


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def closed_form(widths, in_channels, num_classes):
    """3x3 convolutions without bias, two numbers a BatchNorm channel, a linear classifier."""
    total = 9 * in_channels * widths[0] + 2 * widths[0]
    for before, width in pairwise(widths):
        total += 9 * before * width + 2 * width
    total += sum(2 * (9 * w * w + 2 * w) for w in widths)
    return total + (widths[-1] + 1) * num_classes


def test_parameters_of_the_named_models():
    """The only place that knows the default widths."""
    numbers = {
        name: parameters(synfire.create_model(name, num_classes=10, in_channels=1))
        for name in synfire.list_models("spiking_cnn_*")
    }
    assert numbers == {"spiking_cnn_tiny": 84_154, "spiking_cnn_small": 121_274}


@pytest.mark.parametrize("pooling", ["stride", "avg", "max"])
@pytest.mark.parametrize("activation", ["spike", "relu"])
@pytest.mark.parametrize("widths", [(4,), (4, 6), (5, 3, 8, 2)])
def test_parameters_in_closed_form(widths, activation, pooling):
    net = SpikingCNN(
        num_classes=7, in_channels=3, widths=widths, activation=activation, pooling=pooling
    )
    assert parameters(net) == closed_form(widths, 3, 7)
    assert len(named_neurons(net)) == (3 * len(widths) if activation == "spike" else 0)


@pytest.mark.parametrize("pooling", ["stride", "avg", "max"])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (13, 7), (9, 4)])
def test_shapes(size, pooling):
    net = SpikingCNN(num_classes=5, in_channels=2, widths=(4, 6, 8), pooling=pooling).eval()
    for batch in (1, 3, 0):
        x = torch.rand(batch, 2, *size)
        features = net.forward_features(x)
        height, width = size
        for _ in range(2):
            if pooling == "stride":
                height, width = -(-height // 2), -(-width // 2)
            else:
                height, width = height // 2, width // 2
        assert features.shape == (batch, 8, height, width)
        assert net(x).shape == (batch, 5)


def test_every_convolution_but_the_stem_reads_spikes():
    net = SpikingCNN(levels=3, timesteps=2, widths=(4, 6), in_channels=1)
    seen: dict[str, torch.Tensor] = {}
    for path, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_pre_hook(
                lambda module, inputs, path=path: seen.update({path: inputs[0]})
            )
    net(torch.rand(3, 1, 8, 8))
    stem = seen.pop("stem.0")
    assert not torch.equal(stem * 3, (stem * 3).round())
    assert len(seen) == 3 + 2 + 1
    for path, spikes in seen.items():
        assert torch.allclose(spikes * 3, (spikes * 3).round()), path
        assert 0 <= spikes.min() <= spikes.max() <= 1, path
        assert spikes.shape[0] == 2 * 3, path


def test_potentials_are_averaged_before_the_last_neuron():
    net = SpikingCNN(widths=(4, 6)).eval()
    x = torch.rand(3, 1, 8, 8)
    pooled = net.stages(net.stem(x)).mean((2, 3))
    assert torch.equal(net(x), net.head(net.head_neuron(pooled)))


@pytest.mark.parametrize("readout", ["mean", "last", "none"])
def test_time_and_readout(readout):
    net = SpikingCNN(widths=(4, 6), timesteps=4, readout=readout).eval()
    timed = torch.rand(4, 3, 1, 8, 8)
    steps = SpikingCNN(widths=(4, 6), timesteps=4, readout="none").eval()
    steps.load_state_dict(net.state_dict())
    expected = {"none": steps(timed), "mean": steps(timed).mean(0), "last": steps(timed)[-1]}
    torch.testing.assert_close(net(timed), expected[readout])
    static = torch.rand(3, 1, 8, 8)
    assert torch.equal(net(static), net(static.expand(4, 3, 1, 8, 8)))


def test_an_encoder_of_one_s_own():
    net = SpikingCNN(widths=(4,), timesteps=3, encoder=Latency()).eval()
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(x), net(Latency()(x, 3).unflatten(0, (3, 2))))


def test_relu_net():
    net = SpikingCNN(widths=(4, 6), activation="relu").eval()
    x = torch.rand(2, 1, 8, 8)
    spiking = SpikingCNN(widths=(4, 6)).eval()
    spiking.load_state_dict(net.state_dict())
    assert net(x).shape == spiking(x).shape
    assert not torch.equal(net(x), spiking(x))


def test_options_reach_the_neurons():
    net = synfire.create_model("spiking_cnn_tiny", levels=7, timesteps=2, widths=(4,))
    neurons = [neuron for _, neuron in named_neurons(net)]
    assert all(isinstance(neuron, IntegerLIF) for neuron in neurons)
    assert {(neuron.levels, neuron.timesteps) for neuron in neurons} == {(7, 2)}
    synfire.set_timesteps(net, 5)
    assert {neuron.timesteps for neuron in neurons} == {net.timesteps} == {5}


def test_samples_stay_apart():
    """NaN in an input that no encoder has checked: the other samples do not change."""
    net = SpikingCNN(widths=(4, 6), timesteps=3, readout="none").eval()
    x = torch.rand(3, 4, 1, 8, 8)
    poisoned = x.clone()
    poisoned[1, 2, 0, 3, 3] = torch.nan
    clean, dirty = net(x), net(poisoned)
    assert torch.equal(dirty[:, [0, 1, 3]], clean[:, [0, 1, 3]])
    assert torch.equal(dirty[0, 2], clean[0, 2])
    assert bool(dirty[1:, 2].isnan().all())


def test_every_weight_learns():
    net = SpikingCNN(widths=(4, 6), timesteps=2)
    net(torch.rand(16, 1, 8, 8)).square().sum().backward()
    assert all(bool(p.grad.any()) for name, p in net.named_parameters() if p.ndim > 1)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 2, 1, 8, 8), (2, 1, 2, 1, 8, 8)])
def test_inputs_of_other_axes(shape):
    with pytest.raises(InputError, match="got shape"):
        SpikingCNN(widths=(4,), timesteps=3)(torch.rand(shape))


def test_values_that_are_no_numbers():
    x = torch.rand(2, 1, 8, 8)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="finite values"):
        SpikingCNN(widths=(4,))(x)


def test_parts_are_not_called_on_their_own_with_time():
    with pytest.raises(FoldingError, match="TimeFolded"):
        SpikingCNN(widths=(4,), timesteps=3).forward_features(torch.rand(3, 1, 8, 8))


def test_compiles_whole():
    torch._dynamo.reset()
    net = SpikingCNN(widths=(4, 6), timesteps=2).eval()
    x = torch.rand(2, 1, 8, 8)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), net(x))
