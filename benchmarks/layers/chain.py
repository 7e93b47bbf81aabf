"""Chains of convolution, BatchNorm and neuron, the same weights in all, with the neurons of several libraries."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.harness import same_counts, same_values
from benchmarks.peers import Net
from synfire import TimeFolded
from synfire.layers import fuse_norms

Layer = Callable[[], nn.Module]


class OnFrames(nn.Module):
    """A neuron of [T, B, ...] between folded tensors [T*B, ...], as the other libraries wrap convolutions."""

    def __init__(self, neuron: Net, timesteps: int) -> None:
        super().__init__()
        self.neuron, self.timesteps = neuron, timesteps

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(x.unflatten(0, (self.timesteps, -1))).flatten(0, 1)


def chain(neuron: Layer, layers: int, channels: int) -> nn.Sequential:
    """``layers`` times convolution 3x3, BatchNorm and neuron on folded tensors; always the same weights."""
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for _ in range(layers):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        modules += [conv, nn.BatchNorm2d(channels), neuron()]
    return nn.Sequential(*modules)


def ours(neuron: Layer, timesteps: int, layers: int, channels: int) -> nn.Module:
    """The chain as a net of synfire on [T, B, ...], every BatchNorm one operator with its neuron."""
    net = fuse_norms(chain(neuron, layers, channels))
    return TimeFolded(net, timesteps=timesteps, readout="none")


def theirs(neuron: Callable[[], Net], timesteps: int, layers: int, channels: int) -> nn.Module:
    """The chain with another library's neurons, on [T, B, ...]."""
    return OnFolded(chain(lambda: OnFrames(neuron(), timesteps), layers, channels))


class OnFolded(nn.Module):
    """[T, B, ...] through a net of folded tensors and back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x.flatten(0, 1))
        return out.unflatten(0, (x.shape[0], -1))


def first_weight(net: nn.Module) -> Tensor:
    """The parameter whose gradient has gone the whole way back."""
    return next(net.parameters())


def training_step(
    net: nn.Module, x: Tensor, grad: Tensor | None = None, autocast: torch.dtype | None = None
) -> Callable[[], None]:
    """Forward, in ``autocast`` if given, and backward with cleared gradients; no optimiser.

    Without ``grad`` the output's gradient is made in the step, so that it counts in no memory but the step's.
    """

    def step() -> None:
        net.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, autocast, enabled=autocast is not None):
            out = net(x)
        out.backward(torch.ones_like(out) if grad is None else grad.to(out.dtype))

    return step


def check(
    name: str,
    net: nn.Module,
    expected: nn.Module,
    x: Tensor,
    grad: Tensor,
    share: float,
    autocast: torch.dtype | None = None,
) -> None:
    """Refuse a net whose counts or first weight gradient differ by more than a ``share`` of flipped spikes explains."""
    results = []
    for each in (net, expected):
        training_step(each, x, grad, autocast)()
        with (
            torch.no_grad(),
            torch.autocast(x.device.type, autocast, enabled=autocast is not None),
        ):
            results.append((each(x), first_weight(each).grad))
        each.zero_grad(set_to_none=True)
    (counts, gradient), (expected_counts, expected_gradient) = results
    same_counts(name, counts, expected_counts, share)
    same_values(name, gradient, expected_gradient, error=2 * share**0.5)
