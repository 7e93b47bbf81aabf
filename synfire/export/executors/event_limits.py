"""Which nodes the event executor can run, and why not the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from synfire.export.graph import Node, SpikeGraph

MOST_COUNT = 255  # in a byte


def why_not(node: Node, graph: SpikeGraph) -> str | None:
    """The reason why a node cannot run here, or None."""
    rule = _RULES.get(node.op)
    if rule is None:
        return "no step does this"
    if any(array.dtype == np.float64 for array in node.weights.values()):
        return "float64"
    if len(node.shape) not in (1, 3):
        return f"samples of shape {list(node.shape)}, not [K] or [C, H, W]"
    return rule(node, [graph[name] for name in node.inputs])


def _spread_over(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bool:
    """Whether an array holds one value, or one for each channel (or element of a vector)."""
    return array.size == 1 or (array.size == shape[0] and array.shape[0] == shape[0])


def _conv_problem(node: Node, inputs: list[Node]) -> str | None:
    attrs, weight = node.attrs, node.weights["weight"]
    if weight.ndim != 4 or list(attrs["dilation"]) != [1, 1]:
        return "not a 2-d convolution without dilation"
    if attrs["groups"] != 1 and (weight.shape[1] != 1 or weight.shape[0] != attrs["groups"]):
        return f"{attrs['groups']} groups"
    return "negative padding" if min(min(pair) for pair in attrs["padding"]) < 0 else None


def _neuron_problem(node: Node, inputs: list[Node]) -> str | None:
    attrs = node.attrs
    if attrs["kind"] != "integrate_fire":
        return f"a neuron of kind {attrs['kind']}"
    if attrs["current_decay"] is not None:
        return "a neuron with a leaky current"
    if attrs["levels"] > MOST_COUNT:
        return f"counts up to {attrs['levels']} do not fit a byte"
    if not all(_spread_over(node.weights[key], node.shape) for key in ("decay", "threshold")):
        return "constants of single elements"
    return None


def _add_problem(node: Node, inputs: list[Node]) -> str | None:
    return None if all(i.shape == node.shape for i in inputs) else "values of different shapes"


def _scale_problem(node: Node, inputs: list[Node]) -> str | None:
    fits = all(_spread_over(array, node.shape) for array in node.weights.values())
    return None if fits else "factors of single elements"


def _pool_problem(node: Node, inputs: list[Node]) -> str | None:
    fits = len(node.attrs["kernel"]) == 2 and len(node.shape) == 3
    return None if fits else "not over images"


def _reshape_problem(node: Node, inputs: list[Node]) -> str | None:
    if node.attrs["kind"] != "view":
        return f"kind {node.attrs['kind']}"
    to_vector = len(node.shape) == 1 or node.shape == inputs[0].shape
    return None if to_vector else "a view other than to a vector"


def _concat_problem(node: Node, inputs: list[Node]) -> str | None:
    return None if node.attrs["axis"] == 0 else "along another axis than channels"


def _no_problem(node: Node, inputs: list[Node]) -> str | None:
    return None


_RULES: dict[str, Callable[[Node, list[Node]], str | None]] = {
    "Source": _no_problem,
    "Conv": _conv_problem,
    "Linear": lambda node, inputs: None if len(node.shape) == 1 else "not of a vector",
    "Neuron": _neuron_problem,
    "Add": _add_problem,
    "Scale": _scale_problem,
    "Pool": _pool_problem,
    "Reshape": _reshape_problem,
    "Concat": _concat_problem,
    "TimeMean": _no_problem,
    "Sink": _no_problem,
}
