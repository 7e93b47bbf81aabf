"""Counts events and operations while a graph runs; every figure is kept per sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synfire.core.errors import InputError
from synfire.energy.fan_out import fan_out, reachable
from synfire.energy.messages import Message, encoder_name, message
from synfire.export.executors import execute
from synfire.export.graph import Node, SpikeGraph

Array = Any
PerSample = np.ndarray[Any, np.dtype[np.float64]]
SYNAPTIC = ("Conv", "Linear", "SparseConv")


@dataclass
class Tally:
    """Per-sample figures of one node: name to one array per batch."""

    figures: dict[str, list[PerSample]] = field(default_factory=dict)
    running: dict[str, PerSample] = field(default_factory=dict)

    def add(self, name: str, value: Array) -> None:
        """Add a value [B] to the running batch."""
        value = _to_numpy(value)
        self.running[name] = self.running[name] + value if name in self.running else value

    def close(self) -> None:
        """End a batch."""
        for name, value in self.running.items():
            self.figures.setdefault(name, []).append(value)
        self.running = {}

    def __getitem__(self, name: str) -> PerSample:
        """All samples [S]."""
        return np.concatenate(self.figures[name])


@dataclass
class Counts:
    """What a run of a graph counted.

    Attributes:
        tallies: figures by node name. Layers: ``events`` and ``spikes`` that arrive, ``sop_msg``,
            ``sop_unit``, ``quantised_events``, ``quantised_macs`` (counts summed over time first);
            layers that read analog or real values: ``frames`` and ``distinct_frames``. Neurons:
            ``events``, ``spikes``, ``quantised_events`` that they send.
        messages: class of what each layer, attention or neuron reads or sends.
        dense: multiply-accumulates of one timestep that reach an output, by layer.
        timesteps, samples: of the run.
        exact: whether borders and pruned weights were respected.
    """

    graph: SpikeGraph
    tallies: dict[str, Tally]
    messages: dict[str, Message]
    dense: dict[str, int]
    timesteps: int
    samples: int
    exact: bool


def count(graph: SpikeGraph, inputs: Any, batch_size: int = 64, exact: bool = True) -> Counts:
    """Run ``graph`` in integer mode and count.

    Args:
        inputs: encoded input [T, B, ...], numpy or torch, or an iterable of such batches; one with
            the shape [B, ...] is shown at each of the graph's timesteps if its encoder is static.
        batch_size: samples that run together; memory grows with it, the result does not change.
        exact: see :func:`synfire.energy.fan_out.fan_out`.
    """
    counter = _Counter(graph, exact)
    timesteps: set[int] = set()
    samples = 0
    for batch in batches(graph, inputs, batch_size):
        execute(graph, batch, observe=counter.observe)
        counter.close()
        timesteps.add(int(batch.shape[0]))
        samples += int(batch.shape[1])
    if len(timesteps) != 1:
        raise InputError(
            f"expected batches with one number of timesteps, got {sorted(timesteps) or 'no batch'}."
        )
    return Counts(
        graph, counter.tallies, counter.messages, counter.dense, timesteps.pop(), samples, exact
    )


def batches(graph: SpikeGraph, inputs: Any, batch_size: int) -> Iterator[Array]:
    """Batches [T, b, ...] with b up to ``batch_size``."""
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    for block in [inputs] if hasattr(inputs, "shape") else _blocks(inputs):
        timed = _timed(graph, block)
        for start in range(0, timed.shape[1], batch_size):
            yield timed[:, start : start + batch_size]


def _blocks(inputs: Any) -> Iterable[Array]:
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"expected an array or an iterable of arrays, got {type(inputs).__name__}."
        )
    return inputs


def _timed(graph: SpikeGraph, block: Array) -> Array:
    shape, steps = graph.source.shape, graph.timesteps
    repeats = steps == 1 or (graph.source.attrs.get("encoder") or {}).get("frames") == "repeat"
    if block.ndim == len(shape) + 2:
        return block
    if block.ndim == len(shape) + 1 and repeats and encoder_name(graph.source) in ("", "Direct"):
        return block[None] if steps == 1 else _repeated(block, steps)
    raise InputError(
        f"expected an encoded input [T, B, {', '.join(map(str, shape))}], got shape "
        f"{tuple(block.shape)}: encode the samples before profiling."
    )


def _repeated(block: Array, timesteps: int) -> Array:
    if isinstance(block, np.ndarray):
        return np.broadcast_to(block, (timesteps, *block.shape))
    return block.expand(timesteps, *block.shape)


class _Counter:
    def __init__(self, graph: SpikeGraph, exact: bool) -> None:
        self.exact = exact
        layers = [node for node in graph if node.op in SYNAPTIC]
        shapes = {node.name: graph[node.inputs[0]].shape for node in layers}
        self.fan_outs = {n.name: fan_out(n, shapes[n.name], exact) for n in layers}
        self.dense = {n.name: reachable(n, shapes[n.name]) for n in layers}
        self.messages = {n.name: message(graph, n.inputs[0]) for n in layers}
        self.messages |= {n.name: message(graph, n.name) for n in graph.neurons()}
        self.operands: dict[str, list[Message]] = {}
        for node in graph:
            if node.op == "SpikeAttention":
                self.operands[node.name] = [message(graph, name) for name in node.inputs]
                self.messages[node.name] = _widest(self.operands[node.name])
                self.dense[node.name] = _attention_macs(graph, node)
        self.tallies = {name: Tally() for name in self.messages}
        self.sums: dict[str, list[Array]] = {}
        self.frames: dict[str, Array] = {}

    def observe(self, node: Node, inputs: list[Array], output: Array) -> None:
        """Take in one node at one timestep."""
        if node.op == "Neuron":
            self._neuron(node, output)
        elif node.name in self.messages:
            if not self.messages[node.name].counted:
                self._frame(node, inputs[0])
            elif node.op == "SpikeAttention":
                self._attention(node, inputs)
            else:
                self._layer(node, inputs[0])

    def close(self) -> None:
        """End a batch: what a quantised net would do with the counts summed over time."""
        for name, sums in self.sums.items():
            tally = self.tallies[name]
            if len(sums) == 3:
                tally.add("quantised_events", sum(_total(x != 0) for x in sums))
                tally.add("quantised_macs", _attention_operations(*(_occupied(x) for x in sums)))
                continue
            tally.add("quantised_events", _total(sums[0] != 0))
            if name in self.fan_outs:
                tally.add("quantised_macs", _weighted(sums[0] != 0, self.fan_outs[name]))
        self.sums, self.frames = {}, {}
        for tally in self.tallies.values():
            tally.close()

    def _neuron(self, node: Node, output: Array) -> None:
        counts = self.messages[node.name].counts(output)
        tally = self.tallies[node.name]
        tally.add("events", _total(counts != 0))
        tally.add("spikes", _total(counts))
        self._sum(node.name, [counts])

    def _layer(self, node: Node, value: Array) -> None:
        counts = self.messages[node.name].counts(value)
        tally, reached = self.tallies[node.name], self.fan_outs[node.name]
        occupied = counts != 0
        tally.add("events", _total(occupied))
        tally.add("spikes", _total(counts))
        tally.add("sop_msg", _weighted(occupied, reached))
        tally.add("sop_unit", _weighted(counts, reached))
        self._sum(node.name, [counts])

    def _attention(self, node: Node, inputs: list[Array]) -> None:
        operands = zip(self.operands[node.name], inputs, strict=True)
        q, k, v = (sent.counts(value) for sent, value in operands)
        tally = self.tallies[node.name]
        tally.add("events", sum(_total(x != 0) for x in (q, k, v)))
        tally.add("spikes", sum(_total(x) for x in (q, k, v)))
        occupied = [_occupied(x) for x in (q, k, v)]
        tally.add("sop_msg", _attention_operations(*occupied))
        tally.add("sop_unit", _attention_operations(_to_numpy(q), _to_numpy(k), occupied[2]))
        self._sum(node.name, [q, k, v])

    def _frame(self, node: Node, value: Array) -> None:
        flat = value.reshape(value.shape[0], -1)
        shown = (flat != 0).any(1)
        before = self.frames.get(node.name)
        changed = shown if before is None else shown & (flat != before).any(1)
        self.tallies[node.name].add("frames", shown)
        self.tallies[node.name].add("distinct_frames", changed)
        self.frames[node.name] = flat

    def _sum(self, name: str, values: list[Array]) -> None:
        held = self.sums.get(name)
        self.sums[name] = (
            values if held is None else [a + b for a, b in zip(held, values, strict=True)]
        )


def _widest(operands: list[Message]) -> Message:
    """The class of a product: counts if every operand is one, then of the widest range."""
    real = [operand for operand in operands if not operand.counted]
    return real[0] if real else max(operands, key=lambda operand: operand.levels)


def _attention_macs(graph: SpikeGraph, node: Node) -> int:
    """k^T v and q (k^T v): each query, and each key, meets every value channel."""
    q, k, v = (graph[name] for name in node.inputs)
    return (q.size + k.size) * v.shape[-1]


def _attention_operations(q: Array, k: Array, v: Array) -> Array:
    """Operations of q (k^T v) whose operands are both not 0. ``v`` is 0 or 1; q and k weigh them.

    A key element is added into the columns of the values of its row, a query element meets the
    entries of k^T v that are not 0.
    """
    rows = (k.sum(-1) * v.sum(-1)).reshape(k.shape[0], -1).sum(1)
    memory = (k != 0).astype(np.float64).swapaxes(-1, -2) @ v
    columns = (memory != 0).astype(np.float64).sum(-1)
    return rows + (q.sum(-2) * columns).reshape(q.shape[0], -1).sum(1)


def _occupied(value: Array) -> PerSample:
    return _to_numpy(value != 0)


def _to_numpy(value: Array) -> PerSample:
    if not isinstance(value, np.ndarray):
        value = value.detach().cpu().numpy()
    return value.astype(np.float64)


def _total(value: Array) -> Array:
    """Sum over a sample, in whole numbers or float64, which hold counts exactly."""
    flat = value.reshape(value.shape[0], -1)
    return flat.sum(1, dtype=np.float64) if isinstance(flat, np.ndarray) else flat.double().sum(1)


def _weighted(value: Array, weights: PerSample) -> Array:
    flat = value.reshape(value.shape[0], -1)
    if isinstance(flat, np.ndarray):
        return flat.astype(np.float64) @ weights.ravel()
    return flat.double() @ _like(weights, flat)


def _like(weights: PerSample, value: Array) -> Array:
    import torch

    return torch.from_numpy(weights.ravel()).to(value.device)
