"""From the nodes of a graph to the steps of a compiled program, over buffers in channels-last order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synfire.core.errors import GraphError, InputError
from synfire.export.executors.event_limits import MOST_COUNT, why_not
from synfire.export.graph import Node, SpikeGraph
from synfire.kernels import native
from synfire.kernels.event_weight import EventWeight, plan_of

WEIGHTS = ("float32", "int8")
_BYTES, _FLOATS = 1, 2  # forms of a product's input
_MOST_DENSE_COUNT = 127  # of products of bytes
_PIXEL = (1, 1, 1, 1, 1, 1, 0, 0)  # sizes of a matrix product after the batch


@dataclass(frozen=True)
class Value:
    """What a node sends: [B, H, W, C] or [B, K] in memory, bytes (counts) or float32, for ``shape`` of the graph.

    ``flat`` is (C, H, W) where a vector's elements lie in the order H, W, C.
    """

    buffer: Tensor
    shape: tuple[int, ...]
    flat: tuple[int, int, int] | None = None

    @property
    def is_counts(self) -> bool:
        return self.buffer.dtype == torch.uint8

    @property
    def address(self) -> int:
        return self.buffer.data_ptr()

    @property
    def channels(self) -> int:
        return self.buffer.shape[-1]

    def write(self, x: Tensor) -> None:
        """From the graph's order [B, ...]."""
        given = x.movedim(1, -1) if x.ndim == 4 else x
        self.buffer.copy_(given)
        if self.is_counts and not torch.equal(self.buffer.to(x.dtype), given):
            raise InputError(
                f"the source of this graph sends counts of 0..{MOST_COUNT}, the input holds other values."
            )

    def read(self) -> Tensor:
        """To the graph's order [B, ...], float32, fresh."""
        stored = self.buffer
        if self.flat is not None:
            channels, height, width = self.flat
            stored = stored.view(-1, height, width, channels).movedim(-1, 1).flatten(1)
        elif stored.ndim == 4:
            stored = stored.movedim(-1, 1)
        return stored.float() if self.is_counts else stored.clone()


@dataclass(frozen=True)
class Packed:
    """A weight in the layouts of both paths; a path without a plan is not taken."""

    event: Any
    event_slabs: Tensor
    dense: Any
    dense_slabs: Tensor
    scale: Tensor | None
    bias: Tensor | None


@dataclass
class Built:
    """A program for one batch size, and everything that it points into."""

    program: Any
    batch: int
    stateful: bool
    alive: list[Any] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    states: list[Tensor] = field(default_factory=list)
    counts: dict[str, Value] = field(default_factory=dict)
    products: list[str] = field(default_factory=list)
    input: Value = field(init=False)
    output: Value = field(init=False)

    def empty(self, shape: tuple[int, ...], counts: bool = False) -> Value:
        """A buffer for ``shape`` of the graph."""
        last = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        dtype = torch.uint8 if counts else torch.float32
        buffer = torch.zeros((self.batch, *last), dtype=dtype)
        self.alive.append(buffer)
        return Value(buffer, shape)

    def keep(self, value: Tensor) -> int:
        """The address of a tensor that lives as long as the program."""
        self.alive.append(value)
        return value.data_ptr()


