"""Skeletons of what is coming: blocks and operators that the graph format has to hold before it is settled."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from synfire.core.neuron import Neuron
from synfire.core.registry import lowerings
from synfire.core.time import State, Timed
from synfire.layers import NeuronFactory, SpikeAttention
from synfire.neurons import LIF, IntegerLIF


class AttentionBlock(nn.Module):
    """Stem convolution, spike attention with a membrane shortcut, mean over positions."""

    def __init__(self, neuron: NeuronFactory, channels: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.attention = SpikeAttention(channels, neuron, heads=2)
        self.neuron = neuron()
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x = x + self.attention(x)
        return self.head(self.neuron(x.mean((2, 3))))


class RepConv(nn.Module):
    """1x1, BN whose border is BN(0), depthwise 3x3 without padding, 1x1, BN: one dense 3x3 when merged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.outer = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(self.expand(x), (1, 1, 1, 1))
        return self.outer(self.project(self.depthwise(self.norm(padded))))


class RepConvBlock(nn.Module):
    """Residual around neuron and RepConv, then BN *before* a padded convolution."""

    def __init__(self, neuron: NeuronFactory, channels: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.neuron, self.last = neuron(), neuron()
        self.rep = RepConv(channels)
        self.before = nn.BatchNorm2d(channels)
        self.padded = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.rep(self.neuron(x))
        return self.head(self.last(self.padded(self.before(x)))).mean((2, 3))


class Chain(nn.Module):
    """Three neurons of different kinds in a row, each with its state."""

    def __init__(self, timesteps: int, levels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, 7),
            IntegerLIF(levels, timesteps, decay=0.5, normalize=False),
            nn.Linear(7, 6, bias=False),
            LIF(timesteps, decay=0.25, reset="hard"),
            nn.Linear(6, 4),
            IntegerLIF(levels, timesteps),
        )
        for weight in self.parameters():
            weight.data *= 3  # so that neurons are busy

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# A recurrent layer: spikes of the step before come back through a weight.


@torch.library.custom_op("skeleton::recurrent", mutates_args=())
def recurrent(x: Tensor, weight: Tensor, timesteps: int, decay: float) -> Tensor:
    steps = x.reshape(timesteps, -1, x.shape[-1])
    v = s = torch.zeros_like(steps[0])
    out = []
    for x_t in steps.unbind(0):
        h = decay * v + (x_t + s @ weight.T)
        s = (h >= 1).to(x.dtype)
        v = h - s
        out.append(s)
    return torch.cat(out)


@recurrent.register_fake
def _(x, weight, timesteps, decay):
    return torch.empty_like(x)


class RecurrentLIF(Neuron):
    def __init__(self, size: int, timesteps: int) -> None:
        super().__init__(timesteps)
        self.weight = nn.Parameter(torch.randn(size, size) / 2)

    def run(self, x: Tensor, state: State | None, timesteps: int) -> tuple[Tensor, State]:
        return recurrent(x, self.weight, timesteps, 0.5), {}


@lowerings.register("skeleton::recurrent.default")
def lower_recurrent(context, node):
    a = context.arguments(node)
    shape = context.shape(node)
    back = context.add(
        node, "Recurrence", [context.input(a["x"])], shape=shape, kind="count", suffix="_back"
    )
    product = context.add(
        node, "Linear", [back], shape=shape, suffix="_weight",
        weights={"weight": context.constant(a["weight"])},
    )  # fmt: skip
    total = context.add(node, "Add", [context.input(a["x"]), product], shape=shape, suffix="_sum")
    neuron = context.add(
        node, "Neuron", [total], kind="count",
        attrs={
            "kind": "integrate_fire", "levels": 1, "rounding": "floor", "reset": "soft", "reset_value": 0.0,
            "input_gain": 1.0, "decay_input": False, "current_decay": None, "scale": 1.0,
        },
        weights={"decay": np.asarray(a["decay"], context.dtype), "threshold": np.ones((), context.dtype)},
    )  # fmt: skip
    context.nodes[back].inputs = (neuron,)
    return neuron


