"""Spike attention in linear order, q (k^T v), as one operator that a graph keeps whole."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.core.registry import lowerings
from synfire.layers.activation import NeuronFactory
from synfire.layers.conv_norm import ConvNorm
from synfire.layers.norm_neuron import SpikingSequential


@torch.library.custom_op("synfire::spike_attention", mutates_args=())
def spike_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """q (k^T v) * scale over the last two axes: q, k [..., N, d], v [..., N, e] to [..., N, e].

    There is no softmax, so the order is free; this one is linear in N, and with integer counts k^T v is an integer
    matrix of at most N D^2. A chip accumulates it first and then streams q against it; products slot by slot do not
    add up to it.

    Source: "Spike-driven Transformer V2/V3", attention with q (k^T v).
    """
    return (q @ (k.transpose(-1, -2) @ v)) * scale


@spike_attention.register_fake
def _(q, k, v, scale):  # type: ignore[no-untyped-def]
    return q.new_empty((*q.shape[:-1], v.shape[-1]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    q, k, v = ctx.saved_tensors
    # the scale meets the small matrices [d, e], not the maps
    memory = (k.transpose(-1, -2) @ v) * ctx.scale
    grad_memory = (q.transpose(-1, -2) @ grad) * ctx.scale
    return grad @ memory.transpose(-1, -2), v @ grad_memory.transpose(-1, -2), k @ grad_memory, None


spike_attention.register_autograd(_backward, setup_context=_setup)


@lowerings.register("synfire::spike_attention.default")
def _lower(context: Any, node: Any) -> str:
    a = context.arguments(node)
    inputs = [context.input(a[key]) for key in "qkv"]
    name: str = context.add(node, "SpikeAttention", inputs, attrs={"scale": float(a["scale"])})
    return name


class SpikeAttention(nn.Module):
    """Multi-head spike attention on maps of potentials [T*B, C, H, W]: neuron; q, k, v, neurons; attention, neuron;
    projection.

        a = SN(x);  q = SN(Wq a),  k = SN(Wk a),  v = SN(Wv a)
        y = Wp SN(q (k^T v) * scale)

    over N = H W tokens, each head on its own channels. The products end in BatchNorm; the shortcut is left to the
    caller. Maps stay maps, so nets in channels-last memory keep it.

    Args:
        channels: C, a multiple of ``heads``.
        neuron: factory of the neurons.
        heads: number of heads.
        value_expansion: channels of v, as a multiple of C.
        scale: of the products; 2 / sqrt(C / heads) by default.
        product: what multiplies: a function of input and output channels; 1x1 convolution and BatchNorm by default.
        attention_neuron: factory of the neuron after the attention, where it differs.

    Sources: "Spike-driven Transformer V3" (base: value expansion 4; large: scale 1/8, RepConv products),
    "Spike-driven Transformer V2" (scale 1/8, RepConv products, threshold 1/2 after the attention).

    Example:
        >>> from synfire.layers import spike_activation
        >>> SpikeAttention(8, spike_activation("spike", 4, 1), heads=2)(torch.rand(2, 8, 5, 3)).shape
        torch.Size([2, 8, 5, 3])
    """

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        heads: int = 8,
        value_expansion: int = 1,
        scale: float | None = None,
        product: Callable[[int, int], nn.Module] | None = None,
        attention_neuron: NeuronFactory | None = None,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"channels must be a multiple of heads={heads}, got {channels}.")
        make = product or _pointwise
        values = channels * value_expansion
        self.heads = heads
        self.scale = 2 / (channels // heads) ** 0.5 if scale is None else scale
        self.neuron = neuron()
        self.q = _branch(make(channels, channels), neuron())
        self.k = _branch(make(channels, channels), neuron())
        self.v = _branch(make(channels, values), neuron())
        self.attention_neuron = (attention_neuron or neuron)()
        self.project = make(values, channels)

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.neuron(x)
        q, k, v = (self._split(branch(spikes)) for branch in (self.q, self.k, self.v))
        z = _maps(spike_attention(q, k, v, self.scale), x.shape[-2:])
        out: Tensor = self.project(self.attention_neuron(z))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """Maps [B, C, H, W] as tokens of heads [B, heads, N, C / heads], a view."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, scale={self.scale:.6g}"


def _pointwise(inputs: int, outputs: int) -> nn.Module:
    return ConvNorm(inputs, outputs, 1)


def _branch(product: nn.Module, neuron: nn.Module) -> SpikingSequential:
    return SpikingSequential(OrderedDict(product=product, neuron=neuron))


def _maps(z: Tensor, size: torch.Size) -> Tensor:
    """Tokens of heads [B, heads, N, e] as maps [B, heads * e, H, W] in channels-last memory: one copy."""
    return z.transpose(1, 2).flatten(2).transpose(1, 2).unflatten(2, tuple(size))
