"""How many synapses a message of each input position reaches: exactly, or by the usual formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from synfire.export.graph import Node, SpikeGraph

Map = np.ndarray[Any, np.dtype[np.float64]]


def fan_out(node: Node, input_shape: tuple[int, ...], exact: bool = True) -> Map:
    """Synapses per input position, shaped like one input sample.

    The sum over positions of (number of messages) x (fan-out) is the number of synaptic operations:
    what one gets by convolving the occupancy map with ones where the weight is not 0, in one
    product.

    Args:
        node: Conv, Linear or SparseConv.
        input_shape: shape of one sample that the node reads.
        exact: count only synapses that reach an output and whose weight is not 0. Otherwise the
            interior formula ``Cout / groups * prod(kernel) / prod(stride)``, which counts too much
            at borders and ignores pruned weights.
    """
    weight = node.weights["weight"]
    if not exact:
        return np.full(input_shape, interior(node))
    return _FAN_OUTS[node.op](node, input_shape, (weight != 0).astype(np.float64))


def reachable(node: Node, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of one sample whose input is a real position, zero weights included."""
    ones = np.ones(node.weights["weight"].shape)
    return int(_FAN_OUTS[node.op](node, input_shape, ones).sum())


def mean_fan_out(graph: SpikeGraph) -> dict[str, float]:
    """Synaptic operations that one count of a neuron causes, averaged over its positions, by module path.

    A synapse counts if it reaches an output, so padding adds nothing; in spike attention each
    operand counts as if the others were dense. A neuron module that is called several times
    contributes the mean over its calls.
    """
    reached: dict[str, list[float]] = {}
    for neuron in graph.neurons():
        reached.setdefault(neuron.path, []).append(_operations_per_unit(graph, neuron))
    return {path: sum(values) / len(values) for path, values in reached.items()}


def _operations_per_unit(graph: SpikeGraph, sender: Node) -> float:
    total = 0.0
    for node in graph.consumers(sender.name):
        if node.op in _FAN_OUTS:
            total += reachable(node, sender.shape) / sender.size
        elif node.op == "SpikeAttention":
            k_width, v_width = (graph[name].shape[-1] for name in node.inputs[1:])
            meets = (v_width, v_width, k_width)  # q: a row of k^T v; k: a row of v; v: a row of k
            total += sum(
                m for m, name in zip(meets, node.inputs, strict=True) if name == sender.name
            )
        elif node.op == "Pool":
            cells = node.size * math.prod(node.attrs["kernel"]) / sender.size
            total += cells * _operations_per_unit(graph, node)
        elif node.op == "Upsample":
            total += node.size / sender.size * _operations_per_unit(graph, node)
        elif node.op in ("Reshape", "Concat", "Scale", "Delay"):
            total += _operations_per_unit(graph, node)
    return total


def interior(node: Node) -> float:
    """Fan-out of a message far from every border, pruned weights ignored."""
    shape = node.weights["weight"].shape
    if node.op == "Conv":
        outputs = shape[0] // node.attrs["groups"]
        return outputs * math.prod(shape[2:]) / math.prod(node.attrs["stride"])
    if node.op == "SparseConv":
        return float(shape[0] * shape[2])
    return float(shape[0])


def _linear(node: Node, input_shape: tuple[int, ...], present: Map) -> Map:
    return np.broadcast_to(present.sum(0), input_shape).copy()


def _conv(node: Node, input_shape: tuple[int, ...], present: Map) -> Map:
    """Separable: how often tap k of an axis meets a position does not depend on other axes."""
    groups = node.attrs["groups"]
    outputs, inputs, *kernel = present.shape
    taps = present.reshape(groups, outputs // groups, inputs, *kernel).sum(1)
    total = taps.reshape(groups * inputs, *kernel)
    for axis, size in enumerate(input_shape[1:]):
        meets = _meets(
            size,
            kernel[axis],
            node.shape[axis + 1],
            node.attrs["stride"][axis],
            node.attrs["padding"][axis][0],
            node.attrs["dilation"][axis],
        )
        total = np.moveaxis(np.tensordot(total, meets, axes=([axis + 1], [1])), -1, axis + 1)
    return total


def _meets(size: int, kernel: int, outputs: int, stride: int, pad: int, dilation: int) -> Map:
    """[size, kernel]: 1 where an output exists that sees position p through tap k."""
    position = np.arange(size)[:, None]
    start = position + pad - np.arange(kernel)[None, :] * dilation
    seen = (start >= 0) & (start % stride == 0) & (start // stride < outputs)
    return seen.astype(np.float64)


def _sparse_conv(node: Node, input_shape: tuple[int, ...], present: Map) -> Map:
    pairs = node.weights["pairs"]
    total = np.zeros(input_shape)
    np.add.at(total, pairs[:, 1], present.sum(2)[pairs[:, 0]])
    return total


_FAN_OUTS = {"Linear": _linear, "Conv": _conv, "SparseConv": _sparse_conv}
