"""Runs a SpikeGraph timestep by timestep. Readable on purpose: this is the meaning of a graph.

A value is a ``Signal``: parts whose sum is the value. In integer mode a neuron sends one part, its count; in slot mode
D binary parts, the thermometer code o_d = [count >= d]. Linear operations act on each part and add their constants once
a timestep; everything else follows from that, so the two modes differ in the neuron alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from synfire.core.errors import GraphError
from synfire.export.graph import Node, SpikeGraph

MODES = ("integer", "slots")
Array = Any
Observer = Callable[[Node, list[Array], Array], None]
UserStep = Callable[..., tuple[Array, dict[str, Array]]]


@dataclass
class Signal:
    """Parts that sum to the value. ``thermometer``: binary parts, each at most the one before it."""

    parts: list[Array]
    thermometer: bool = False

    @property
    def total(self) -> Array:
        return reduce(lambda a, b: a + b, self.parts)

    def each(self, function: Callable[[Array], Array]) -> Signal:
        """Apply a linear or rearranging function to every part."""
        return Signal([function(part) for part in self.parts], self.thermometer)


@dataclass
class Execution:
    """What a run gave: ``output`` after the readout, ``steps`` [T, B, ...] before it, and, where recorded, counts and
    charged membranes (before the reset) of every neuron node, [T, B, ...]."""

    output: Array
    steps: Array
    counts: dict[str, Array] = field(default_factory=dict)
    membranes: dict[str, Array] = field(default_factory=dict)


class Interpreter:
    """Executes one graph on one backend; a fresh instance starts at rest."""

    def __init__(
        self,
        graph: SpikeGraph,
        backend: Any,
        mode: str = "integer",
        record: bool = False,
        observe: Observer | None = None,
    ) -> None:
        self.graph, self.backend, self.mode = graph, backend, mode
        self.record, self.observe = record, observe
        self.weights = {
            node.name: {key: backend.array(value) for key, value in node.weights.items()}
            for node in graph
        }
        self.states: dict[str, Any] = {}
        self.counts: dict[str, list[Array]] = {node.name: [] for node in graph.neurons()}
        self.membranes: dict[str, list[Array]] = {node.name: [] for node in graph.neurons()}

    def run(self, x: Array) -> Execution:
        """Timed input [T, B, ...] to an Execution."""
        x = self.backend.array(x)
        steps = [self.step(x[t]) for t in range(x.shape[0])]
        if not steps:
            raise GraphError("expected at least one timestep [T, B, ...], got T = 0.")
        stacked = self.backend.stack(steps)
        output = {
            "mean": lambda: self.backend.sum(stacked, 0) / len(steps),
            "last": lambda: steps[-1],
            "none": lambda: stacked,
        }[self.graph.readout]()
        if not self.record:
            return Execution(output, stacked)
        return Execution(
            output,
            stacked,
            {name: self.backend.stack(values) for name, values in self.counts.items()},
            {name: self.backend.stack(values) for name, values in self.membranes.items()},
        )

    def step(self, x_t: Array) -> Array:
        """One real timestep: [B, ...] to the Sink's value before the readout."""
        values: dict[str, Signal] = {}
        for node in self.graph:
            if node.op == "Source":
                signal = Signal([x_t])
            elif node.op == "Recurrence":
                signal = self._recall(node, x_t)
            else:
                inputs = [values[name] for name in node.inputs]
                signal = getattr(self, f"_{node.op.lower()}")(node, *inputs)
                if self.observe is not None:
                    self.observe(node, [i.total for i in inputs], signal.total)
            values[node.name] = signal
        for node in self.graph:
            if node.op == "Recurrence":
                self.states[node.name] = values[node.inputs[0]]
        return values[self.graph.sink.name].total

    # Linear operations: every part alone, constants once a timestep.

    def _conv(self, node: Node, x: Signal) -> Signal:
        weight = self.weights[node.name]["weight"]
        return self._affine(node, x, lambda part: self.backend.conv(part, weight, **node.attrs))

    def _linear(self, node: Node, x: Signal) -> Signal:
        weight = self.weights[node.name]["weight"]
        return self._affine(node, x, lambda part: self.backend.linear(part, weight))

    def _sparseconv(self, node: Node, x: Signal) -> Signal:
        weight, pairs = self.weights[node.name]["weight"], node.weights["pairs"]
        rows = node.shape[-2]
        return self._affine(
            node, x, lambda part: self.backend.sparse_conv(part, weight, pairs, rows)
        )

    def _affine(self, node: Node, x: Signal, product: Callable[[Array], Array]) -> Signal:
        total = reduce(lambda a, b: a + b, (product(part) for part in x.parts))
        bias = self.weights[node.name].get("bias")
        return Signal([total if bias is None else total + bias])

    def _scale(self, node: Node, x: Signal) -> Signal:
        weights = self.weights[node.name]
        total = x.total * weights["scale"]
        return Signal([total + weights["shift"] if "shift" in weights else total])

    def _spikeattention(self, node: Node, q: Signal, k: Signal, v: Signal) -> Signal:
        swap = self.backend.swap_last
        memory = self.backend.matmul(swap(k.total), v.total)
        streamed = [self.backend.matmul(part, memory) for part in q.parts]
        return Signal([reduce(lambda a, b: a + b, streamed) * node.attrs["scale"]])

    # Operations that rearrange parts.

    def _add(self, node: Node, a: Signal, b: Signal) -> Signal:
        if len(a.parts) == len(b.parts) == 1:
            return Signal([a.total + b.total])
        return Signal(a.parts + b.parts)

    def _concat(self, node: Node, *inputs: Signal) -> Signal:
        axis = node.attrs["axis"] + 1
        if len({len(signal.parts) for signal in inputs}) == 1:
            rows = zip(*(signal.parts for signal in inputs), strict=True)
            thermometer = all(signal.thermometer for signal in inputs)
            return Signal([self.backend.concat(list(row), axis) for row in rows], thermometer)
        return Signal([self.backend.concat([signal.total for signal in inputs], axis)])

    def _pool(self, node: Node, x: Signal) -> Signal:
        if node.attrs["kind"] == "max" and not x.thermometer:
            x = Signal([x.total])  # the maximum of a sum is not the sum of maxima
        pooled = x.each(lambda part: self.backend.pool(part, **node.attrs))
        pooled.thermometer &= node.attrs["kind"] == "max"  # sums of slots are no thermometer code
        return pooled

    def _upsample(self, node: Node, x: Signal) -> Signal:
        return x.each(lambda part: self.backend.upsample(part, node.attrs["factor"]))

    def _reshape(self, node: Node, x: Signal) -> Signal:
        return x.each(lambda part: self.backend.reshape(part, node.attrs))

    def _timemean(self, node: Node, x: Signal) -> Signal:
        return x

    def _sink(self, node: Node, x: Signal) -> Signal:
        scale = node.attrs["scale"]
        return Signal([x.total if scale == 1.0 else x.total * scale])

    # Operations with state.

    def _neuron(self, node: Node, x: Signal) -> Signal:
        if node.attrs["kind"] == "step":
            return self._user_neuron(node, x)
        attrs, weights = node.attrs, self.weights[node.name]
        drive = attrs["input_gain"] * x.total
        if attrs["decay_input"]:
            drive = (1 - weights["decay"]) * x.total
        state = self.states.setdefault(node.name, {})
        if attrs["current_decay"] is not None:
            if "i" in state:
                drive = attrs["current_decay"] * state["i"] + drive
            state["i"] = drive
        h = weights["decay"] * state["v"] + drive if "v" in state else drive
        signal = self._fire(attrs, h / weights["threshold"])
        count = signal.total
        state["v"] = self._reset(attrs, h, count, weights["threshold"])
        self._note(node, count, h)
        return signal

    def _fire(self, attrs: dict[str, Any], u: Array) -> Signal:
        """Counts, or the slots of an integrate-and-fire neuron with soft reset that receives ``u``."""
        b = self.backend
        if self.mode == "integer":
            clipped = b.clip(u, 0, attrs["levels"])
            return Signal([b.quantise(clipped, attrs["rounding"])])
        slots: list[Array] = []
        potential, fired = u, u * 0
        for _ in range(attrs["levels"]):
            spikes = b.cast(self._crosses(attrs["rounding"], potential, fired))
            potential, fired = potential - spikes, fired + spikes
            slots.append(spikes)
        return Signal(slots, thermometer=True)

    @staticmethod
    def _crosses(rounding: str, potential: Array, fired: Array) -> Array:
        if rounding == "floor":
            return potential >= 1.0
        if (
            rounding == "half_even"
        ):  # a tie goes to the even count, so it fires only after an odd one
            return (potential > 0.5) | ((potential == 0.5) & (fired % 2 == 1))
        return potential >= 0.5

    def _reset(self, attrs: dict[str, Any], h: Array, count: Array, threshold: Array) -> Array:
        if attrs["reset"] == "soft":
            return h - threshold * count
        if attrs["reset"] == "hard":
            return self.backend.where(count > 0, attrs["reset_value"], h)
        return h

    def _user_neuron(self, node: Node, x: Signal) -> Signal:
        from synfire.core.user_steps import step_function

        parameters = {
            key.removeprefix("parameter."): value for key, value in self.weights[node.name].items()
        }
        step = step_function(node.attrs["name"])
        state = self.states.get(node.name, {})
        count, self.states[node.name] = self.backend.user_step(step, x.total, state, parameters)
        self._note(node, count, x.total)
        if self.mode == "integer":
            return Signal([count])
        slots = [self.backend.cast(count >= slot) for slot in range(1, node.attrs["levels"] + 1)]
        return Signal(slots, thermometer=True)

    def _note(self, node: Node, count: Array, charged: Array) -> None:
        if self.record:
            self.counts[node.name].append(count)
            self.membranes[node.name].append(charged)

    def _recall(self, node: Node, x_t: Array) -> Signal:
        if node.name in self.states:
            past: Signal = self.states[node.name]
            return past
        return Signal([self.backend.zeros((x_t.shape[0], *node.shape))])

    def _delay(self, node: Node, x: Signal) -> Signal:
        line: list[Signal] = self.states.setdefault(node.name, [])
        line.append(x)
        if len(line) <= node.attrs["steps"]:
            return x.each(lambda part: part * 0)
        return line.pop(0)

    # Real operations: floats in, floats out.

    def _activation(self, node: Node, x: Signal) -> Signal:
        return Signal([self.backend.activation(x.total, node.attrs["kind"])])

    def _norm(self, node: Node, x: Signal) -> Signal:
        weights = self.weights[node.name]
        normed = self.backend.layer_norm(x.total, node.attrs["axes"], node.attrs["epsilon"])
        if "weight" in weights:
            normed = normed * weights["weight"]
        return Signal([normed + weights["bias"] if "bias" in weights else normed])

    def _gate(self, node: Node, a: Signal, b: Signal) -> Signal:
        return Signal([a.total * b.total])

    def _softmax(self, node: Node, x: Signal) -> Signal:
        return Signal([self.backend.softmax(x.total, node.attrs["axis"])])

    def _matmul(self, node: Node, a: Signal, b: Signal) -> Signal:
        return Signal([self.backend.matmul(a.total, b.total)])

    def _scan(self, node: Node, q: Signal, k: Signal, v: Signal) -> Signal:
        if node.attrs["kind"] != "linear_attention":
            raise GraphError(f"node {node.name!r}: unknown scan {node.attrs['kind']!r}.")
        write = self.backend.matmul(self.backend.swap_last(k.total), v.total)
        state = self.states.get(node.name)
        state = write if state is None else node.attrs["decay"] * state + write
        self.states[node.name] = state
        return Signal([self.backend.matmul(q.total, state)])
