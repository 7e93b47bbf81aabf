"""The membrane shortcut: potentials are added before the neuron, never spikes."""

from __future__ import annotations

from torch import Tensor, nn

from synfire.layers.activation import NeuronFactory
from synfire.layers.conv_norm import ConvNorm
from synfire.layers.norm_neuron import SpikingSequential


class SpikingResidual(nn.Module):
    """x + BN(conv(neuron(BN(conv(neuron(x)))))) on potentials [T*B, C, H, W].

    Args:
        channels: C of input and output.
        neuron: factory of the two neurons.
        expansion: width of the middle, as a multiple of C.

    Example:
        >>> import torch
        >>> from synfire.layers import spike_activation
        >>> SpikingResidual(4, spike_activation("spike", 4, 1))(torch.rand(2, 4, 5, 5)).shape
        torch.Size([2, 4, 5, 5])
    """

    def __init__(self, channels: int, neuron: NeuronFactory, expansion: int = 1) -> None:
        super().__init__()
        middle = channels * expansion
        self.body = SpikingSequential(
            neuron(), ConvNorm(channels, middle), neuron(), ConvNorm(middle, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out
