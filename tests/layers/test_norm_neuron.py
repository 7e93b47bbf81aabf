"""Fused BatchNorm and neuron: the module, the Sequential, and what they leave as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import synfire
from synfire.layers import ConvNorm, NormNeuron, SpikingSequential, fuse_norms
from synfire.neurons import LIF, CubaLIF, IntegerLIF, ParametricLIF


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2


def pair(norm, neuron, timesteps):
    """The same modules as a fused layer and one after the other, folded."""
    fused = NormNeuron(norm, neuron)
    plain = copy.deepcopy(nn.Sequential(norm, neuron))
    return [synfire.TimeFolded(net, timesteps, readout="none") for net in (fused, plain)]


@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}]
)
@pytest.mark.parametrize("neuron", [IntegerLIF(4, 2, decay=0.5), LIF(2, reset="hard"), CubaLIF(2)])
def test_trains_and_evaluates_like_the_two_modules(neuron, options):
    norm = nn.BatchNorm2d(5, **options)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2.0)
    fused, plain = pair(norm, neuron, 2)
    for mode in (True, True, False):
        fused.train(mode), plain.train(mode)
        x = [images(2, 6, 5, 7, 3).requires_grad_() for _ in range(2)]
        outs = [net(value) for net, value in zip((fused, plain), x, strict=True)]
        for out in outs:
            (out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
        assert (outs[0] != outs[1]).float().mean() < 2e-3  # flips of rounding
        torch.testing.assert_close(x[0].grad, x[1].grad, rtol=1e-3, atol=1e-3)
        states = [dict(net.state_dict()) for net in (fused, plain)]
        for mine, expected in zip(*(state.values() for state in states), strict=True):
            torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.BatchNorm2d(5), ParametricLIF(2)),
        lambda: (nn.SyncBatchNorm(5), LIF(2)),
        lambda: (nn.GroupNorm(1, 5), LIF(2)),
        lambda: (nn.BatchNorm2d(5).double(), LIF(2)),
        lambda: (nn.BatchNorm2d(5), nn.ReLU()),
    ],
)
def test_what_is_not_fused_runs_as_two_modules(make):
    norm, neuron = make()
    fused, plain = (net.eval() for net in pair(norm, neuron, 2))
    x = images(2, 6, 5, 7, 3)
    x = x.double() if getattr(norm, "weight", x).dtype == torch.float64 else x
    assert torch.equal(fused(x), plain(x))


def test_hooks_of_the_two_modules_are_called():
    norm, neuron, seen = nn.BatchNorm2d(5), IntegerLIF(4), []
    for module in (norm, neuron):
        module.register_forward_hook(lambda module, given, out: seen.append(type(module)))
    NormNeuron(norm, neuron)(images(6, 5, 7, 3))
    assert seen == [nn.BatchNorm2d, IntegerLIF]


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        ConvNorm(3, 8), IntegerLIF(4, 2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), LIF(2),
        nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)), nn.Flatten(),
    )  # fmt: skip


def test_a_sequential_fuses_neighbours_and_keeps_its_names():
    plain = chain()
    fused = fuse_norms(copy.deepcopy(plain))
    assert isinstance(fused, SpikingSequential)
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in fused.named_modules()] == [
        name for name, _ in plain.named_modules()
    ]
    x = images(2, 4, 3, 8, 8)
    outs = [synfire.TimeFolded(net, 2, readout="none")(x) for net in (fused, plain)]
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-3, atol=1e-3)
    calls = []
    with torch.profiler.profile() as profile:
        synfire.TimeFolded(fused, 2)(x)
    calls = [event.key for event in profile.key_averages()]
    assert "NormIntegrateFire" in calls and "IntegrateFire" not in calls


def test_fuse_norms_reaches_into_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = chain()

        def forward(self, x):
            return self.body(x)

    net = Net()
    assert fuse_norms(net) is net and isinstance(net.body, SpikingSequential)


def test_streams_and_traces_like_before():
    net = synfire.create_model("spiking_cnn_tiny", num_classes=3, timesteps=2).double().eval()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    stream = synfire.Stream(net)
    torch.testing.assert_close(torch.stack([stream(x) for _ in range(2)]).mean(0), net(x))
    assert synfire.verify(net.float(), x.float()).exact


def test_compiles_without_a_break():
    net = synfire.TimeFolded(fuse_norms(chain()), 2, readout="none")
    x = images(2, 4, 3, 8, 8)
    expected = copy.deepcopy(net)(x)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    out = compiled(x)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters() if p.ndim == 4)
