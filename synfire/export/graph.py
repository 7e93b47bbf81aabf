"""SpikeGraph: the one description of a net that every runtime, writer and counter reads. Needs numpy only.

Semantics are per real timestep; ``timesteps`` is metadata. Shapes are those of one sample, without time and batch.
On a *count* edge the value is the integer count; what a count is worth in the model it came from (``scale``) is folded
into the nodes that read it. A node's inputs stand before it, except the input of a Recurrence, which is read one
timestep later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synfire.core.errors import GraphError

if TYPE_CHECKING:
    from synfire.export.executors import Execution

SPIKE_OPS = {
    "Source": "where encoded input enters; attrs: encoder",
    "Conv": "1-d to 3-d cross-correlation; attrs: stride, padding [[low, high], ...], dilation, groups",
    "Linear": "product along the last axis",
    "SparseConv": "gather, product, scatter; weights: weight [K, in, out], pairs [P, 3] (offset, from, to)",
    "Neuron": "charge, fire, reset; attrs: kind and its constants",
    "Add": "sum of two values (a membrane shortcut sends a potential)",
    "Concat": "along attrs: axis",
    "Pool": "attrs: kind avg, sum or max, kernel, stride, padding, divisor",
    "Upsample": "nearest; attrs: factor",
    "Reshape": "attrs: kind view, permute, slice or pad",
    "Scale": "weights: scale, shift (optional), broadcast against a sample",
    "SpikeAttention": "q (k^T v) * attrs: scale, integers accumulated first, q streamed",
    "Delay": "attrs: steps",
    "Recurrence": "the input's value one timestep ago, zero at first",
    "TimeMean": "readout over time; attrs: kind mean, last or none",
    "Sink": "the net's output; attrs: scale",
}
REAL_OPS = {
    "Activation": "attrs: kind relu, gelu, sigmoid, silu or tanh",
    "Norm": "layer norm over the last axes; attrs: axes, epsilon",
    "Gate": "product of two values",
    "Softmax": "along attrs: axis",
    "MatMul": "product of two values",
    "Scan": "a real recurrence with explicit state; attrs: kind",
}
OPS = SPIKE_OPS | REAL_OPS
EDGE_KINDS = ("count", "potential", "real")


@dataclass(frozen=True)
class Edge:
    """What a node sends: integer counts, an exact linear image of them (potential), or real numbers."""

    kind: str
    scale: float = 1.0
    bits: int = 32
    low: float | None = None
    high: float | None = None


@dataclass
class Node:
    """One operation. ``path`` is the module path it was lowered from; ``shape`` that of one output sample."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    edge: Edge
    path: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Elements of one output sample."""
        return math.prod(self.shape)

    def dense_macs(self) -> int:
        """Multiply-accumulates of one timestep of one sample, padding included: Conv, Linear, SparseConv; else 0."""
        if self.op == "Linear":
            return self.size * self.weights["weight"].shape[1]
        if self.op == "Conv":
            return self.size * math.prod(self.weights["weight"].shape[1:])
        if self.op == "SparseConv":
            return len(self.weights["pairs"]) * math.prod(self.weights["weight"].shape[1:])
        return 0


@dataclass
class SpikeGraph:
    """Nodes in order of execution, timesteps, and where it came from (``meta``: model, encoder, readout, versions).

    Example:
        >>> source = Node("x", "Source", (), (2,), Edge("potential"))
        >>> weight = np.ones((1, 2), np.float32)
        >>> linear = Node("fc", "Linear", ("x",), (1,), Edge("potential"), weights={"weight": weight})
        >>> mean = Node("mean", "TimeMean", ("fc",), (1,), Edge("potential"), attrs={"kind": "mean"})
        >>> sink = Node("out", "Sink", ("mean",), (1,), Edge("potential"), attrs={"scale": 1.0})
        >>> graph = SpikeGraph([source, linear, mean, sink], timesteps=1)
        >>> graph.run(np.ones((1, 3, 2), np.float32)).tolist()
        [[2.0], [2.0], [2.0]]
    """

    nodes: list[Node]
    timesteps: int = 1
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.validate()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise GraphError(f"the graph has no node {name!r}.")

    @property
    def source(self) -> Node:
        return next(node for node in self.nodes if node.op == "Source")

    @property
    def sink(self) -> Node:
        return next(node for node in self.nodes if node.op == "Sink")

    @property
    def readout(self) -> str:
        """How the output is read over time: mean, last or none."""
        return str(next((n.attrs["kind"] for n in self.nodes if n.op == "TimeMean"), "none"))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The floating-point type that the graph runs in: that of the net it was traced from, or of its weights."""
        if "dtype" in self.meta:
            return np.dtype(self.meta["dtype"])
        for node in self.nodes:
            for array in node.weights.values():
                if array.dtype.kind == "f":
                    return array.dtype
        return np.dtype(np.float32)

    def neurons(self) -> list[Node]:
        """The neuron nodes in order of execution."""
        return [node for node in self.nodes if node.op == "Neuron"]

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read ``name``."""
        return [node for node in self.nodes if name in node.inputs]

    def validate(self) -> None:
        """Raise GraphError unless names are unique, operators known, inputs defined before use, weights finite."""
        if not isinstance(self.timesteps, int) or self.timesteps < 1:
            raise GraphError(f"a graph has at least one timestep, got {self.timesteps!r}.")
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise GraphError(f"node names must be unique, {twice!r} stands twice.")
        for op in ("Source", "Sink"):
            if sum(node.op == op for node in self.nodes) != 1:
                raise GraphError(f"a graph has exactly one {op}.")
        seen: set[str] = set()
        for node in self.nodes:
            self._validate_node(node, set(names) if node.op == "Recurrence" else seen)
            seen.add(node.name)

    def _validate_node(self, node: Node, defined: set[str]) -> None:
        if node.op not in OPS:
            raise GraphError(
                f"node {node.name!r} has the unknown operator {node.op!r}; known: {', '.join(OPS)}."
            )
        if node.edge.kind not in EDGE_KINDS:
            raise GraphError(f"node {node.name!r} sends the unknown kind {node.edge.kind!r}.")
        missing = [name for name in node.inputs if name not in defined]
        if missing:
            raise GraphError(
                f"node {node.name!r} reads {missing[0]!r}, which no earlier node defines."
            )
        for key, array in node.weights.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise GraphError(
                    f"weight {key!r} of node {node.name!r} ({node.path}) is not finite."
                )

    def run(self, x: Any, mode: str = "integer", backend: str | None = None) -> Any:
        """Run timed input [T, B, ...]: numpy arrays without torch, torch tensors on their device.

        Args:
            x: encoded input, floating point.
            mode: ``integer`` (counts) or ``slots`` (T*D binary slots, biases once a timestep).
            backend: ``event`` skips what is silent, on the CPU; None follows the type and device of ``x``.

        Returns:
            [B, ...], or [T, B, ...] with the readout ``none``.
        """
        return self.execute(x, mode, backend=backend).output

    def execute(
        self, x: Any, mode: str = "integer", record: bool = False, backend: str | None = None
    ) -> Execution:
        """Like :meth:`run`, with counts and membranes of every neuron where ``record`` is set."""
        from synfire.export.executors import execute

        return execute(self, x, mode=mode, record=record, backend=backend)

    def save(self, folder: Path | str, overwrite: bool = False) -> Path:
        """Write ``graph.json`` and ``weights.safetensors`` into ``folder``, which appears when complete."""
        from synfire.export.storage import save_graph

        return save_graph(self, folder, overwrite)

    @classmethod
    def load(cls, folder: Path | str) -> SpikeGraph:
        """Read a saved graph; damage, a newer schema or an unknown operator raise GraphError."""
        from synfire.export.storage import load_graph

        return load_graph(folder)

    def __str__(self) -> str:
        lines = [f"SpikeGraph, {len(self.nodes)} nodes, T={self.timesteps}, readout {self.readout}"]
        for node in self.nodes:
            inputs = ", ".join(node.inputs)
            lines.append(
                f"  {node.name}: {node.op}({inputs}) -> {list(node.shape)} {node.edge.kind}"
                + (f"  [{node.path}]" if node.path else "")
            )
        return "\n".join(lines)