class Lowering:
    """One graph: what it holds is checked and laid out once, and built for any batch size."""

    def __init__(self, graph: SpikeGraph, weights: str, density_limit: float | None) -> None:
        self.graph, self.weights = graph, weights
        self.limit = math.nan if density_limit is None else density_limit
        self._packed: dict[tuple[str, bool], Packed] = {}
        problems = [
            f"{node.name} ({node.op}): {why}" for node in graph if (why := why_not(node, graph))
        ]
        if problems:
            raise GraphError(
                f"the event executor cannot run {len(problems)} node(s), the ordinary one can: "
                + "; ".join(problems)
            )

    def build(self, batch: int, stateful: bool) -> Built:
        """Steps and buffers for ``batch`` samples; with ``stateful`` neurons keep membranes between timesteps."""
        module = native._extension()[0]
        assert module is not None
        built = Built(module.Program(), batch, stateful)
        for node in self.graph:
            if node.name not in built.values:
                rule: Callable[[Built, Node], Value] = getattr(self, f"_{node.op.lower()}")
                built.values[node.name] = rule(built, node)
        built.output = built.values[self.graph.sink.name]
        return built

    # Nodes.

    def _source(self, built: Built, node: Node) -> Value:
        built.input = built.empty(node.shape, counts=node.edge.kind == "count")
        return built.input

    def _conv(self, built: Built, node: Node) -> Value:
        (top, _), (left, _) = node.attrs["padding"]
        x = self._input(built, node)
        _, height, width = x.shape
        sizes = (built.batch, height, width, *node.shape[1:], *node.attrs["stride"], top, left)
        if node.attrs["groups"] > 1:
            return self._depthwise(built, node, x, sizes)
        return self._product(built, node, x, sizes)

    def _linear(self, built: Built, node: Node) -> Value:
        return self._product(built, node, self._input(built, node), (built.batch, *_PIXEL))

    def _neuron(self, built: Built, node: Node) -> Value:
        x = self._floats(built, self._input(built, node))
        module = native._extension()[0]
        assert module is not None
        after = module.After()
        counts = self._fire(built, node, x.flat, after)
        built.program.point(x.address, self._rows(x), x.channels, after)
        return counts

    def _add(self, built: Built, node: Node) -> Value:
        a, b = (self._floats(built, built.values[name]) for name in node.inputs)
        return self._point(built, node, a, shortcut=b.address)

    def _scale(self, built: Built, node: Node) -> Value:
        x = self._floats(built, self._input(built, node))
        scale = built.keep(_of_channels(node.weights["scale"], x.channels))
        shift = node.weights.get("shift")
        bias = 0 if shift is None else built.keep(_of_channels(shift, x.channels))
        return self._point(built, node, x, scale=scale, bias=bias)

    def _pool(self, built: Built, node: Node) -> Value:
        given = self._input(built, node)
        x, out = self._floats(built, given), built.empty(node.shape)
        (top, _), (left, _) = node.attrs["padding"]
        sizes = (built.batch, *x.shape[1:], *node.shape[1:], *node.attrs["stride"], top, left)
        divisor = node.attrs["divisor"] or 1.0
        built.program.pool(
            node.attrs["kind"] == "max", x.address, x.channels, sizes, *node.attrs["kernel"],
            divisor, out.address,
        )  # fmt: skip
        return self._counts(built, out) if given.is_counts and node.edge.kind == "count" else out

    def _reshape(self, built: Built, node: Node) -> Value:
        x = self._input(built, node)
        if len(x.shape) != 3:
            return x
        channels, height, width = x.shape
        flat = None if height * width == 1 or channels == 1 else (channels, height, width)
        return Value(x.buffer.view(built.batch, *node.shape), node.shape, flat)

    def _concat(self, built: Built, node: Node) -> Value:
        parts = [built.values[name] for name in node.inputs]
        if not all(part.is_counts for part in parts):
            parts = [self._floats(built, part) for part in parts]
        out = built.empty(node.shape, counts=parts[0].is_counts)
        size, first = out.buffer.element_size(), 0
        for part in parts:
            built.program.copy(
                part.address, self._rows(part), part.channels * size, out.address + first * size,
                out.channels * size,
            )  # fmt: skip
            first += part.channels
        return out

    def _timemean(self, built: Built, node: Node) -> Value:
        return self._input(built, node)

    def _sink(self, built: Built, node: Node) -> Value:
        return self._input(built, node)

    # What nodes share.

    def _input(self, built: Built, node: Node) -> Value:
        return built.values[node.inputs[0]]

    def _rows(self, value: Value) -> int:
        return value.buffer.numel() // value.channels if value.channels else 0

    def _floats(self, built: Built, value: Value) -> Value:
        if not value.is_counts:
            return value
        out = built.empty(value.shape)
        built.program.convert(True, value.address, value.buffer.numel(), out.address)
        return replace(out, flat=value.flat)

    def _counts(self, built: Built, value: Value) -> Value:
        out = built.empty(value.shape, counts=True)
        built.program.convert(False, value.address, value.buffer.numel(), out.address)
        return out

    def _point(self, built: Built, node: Node, x: Value, **after: int) -> Value:
        """An operation on single elements, with the neuron that reads it."""
        module = native._extension()[0]
        assert module is not None
        out = replace(built.empty(node.shape), flat=x.flat)
        follower = module.After(potential=out.address, **after)
        built.values[node.name] = out
        self._fire_with(built, node, out, follower)
        built.program.point(x.address, self._rows(x), x.channels, follower)
        return out

    def _product(self, built: Built, node: Node, x: Value, sizes: tuple[int, ...]) -> Value:
        module = native._extension()[0]
        assert module is not None
        packed = self._weight(node, x)
        last, shortcut = self._shortcut(built, node)
        reads = self.graph.consumers(last.name)
        neuron = next((reader for reader in reads if reader.op == "Neuron"), None)
        alone = neuron is not None and len(reads) == 1
        out = built.empty(node.shape, counts=False) if not alone else None
        after = module.After(
            scale=0 if packed.scale is None else packed.scale.data_ptr(),
            bias=0 if packed.bias is None else packed.bias.data_ptr(),
            shortcut=0 if shortcut is None else shortcut.address,
            potential=0 if out is None else out.address,
        )
        fired = None
        if neuron is not None:
            fired = self._fire(built, neuron, None, after)
            built.values[neuron.name] = fired
        built.products.append(node.name)
        built.alive.append(packed)
        built.program.product(
            packed.event, packed.event_slabs.data_ptr(), packed.dense, packed.dense_slabs.data_ptr(),
            _BYTES if x.is_counts else _FLOATS, x.address, x.channels, sizes, after, self.limit,
        )  # fmt: skip
        result = out if out is not None else fired  # counts stand for a potential that nobody reads
        assert result is not None
        built.values[last.name] = result
        return result

    def _shortcut(self, built: Built, node: Node) -> tuple[Node, Value | None]:
        """The Add that this product's result goes into alone, if its other value is there, and that value."""
        reads = self.graph.consumers(node.name)
        if len(reads) == 1 and reads[0].op == "Add":
            others = [name for name in reads[0].inputs if name != node.name]
            if len(others) == 1 and others[0] in built.values:
                other = built.values[others[0]]
                if other.buffer.shape[1:] == _last(node.shape):
                    return reads[0], self._floats(built, other)
        return node, None

    def _depthwise(self, built: Built, node: Node, x: Value, sizes: tuple[int, ...]) -> Value:
        weight = torch.from_numpy(node.weights["weight"]).flatten(1).t().contiguous()
        sums = built.empty(node.shape)
        built.program.depthwise(
            built.keep(weight), *node.weights["weight"].shape[2:],
            _BYTES if x.is_counts else _FLOATS, x.address, x.channels, sizes, sums.address,
        )  # fmt: skip
        bias = node.weights.get("bias")
        if bias is None:
            return self._point(built, node, sums)
        address = built.keep(_of_channels(bias, x.channels))
        return self._point(built, node, sums, bias=address)

    def _fire_with(self, built: Built, node: Node, x: Value, after: Any) -> None:
        """Let the first neuron that reads ``node`` fire in the same step."""
        for reader in self.graph.consumers(node.name):
            if reader.op == "Neuron" and reader.name not in built.values:
                built.values[reader.name] = self._fire(built, reader, x.flat, after)
                return

    def _fire(
        self, built: Built, node: Node, flat: tuple[int, int, int] | None, after: Any
    ) -> Value:
        """Let the step of ``after`` fire the neurons of ``node``: their counts."""
        attrs, channels = node.attrs, node.shape[0]
        decay, threshold = (
            _of_channels(node.weights[key], channels, flat) for key in ("decay", "threshold")
        )
        gain = 1 - decay if attrs["decay_input"] else torch.full_like(decay, attrs["input_gain"])
        counts = replace(built.empty(node.shape, counts=True), flat=flat)
        v = 0
        if built.stateful:
            built.states.append(torch.zeros_like(counts.buffer, dtype=torch.float32))
            v = built.states[-1].data_ptr()
        after.fire(
            built.keep(decay), built.keep(gain), built.keep(threshold),
            bool((threshold == 1).all()), attrs["levels"], attrs["rounding"], attrs["reset"],
            attrs["reset_value"], v, counts.address,
        )  # fmt: skip
        built.alive.append(after)
        built.counts[node.name] = counts
        return counts

    def _weight(self, node: Node, x: Value) -> Packed:
        key = (node.name, x.is_counts)
        if key not in self._packed:
            levels = self._levels(node)
            self._packed[key] = pack(node, x, self.weights if x.is_counts else "float32", levels)
        return self._packed[key]

    def _levels(self, node: Node) -> int:
        """The largest count that a node can read."""
        high = self.graph[node.inputs[0]].edge.high
        return MOST_COUNT if high is None else int(high)


