"""Multiply-accumulates of the non-spiking net of the same shape: what papers print as GMACs."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

from synfire.core.errors import InputError
from synfire.export.graph import Node, SpikeGraph


@dataclass(frozen=True)
class DenseLayer:
    """One product: ``macs`` of one sample at one timestep, in linear order q (k^T v) for attention, whose ``quadratic``
    holds those of (q k^T) v."""

    path: str
    kind: str
    macs: int
    quadratic: int = 0


@dataclass(frozen=True)
class DenseMacs:
    """What :func:`dense_macs` found; ``str`` gives a table.

    Attributes:
        layers: in the order of execution.
    """

    layers: tuple[DenseLayer, ...]

    @property
    def weights(self) -> int:
        """MACs of all products with weights, the first among them."""
        return sum(layer.macs for layer in self.layers if layer.kind != "attention")

    @property
    def first(self) -> int:
        """MACs of the first product, which reads the input."""
        return self.layers[0].macs

    @property
    def attention(self) -> int:
        """MACs of attention in linear order, q (k^T v)."""
        return sum(layer.macs for layer in self.layers if layer.kind == "attention")

    @property
    def attention_quadratic(self) -> int:
        """MACs of attention in quadratic order, (q k^T) v."""
        return sum(layer.quadratic for layer in self.layers)

    def __str__(self) -> str:
        width = max(len("layer"), *(len(layer.path) for layer in self.layers))
        lines = [f"{'layer':<{width}}  kind       {'MMAC':>12}"]
        lines += [
            f"{layer.path:<{width}}  {layer.kind:<9}  {layer.macs / 1e6:>12.4f}"
            for layer in self.layers
        ]
        lines.append(
            f"weights {self.weights / 1e9:.4g} G (first product {self.first / 1e6:.4g} M); attention "
            f"q (k^T v) {self.attention / 1e9:.3g} G, (q k^T) v {self.attention_quadratic / 1e9:.3g} G"
        )
        return "\n".join(lines)


def dense_macs(net: Any, example: Any = None) -> DenseMacs:
    """Multiply-accumulates of one sample at one timestep, layer by layer.

    The usual formula: a convolution costs its weights times its output positions, padded borders counted in full, as
    published figures have it (:func:`synfire.energy.profile` leaves out what reaches no output). BatchNorm, biases,
    pooling, shortcuts and neurons cost nothing. Only shapes are computed, so 224 pixels take no time.

    Args:
        net: a module of torch, counted as it stands (RepConv chains are merged in a graph, or by
            :func:`synfire.layers.merge_rep_convs`), or a SpikeGraph.
        example: for a module: an input as the net takes it; only its shape matters, and it may be on the meta device.

    Raises:
        InputError: a module without an example, or no product in it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> found = dense_macs(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)), torch.rand(1, 3, 4, 4))
        >>> found.weights, found.first
        (3712, 3456)
    """
    if isinstance(net, SpikeGraph):
        layers = [_of_node(net, node) for node in net if node.op in _OF_NODE]
    elif example is None:
        raise InputError("dense_macs of a module takes an example input, whose shape matters.")
    else:
        calls = importlib.import_module(
            "synfire.energy.dense_calls"
        )  # graphs are counted without torch
        layers = calls.products(net, example)
    if not layers:
        raise InputError("expected a net with convolutions or linear layers, got none.")
    return DenseMacs(tuple(layers))


def _of_node(graph: SpikeGraph, node: Node) -> DenseLayer:
    if node.op == "SpikeAttention":
        q, _, v = (graph[name].shape for name in node.inputs)
        return attention_layer(node.path, q, v)
    weight = node.weights["weight"]
    if node.op == "SparseConv":
        pairs = node.weights["pairs"].shape[0]
        return DenseLayer(node.path, "conv", pairs * weight[0].size)
    positions = math.prod(node.shape[1:] if node.op == "Conv" else node.shape[:-1])
    return DenseLayer(node.path, node.op.lower(), weight.size * positions)


_OF_NODE = ("Conv", "Linear", "SparseConv", "SpikeAttention")


def attention_layer(path: str, q: tuple[int, ...], v: tuple[int, ...]) -> DenseLayer:
    """Both orders of attention: q [..., N, d], v [..., N, e]."""
    *heads, tokens, width = q
    pairs = math.prod(heads) * tokens
    return DenseLayer(
        path, "attention", 2 * pairs * width * v[-1], pairs * tokens * (width + v[-1])
    )
