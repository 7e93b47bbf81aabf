"""Small graphs written by hand, and counts by plain loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from synfire.export.graph import Edge, Node, SpikeGraph


def source(shape: tuple[int, ...], levels: int = 0, encoder: dict[str, Any] | None = None) -> Node:
    """Counts 0..levels, or analog values."""
    edge = Edge("count", high=float(levels)) if levels else Edge("real")
    return Node("x", "Source", (), shape, edge, attrs={"encoder": encoder})


def neuron(
    name: str,
    sender: str,
    shape: tuple[int, ...],
    levels: int = 4,
    decay: float = 1.0,
    **attrs: Any,
) -> Node:
    constants = {
        "kind": "integer_lif",
        "levels": levels,
        "rounding": "half_up",
        "reset": "soft",
        "reset_value": 0.0,
        "input_gain": 1.0,
        "decay_input": False,
        "current_decay": None,
    }
    weights = {"decay": np.array(decay, np.float32), "threshold": np.array(1.0, np.float32)}
    edge = Edge("count", high=float(levels))
    return Node(name, "Neuron", (sender,), shape, edge, name, constants | attrs, weights)


def conv(
    name: str,
    sender: str,
    weight: np.ndarray,
    in_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...] | None = None,
    groups: int = 1,
) -> Node:
    dilation = dilation or (1,) * len(stride)
    out = tuple(
        (size + sum(pad) - (kernel - 1) * step - 1) // move + 1
        for size, pad, kernel, step, move in zip(
            in_size, padding, weight.shape[2:], dilation, stride, strict=True
        )
    )
    attrs = {
        "stride": list(stride),
        "padding": [list(pad) for pad in padding],
        "dilation": list(dilation),
        "groups": groups,
    }
    shape = (weight.shape[0], *out)
    weights = {"weight": weight.astype(np.float32)}
    return Node(name, "Conv", (sender,), shape, Edge("potential"), name, attrs, weights)


def linear(name: str, sender: str, weight: np.ndarray, bias: bool = False) -> Node:
    weights = {"weight": weight.astype(np.float32)}
    if bias:
        weights["bias"] = np.zeros(len(weight), np.float32)
    shape = (weight.shape[0],)
    return Node(name, "Linear", (sender,), shape, Edge("potential"), name, {}, weights)


def closed(nodes: list[Node], timesteps: int = 1) -> SpikeGraph:
    """The nodes with readout and Sink behind them."""
    last = nodes[-1]
    mean = Node(
        "mean", "TimeMean", (last.name,), last.shape, Edge("potential"), attrs={"kind": "mean"}
    )
    sink = Node("out", "Sink", ("mean",), last.shape, Edge("potential"), attrs={"scale": 1.0})
    return SpikeGraph([*nodes, mean, sink], timesteps)


def loop_operations(node: Node, counts: np.ndarray) -> tuple[int, int, int]:
    """Messages, unit spikes and positions of one sample [C, ...] that reach an output."""
    weight, attrs = node.weights["weight"], node.attrs
    per_group = weight.shape[0] // attrs["groups"]
    messages = units = dense = 0
    for out_channel, *place in itertools.product(*map(range, node.shape)):
        for channel, *tap in itertools.product(*map(range, weight.shape[1:])):
            position = [
                o * move + k * step - pad[0]
                for o, move, k, step, pad in zip(
                    place, attrs["stride"], tap, attrs["dilation"], attrs["padding"], strict=True
                )
            ]
            if not all(0 <= p < n for p, n in zip(position, counts.shape[1:], strict=True)):
                continue
            dense += 1
            if weight[(out_channel, channel, *tap)] == 0:
                continue
            value = counts[(out_channel // per_group * weight.shape[1] + channel, *position)]
            messages += int(value != 0)
            units += int(value)
    return messages, units, dense
