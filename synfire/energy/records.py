"""The rows of an energy report. Every figure is per sample (image), a mean over those that ran."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from synfire.energy.counting import SYNAPTIC, Counts
from synfire.export.graph import Node

PERCENTILES = (5, 95)


@dataclass(frozen=True)
class Layer:
    """Synapses: a convolution, linear layer or spike attention, and what reaches it.

    Attributes:
        message: class of its input: binary, graded, analog or real; ``levels``: largest count of
            it.
        inputs: positions of one input sample.
        events: messages that arrive (non-zero counts); ``spikes``: unit spikes (sum of counts).
        density: share of input positions and timesteps that hold a message.
        sop_msg: synapses that messages reach; ``sop_unit``: the same, weighted by the count, with
            its 5th and 95th percentile over samples.
        macs: multiply-accumulates on analog or real values.
        dense_macs: if every input and weight were there, all timesteps; ``dense_macs_published``:
            the same with padded positions, as papers count.
        quantised_macs: multiply-accumulates of the quantised net that skips zeros, one pass.
    """

    name: str
    path: str
    op: str
    shape: tuple[int, ...]
    inputs: int
    message: str
    levels: int
    parameters: int
    nonzero_weights: int
    events: float
    spikes: float
    density: float | None
    sop_msg: float
    sop_unit: float
    sop_unit_low: float
    sop_unit_high: float
    macs: float
    dense_macs: int
    dense_macs_published: int
    bias_adds: int
    quantised_events: float
    quantised_macs: float


@dataclass(frozen=True)
class Neurons:
    """A population: what it sends.

    Attributes:
        rate: mean count per neuron per real timestep, in [0, levels], with its percentiles over
            samples. It holds the levels and not the timesteps: multiply it by T once, never by D.
        nonzero: share of neurons and timesteps with a count above 0.
        updates: neuron updates, neurons x timesteps.
    """

    name: str
    path: str
    kind: str
    neurons: int
    levels: int
    events: float
    spikes: float
    rate: float
    rate_low: float
    rate_high: float
    nonzero: float
    nonzero_low: float
    nonzero_high: float
    updates: int
    quantised_events: float


@dataclass(frozen=True)
class Operation:
    """Work outside synapses and neurons, all timesteps; estimates hold it where ``priced``."""

    name: str
    path: str
    op: str
    elements: int
    additions: int
    multiplications: int
    priced: bool
    reason: str


@dataclass(frozen=True)
class Totals:
    """Sums over the rows; rates are those of all neurons together."""

    parameters: int
    neurons: int
    events: float
    spikes: float
    rate: float
    nonzero: float
    sop_msg: float
    sop_unit: float
    sop_unit_low: float
    sop_unit_high: float
    macs: float
    dense_macs: int
    dense_macs_published: int
    bias_adds: int
    updates: int
    quantised_macs: float


def percentiles(values: Any) -> tuple[float, float]:
    """The 5th and 95th percentile over samples."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)


def layer_records(counts: Counts, frames: str) -> list[Layer]:
    """One record per synaptic node; ``frames`` names what counts the passes of analog layers."""
    names = [node.name for node in counts.graph if node.op in (*SYNAPTIC, "SpikeAttention")]
    return [_layer(counts, counts.graph[name], frames) for name in names]


def _layer(counts: Counts, node: Node, frames: str) -> Layer:
    graph, steps, sent = counts.graph, counts.timesteps, counts.messages[node.name]
    tally, dense = counts.tallies[node.name], counts.dense[node.name]
    names = ("events", "spikes", "sop_msg", "sop_unit", "quantised_events", "quantised_macs")
    inputs = sum(graph[name].size for name in node.inputs)
    mean = dict.fromkeys(names, 0.0)
    low, high, macs = 0.0, 0.0, 0.0
    if sent.counted:
        mean = {name: float(tally[name].mean()) for name in names}
        low, high = percentiles(tally["sop_unit"])
    else:
        macs = float((tally[frames] * dense).mean())
        mean["quantised_macs"] = float((tally["distinct_frames"] * dense).mean())
    weight = node.weights.get("weight", np.zeros(0))
    bias = node.weights.get("bias", np.zeros(0))
    return Layer(
        name=node.name,
        path=node.path,
        op=node.op,
        shape=node.shape,
        inputs=inputs,
        message=sent.kind,
        levels=sent.levels,
        parameters=int(weight.size + bias.size),
        nonzero_weights=int(np.count_nonzero(weight)),
        density=mean["events"] / (inputs * steps) if sent.counted else None,
        sop_unit_low=low,
        sop_unit_high=high,
        macs=macs,
        dense_macs=dense * steps,
        dense_macs_published=(node.dense_macs() or dense) * steps,
        bias_adds=node.size * steps if bias.size else 0,
        **mean,
    )


def neuron_records(counts: Counts) -> list[Neurons]:
    """One record per neuron node."""
    return [_neurons(counts, node) for node in counts.graph.neurons()]


def _neurons(counts: Counts, node: Node) -> Neurons:
    tally, updates = counts.tallies[node.name], node.size * counts.timesteps
    rates, shares = tally["spikes"] / updates, tally["events"] / updates
    return Neurons(
        name=node.name,
        path=node.path,
        kind=str(node.attrs.get("kind", "")),
        neurons=node.size,
        levels=counts.messages[node.name].levels,
        events=float(tally["events"].mean()),
        spikes=float(tally["spikes"].mean()),
        rate=float(rates.mean()),
        rate_low=percentiles(rates)[0],
        rate_high=percentiles(rates)[1],
        nonzero=float(shares.mean()),
        nonzero_low=percentiles(shares)[0],
        nonzero_high=percentiles(shares)[1],
        updates=updates,
        quantised_events=float(tally["quantised_events"].mean()),
    )


def total(counts: Counts, layers: list[Layer], neurons: list[Neurons]) -> Totals:
    """The sums of the records; percentiles are those of the per-sample sums."""
    summed: dict[str, Any] = {}
    for field in fields(Totals):
        name = field.name
        rows: list[Any] = neurons if name in ("neurons", "events", "spikes", "updates") else layers
        if all(hasattr(row, name) for row in rows):
            summed[name] = sum(getattr(row, name) for row in rows)
    units = [counts.tallies[row.name]["sop_unit"] for row in layers if row.levels]
    if units:
        summed["sop_unit_low"], summed["sop_unit_high"] = percentiles(sum(units))
    updates = summed["updates"] or 1
    summed["rate"] = summed["spikes"] / updates
    summed["nonzero"] = summed["events"] / updates
    return Totals(**summed)