# A sparse convolution over points whose geometry is fixed: gather, product, scatter.


@torch.library.custom_op("skeleton::sparse_conv", mutates_args=())
def sparse_conv(x: Tensor, weight: Tensor, pairs: Tensor, rows: int) -> Tensor:
    out = x.new_zeros((x.shape[0], rows, weight.shape[2]))
    for offset, source, target in pairs.tolist():
        out[:, target] += x[:, source] @ weight[offset]
    return out


@sparse_conv.register_fake
def _(x, weight, pairs, rows):
    return x.new_empty((x.shape[0], rows, weight.shape[2]))


@lowerings.register("skeleton::sparse_conv.default")
def lower_sparse_conv(context, node):
    a = context.arguments(node)
    weights = {"weight": context.constant(a["weight"]), "pairs": context.constant(a["pairs"])}
    return context.add(node, "SparseConv", [context.input(a["x"])], weights=weights)


class SparseNet(nn.Module):
    """Two sparse convolutions on points in a row (neighbours at -1, 0, +1) with a neuron between."""

    def __init__(self, neuron: NeuronFactory, points: int = 5) -> None:
        super().__init__()
        pairs = [
            (k, i, i + k - 1) for k in range(3) for i in range(points) if 0 <= i + k - 1 < points
        ]
        self.register_buffer("pairs", torch.tensor(pairs))
        self.first = nn.Parameter(torch.randn(3, 2, 4))
        self.second = nn.Parameter(torch.randn(3, 4, 3))
        self.neuron, self.last = neuron(), neuron()
        self.points = points

    def forward(self, x: Tensor) -> Tensor:
        x = sparse_conv(x, self.first, self.pairs, self.points)
        x = sparse_conv(self.neuron(x), self.second, self.pairs, self.points)
        return self.last(x.mean(1))


# A linear-attention step: the matrix state runs along time.


@torch.library.custom_op("skeleton::linear_attention", mutates_args=())
def linear_attention(q: Tensor, k: Tensor, v: Tensor, decay: float, timesteps: int) -> Tensor:
    def unfold(x: Tensor) -> Tensor:
        return x.reshape(timesteps, -1, *x.shape[1:])

    state, out = None, []
    for q_t, k_t, v_t in zip(unfold(q), unfold(k), unfold(v), strict=True):
        write = k_t.transpose(-1, -2) @ v_t
        state = write if state is None else decay * state + write
        out.append(q_t @ state)
    return torch.cat(out)


@linear_attention.register_fake
def _(q, k, v, decay, timesteps):
    return q.new_empty((*q.shape[:-1], v.shape[-1]))


@lowerings.register("skeleton::linear_attention.default")
def lower_linear_attention(context, node):
    a = context.arguments(node)
    attrs = {"kind": "linear_attention", "decay": float(a["decay"])}
    return context.add(
        node, "Scan", [context.input(a[key]) for key in "qkv"], attrs=attrs, kind="real"
    )


class LinearAttentionNet(Timed):
    """Tokens are timesteps: neuron, q k v, the recurrence, a gate, neuron."""

    def __init__(self, timesteps: int, size: int = 6) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.neuron = IntegerLIF(4, timesteps, decay=0.0)
        self.q, self.k, self.v, self.gate = (nn.Linear(size, size) for _ in range(4))
        self.last = IntegerLIF(4, timesteps, decay=0.0)
        for weight in self.parameters():
            weight.data *= 3  # so that neurons are busy

    def forward(self, x: Tensor) -> Tensor:
        a = self.neuron(x).unsqueeze(1)
        mixed = linear_attention(self.q(a), self.k(a), self.v(a), 0.5, self.timesteps)
        return self.last((mixed * self.gate(a).sigmoid()).squeeze(1))
