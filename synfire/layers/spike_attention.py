"""Spike attention in linear order, q (k^T v), as one operator that a graph keeps whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.core.registry import lowerings
from synfire.layers.activation import NeuronFactory


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
    grad = grad * ctx.scale
    memory = k.transpose(-1, -2) @ v
    grad_memory = q.transpose(-1, -2) @ grad
    return grad @ memory.transpose(-1, -2), v @ grad_memory.transpose(-1, -2), k @ grad_memory, None


spike_attention.register_autograd(_backward, setup_context=_setup)


@lowerings.register("synfire::spike_attention.default")
def _lower(context: Any, node: Any) -> str:
    a = context.arguments(node)
    inputs = [context.input(a[key]) for key in "qkv"]
    name: str = context.add(node, "SpikeAttention", inputs, attrs={"scale": float(a["scale"])})
    return name


class SpikeAttention(nn.Module):
    """Multi-head spike attention on potentials [T*B, N, C]: neuron, q k v, neurons, attention, neuron, projection.

    BatchNorm follows each product; all shortcuts are left to the caller. The scale is 2 / sqrt(C / heads).

    Args:
        channels: C, a multiple of ``heads``.
        neuron: factory of the five neurons.
        heads: number of heads.

    Source: "Spike-driven Transformer V3", base attention without value expansion.

    Example:
        >>> from synfire.layers import spike_activation
        >>> SpikeAttention(8, spike_activation("spike", 4, 1), heads=2)(torch.rand(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, neuron: NeuronFactory, heads: int = 8) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"channels must be a multiple of heads={heads}, got {channels}.")
        self.heads = heads
        self.scale = 2 / (channels // heads) ** 0.5
        self.neuron = neuron()
        self.q, self.k, self.v, self.project = (_TokenNorm(channels) for _ in range(4))
        self.q_neuron, self.k_neuron, self.v_neuron, self.z_neuron = (neuron() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        a = self.neuron(x)
        q = self._split(self.q_neuron(self.q(a)))
        k = self._split(self.k_neuron(self.k(a)))
        v = self._split(self.v_neuron(self.v(a)))
        z = spike_attention(q, k, v, self.scale)
        joined = self.z_neuron(z.transpose(1, 2).flatten(2))
        out: Tensor = self.project(joined)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class _TokenNorm(nn.Module):
    """Linear without bias and BatchNorm over tokens: [B, N, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2)
        return out
