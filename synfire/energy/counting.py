"""Counts events and operations while a graph runs; every figure is kept per sample."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from synfire.core.errors import InputError
from synfire.energy.fan_out import fan_out, reachable
from synfire.energy.messages import Message, encoder_name, message
from synfire.energy.sums import PerSample, Reach, to_numpy, total
from synfire.export.executors import execute
from synfire.export.graph import Node, SpikeGraph

Array = Any
SYNAPTIC = ("Conv", "Linear", "SparseConv")


@dataclass
class Tally:
    """Per-sample figures of one node, by name.

    They grow in place: small arrays that stay between the large ones of each batch would keep the
    memory of the latter from being returned.
    """

    figures: dict[str, array[float]] = field(default_factory=dict)
    running: dict[str, PerSample] = field(default_factory=dict)

    def add(self, name: str, value: PerSample) -> None:
        """Add a value [B] to the running batch."""
        self.running[name] = self.running[name] + value if name in self.running else value

    def close(self) -> None:
        """End a batch."""
        for name, value in self.running.items():
            self.figures.setdefault(name, array("d")).frombytes(value.tobytes())
        self.running = {}

    def __getitem__(self, name: str) -> PerSample:
        """All samples [S]."""
        return np.frombuffer(self.figures[name])


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
        counter.close(int(batch.shape[0]))
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
    """Takes in every node of a running graph."""

    def __init__(self, graph: SpikeGraph, exact: bool) -> None:
        layers = [node for node in graph if node.op in SYNAPTIC]
        shapes = {node.name: graph[node.inputs[0]].shape for node in layers}
        self.reach = {n.name: Reach(fan_out(n, shapes[n.name], exact)) for n in layers}
        self.dense = {n.name: reachable(n, shapes[n.name]) for n in layers}
        self.operands = {n.name: [message(graph, n.inputs[0])] for n in layers}
        self.operands |= {n.name: [message(graph, n.name)] for n in graph.neurons()}
        for node in graph:
            if node.op == "SpikeAttention":
                self.operands[node.name] = [message(graph, name) for name in node.inputs]
                self.dense[node.name] = _attention_macs(graph, node)
        self.messages = {name: _widest(found) for name, found in self.operands.items()}
        self.tallies = {name: Tally() for name in self.messages}
        self.sums: dict[str, list[Array]] = {}
        self.frames: dict[str, Array] = {}

    def observe(self, node: Node, inputs: list[Array], output: Array) -> None:
        """Take in one node at one timestep."""
        if node.name not in self.messages:
            return
        if not self.messages[node.name].counted:
            self._frame(node, inputs[0])
            return
        values = [output] if node.op == "Neuron" else inputs
        operands = zip(self.operands[node.name], values, strict=True)
        counts = [sent.counts(value) for sent, value in operands]
        tally, largest = self.tallies[node.name], self.messages[node.name].levels
        occupied = [_occupied(value) for value in counts]
        tally.add("events", np.sum([total(value, 1) for value in occupied], axis=0))
        tally.add("spikes", np.sum([total(value, largest) for value in counts], axis=0))
        if node.op != "Neuron":
            tally.add("sop_msg", self._operations(node.name, occupied, occupied, 1))
            tally.add("sop_unit", self._operations(node.name, counts, occupied, largest))
        held = self.sums.get(node.name)
        self.sums[node.name] = (
            [a + b for a, b in zip(held, counts, strict=True)] if held else counts
        )

    def close(self, timesteps: int) -> None:
        """End a batch: what a quantised net would do with the counts summed over time."""
        for name, sums in self.sums.items():
            tally = self.tallies[name]
            if timesteps == 1:
                tally.add("quantised_events", tally.running["events"])
                if "sop_msg" in tally.running:
                    tally.add("quantised_macs", tally.running["sop_msg"])
                continue
            occupied = [_occupied(value) for value in sums]
            tally.add("quantised_events", np.sum([total(value, 1) for value in occupied], axis=0))
            if "sop_msg" in tally.running:
                tally.add("quantised_macs", self._operations(name, occupied, occupied, 1))
        self.sums, self.frames = {}, {}
        for tally in self.tallies.values():
            tally.close()

    def _operations(
        self, name: str, counts: list[Array], occupied: list[Array], largest: int
    ) -> PerSample:
        if name in self.reach:
            return self.reach[name].operations(counts[0], largest)
        q, k, v = (to_numpy(value) for value in (*counts[:2], occupied[2]))
        return _attention_operations(q, k, v)

    def _frame(self, node: Node, value: Array) -> None:
        flat = value.reshape(value.shape[0], -1)
        shown = (flat != 0).any(1)
        before = self.frames.get(node.name)
        changed = shown if before is None else shown & (flat != before).any(1)
        self.tallies[node.name].add("frames", to_numpy(shown))
        self.tallies[node.name].add("distinct_frames", to_numpy(changed))
        self.frames[node.name] = flat


def _occupied(counts: Array) -> Array:
    """1 where a message is, in the type of the counts, which are whole and not negative."""
    return counts.clip(0, 1)


def _widest(operands: list[Message]) -> Message:
    """The class of a product: counts if every operand is one, then of the widest range."""
    real = [operand for operand in operands if not operand.counted]
    return real[0] if real else max(operands, key=lambda operand: operand.levels)


def _attention_macs(graph: SpikeGraph, node: Node) -> int:
    """k^T v and q (k^T v): each query, and each key, meets every value channel."""
    q, k, v = (graph[name] for name in node.inputs)
    return (q.size + k.size) * v.shape[-1]


def _attention_operations(q: PerSample, k: PerSample, v: PerSample) -> PerSample:
    """Operations of q (k^T v) whose operands are both not 0. ``v`` is 0 or 1; q and k weigh them.

    A key element is added into the columns of the values of its row, a query element meets the
    entries of k^T v that are not 0.
    """
    rows = (k.sum(-1) * v.sum(-1)).reshape(k.shape[0], -1).sum(1)
    memory = (k != 0).astype(np.float64).swapaxes(-1, -2) @ v
    columns = (memory != 0).astype(np.float64).sum(-1)
    return rows + (q.sum(-2) * columns).reshape(q.shape[0], -1).sum(1)
