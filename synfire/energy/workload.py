"""What a net does per sample, as work to be priced, when one graph is run in one of four ways.

``serialised``: a count goes out as that many unit spikes, each adds a weight. ``graded``: a count
is one message and multiplies. ``quantised``: the non-spiking net whose activations are the counts
summed over time; zeros are skipped. ``dense``: that net with nothing skipped, each output gathered
in a register.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from synfire.energy.counting import SYNAPTIC, Counts
from synfire.energy.messages import Message
from synfire.energy.records import Operation
from synfire.export.graph import Node

NETS = ("serialised", "graded", "quantised", "dense")
FULL = 0
"""Bits of a factor that is as wide as the weights."""

Amount = Any
"""A number, or one number per sample [S]."""


@dataclass(frozen=True)
class LayerWork:
    """Synapses of one layer.

    Attributes:
        events: messages or values that are read; ``operations``: synapses that are worked on.
        payload: bits of a value beside its address; ``factor``: bits that the weight is multiplied
            by (1: it is added alone; FULL: an analog or real value).
        scattered: events look up their targets and read and write their membranes; otherwise each
            output is gathered over ``passes``.
        biases: how often the bias is added to each output.
    """

    node: Node
    inputs: int
    events: Amount
    operations: Amount
    payload: int
    factor: int
    scattered: bool
    passes: Amount
    biases: int


@dataclass(frozen=True)
class NeuronWork:
    """A population: comparisons, leaks, resets, messages; ``kept``: state outlives the step."""

    node: Node
    updates: int
    leaks: int
    resets: Amount
    sent: Amount
    payload: int
    kept: bool


@dataclass(frozen=True)
class Workload:
    """All of it. ``addressed``: messages carry their address, as zeros are not sent."""

    net: str
    layers: list[LayerWork]
    neurons: list[NeuronWork]
    additions: int
    multiplications: int
    addressed: bool


def workload(counts: Counts, net: str, frames: str, operations: list[Operation]) -> Workload:
    """The work of ``counts`` done the way of ``net``."""
    spiking = net in ("serialised", "graded")
    share = 1 if spiking else counts.timesteps
    priced = [operation for operation in operations if operation.priced]
    names = [node.name for node in counts.graph if node.op in (*SYNAPTIC, "SpikeAttention")]
    return Workload(
        net,
        [_layer(counts, counts.graph[name], net, frames) for name in names],
        [_neurons(counts, node, net) for node in counts.graph.neurons()],
        sum(operation.additions for operation in priced) // share,
        sum(operation.multiplications for operation in priced) // share,
        net != "dense",
    )


def _layer(counts: Counts, node: Node, net: str, frames: str) -> LayerWork:
    sent, tally, dense = (
        counts.messages[node.name],
        counts.tallies[node.name],
        counts.dense[node.name],
    )
    inputs = sum(counts.graph[name].size for name in node.inputs)
    spiking = net in ("serialised", "graded")
    biases = (counts.timesteps if spiking else 1) if "bias" in node.weights else 0
    if not sent.counted:
        passes = tally[frames if spiking else "distinct_frames"]
        return LayerWork(
            node, inputs, passes * inputs, passes * dense, FULL, FULL, False, passes, biases
        )
    if net == "dense":
        bits = factor_bits(sent, counts.timesteps)
        return LayerWork(node, inputs, inputs, dense, bits, bits, False, 1, biases)
    events, operations, payload, factor = _events(sent, net, counts.timesteps)
    return LayerWork(
        node, inputs, tally[events], tally[operations], payload, factor, True, 0, biases
    )


def _events(sent: Message, net: str, timesteps: int) -> tuple[str, str, int, int]:
    """Figures that count events and operations, payload bits, factor bits."""
    if net == "quantised":
        return (
            "quantised_events",
            "quantised_macs",
            sent.payload_bits(timesteps),
            factor_bits(sent, timesteps),
        )
    if net == "graded":
        return "events", "sop_msg", sent.payload_bits(), factor_bits(sent, 1)
    return "spikes", "sop_unit", 0, 1


def factor_bits(sent: Message, timesteps: int) -> int:
    """Bits of a count; 1 means that the weight is added, without a multiplication."""
    return max(1, sent.payload_bits(timesteps))


def _neurons(counts: Counts, node: Node, net: str) -> NeuronWork:
    sent, tally = counts.messages[node.name], counts.tallies[node.name]
    if net in ("quantised", "dense"):
        payload = sent.payload_bits(counts.timesteps)
        if net == "dense":
            return NeuronWork(node, node.size, 0, 0, node.size, max(1, payload), False)
        return NeuronWork(node, node.size, 0, 0, tally["quantised_events"], payload, False)
    kept = counts.timesteps > 1
    updates = node.size * counts.timesteps
    messages = tally["spikes" if net == "serialised" else "events"]
    return NeuronWork(
        node,
        updates,
        updates * _leaks(node) if kept else 0,
        messages if _resets(node, net, sent, kept) else 0,
        messages,
        0 if net == "serialised" else sent.payload_bits(),
        kept,
    )


def _resets(node: Node, net: str, sent: Message, kept: bool) -> bool:
    """Whether a message lowers the membrane: between slots, or for the next timestep."""
    if net == "serialised" and sent.levels > 1:
        return True
    return kept and node.attrs.get("reset") != "none"


def _leaks(node: Node) -> int:
    """Multiplications of one update: a decay other than 1 of the membrane, one of the current."""
    decay = node.weights.get("decay")
    leaky = decay is not None and bool((decay != 1.0).any())
    return int(leaky) + int(node.attrs.get("current_decay") is not None)


def other_operations(counts: Counts) -> list[Operation]:
    """What runs beside synapses and neurons, priced or listed."""
    return [
        _operation(counts, node)
        for node in counts.graph
        if node.op in (*_PRICED, *_UNPRICED, "Pool") or node.attrs.get("kind") == "step"
    ]


_PRICED = {
    "Add": "one addition an element, into the membrane that reads the sum",
    "TimeMean": "the readout adds the output of each timestep",
    "Scale": "a multiply-accumulate an element: a norm that was not folded",
    "Gate": "a multiplication an element",
    "MatMul": "dense multiply-accumulates of two real tensors",
    "Scan": "dense multiply-accumulates of a real recurrence",
}

_UNPRICED = {
    "sum Pool": "left out, as in published counts; each summed count reaches the next layer",
    "avg Pool": "additions, left out as in published counts",
    "max Pool": "comparisons, left out as in published counts",
    "Activation": "an elementary function, for which the table has no figure",
    "Norm": "mean, variance and root, for which the table has no figure",
    "Softmax": "exponentials and a division, for which the table has no figure",
    "Delay": "memory that holds earlier values",
    "Recurrence": "memory that holds the value of the step before",
}

_USER_STEP = "the arithmetic inside a user's own step function is not known"


def _operation(counts: Counts, node: Node) -> Operation:
    steps, elements = counts.timesteps, node.size * counts.timesteps
    if node.op in _PRICED:
        adds, multiplies = _arithmetic(counts, node)
        return Operation(
            node.name,
            node.path,
            node.op,
            elements,
            adds * steps,
            multiplies * steps,
            True,
            _PRICED[node.op],
        )
    cells = math.prod(node.attrs["kernel"]) if node.op == "Pool" else 1
    label = f"{node.attrs['kind']} {node.op}" if node.op in ("Pool", "Activation") else node.op
    reason = _UNPRICED.get(label, _UNPRICED.get(node.op, _USER_STEP))
    return Operation(node.name, node.path, label, elements * cells, 0, 0, False, reason)


def _arithmetic(counts: Counts, node: Node) -> tuple[int, int]:
    """Additions and multiply-accumulates of one timestep."""
    operands = [counts.graph[name] for name in node.inputs]
    if node.op == "Add":
        return node.size, 0
    if node.op == "TimeMean":
        return (node.size if node.attrs["kind"] == "mean" and counts.timesteps > 1 else 0), 0
    if node.op == "MatMul":
        return 0, node.size * operands[0].shape[-1]
    if node.op == "Scan":
        q, k, v = operands
        width = v.shape[-1]
        return 0, (q.size + k.size + k.shape[-1]) * width
    return 0, node.size