def pack(node: Node, x: Value, kind: str, levels: int) -> Packed:
    """Lay the weight of a Conv or Linear out for its input."""
    module = native._extension()[0]
    assert module is not None
    weight = torch.from_numpy(node.weights["weight"]).float()
    if x.flat is not None:
        channels, height, width = x.flat
        columns = weight.view(-1, channels, height, width).movedim(1, -1)
        weight = columns.reshape(weight.shape[0], -1)
    bias = node.weights.get("bias")
    scale = None
    if kind == "int8":
        scale = weight.flatten(1).abs().amax(1).clamp(min=1e-30) / 127
        spread = scale.view(-1, *[1] * (weight.ndim - 1))
        weight = (weight / spread).round().to(torch.int8)
    four = weight if weight.ndim == 4 else weight[:, :, None, None]
    number, dense, slabs = (2 if kind == "int8" else 0), None, torch.empty(0, dtype=torch.uint8)
    if module.can_multiply_dense(number) and (kind == "float32" or levels <= _MOST_DENSE_COUNT):
        dense = module.DensePlan(number, *four.shape)
        slabs = torch.empty(dense.bytes, dtype=torch.uint8)
        dense.pack(four.contiguous().data_ptr(), slabs.data_ptr())
    event, event_slabs = None, torch.empty(0, dtype=torch.uint8)
    if x.is_counts:
        events = EventWeight.pack(weight)
        event, event_slabs = plan_of(events.weight, events.largest), events.slabs
    channels = weight.shape[0]
    return Packed(
        event,
        event_slabs,
        dense,
        slabs,
        scale,
        None if bias is None else _of_channels(bias, channels),
    )


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _of_channels(
    array: np.ndarray[Any, Any], channels: int, flat: tuple[int, int, int] | None = None
) -> Tensor:
    """A value for each element of a buffer's last axis, from one value, or one a channel."""
    values = torch.from_numpy(np.asarray(array, np.float32)).reshape(-1)
    if flat is not None and values.numel() > 1:
        values = values.view(flat).movedim(0, -1).reshape(-1)
    return values.expand(channels).contiguous()
