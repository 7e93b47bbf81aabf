"""Event-driven execution of whole graphs on the CPU: counts stay bytes between layers, one compiled call a timestep.

Each Conv and Linear sums over the events of its input, or multiplies densely where the measured density of its input
makes that faster; its bias, a shortcut and the neuron behind it run while the sums are in the first cache. The counts
are those of the ordinary executor: bit for bit where weights are dyadic; elsewhere float32 sums in another order may
round a membrane that lies on a threshold the other way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, GraphError, InputError
from synfire.export.executors.event_steps import WEIGHTS, Lowering
from synfire.export.executors.interpreter import Execution
from synfire.export.graph import SpikeGraph
from synfire.kernels import native

_KEPT = 4  # batch sizes whose buffers are kept


@dataclass(frozen=True)
class Choice:
    """How one product ran last: measured events an input element (None: not counted), the limit, and the path."""

    node: str
    density: float | None
    limit: float
    path: str


class EventExecutor:
    """Runs one graph again and again; weights are laid out once, buffers once a batch size.

    Args:
        graph: a float32 graph of Conv (2-d), Linear, Neuron, Add, Pool, Scale, Reshape (view) and Concat nodes.
        weights: ``float32``, or ``int8``: each output channel of a layer that reads counts gets a scale of its own and
            integer weights, so the net is another one, near the first; layers that read real numbers stay as they are.
        density_limit: events an element, above which a product runs dense; None: estimated for each layer's shape; 0
            and infinity force one path.
        threads: at most; None: torch's number. Results do not depend on it.

    Raises:
        GraphError: nodes that this executor cannot run, all of them, with reasons.
        ConfigError: unknown weights, or the compiled kernels are absent.

    Example:
        >>> import numpy as np
        >>> from synfire.export.graph import Edge, Node
        >>> source = Node("x", "Source", (), (2,), Edge("potential"))
        >>> weight = np.ones((1, 2), np.float32)
        >>> linear = Node("fc", "Linear", ("x",), (1,), Edge("potential"), weights={"weight": weight})
        >>> sink = Node("out", "Sink", ("fc",), (1,), Edge("potential"), attrs={"scale": 1.0})
        >>> executor = EventExecutor(SpikeGraph([source, linear, sink]))  # doctest: +SKIP
        >>> executor(torch.ones(1, 3, 2)).tolist()  # doctest: +SKIP
        [[[2.0], [2.0], [2.0]]]
    """

    def __init__(
        self,
        graph: SpikeGraph,
        weights: str = "float32",
        density_limit: float | None = None,
        threads: int | None = None,
    ) -> None:
        if weights not in WEIGHTS:
            raise ConfigError(f"weights are one of {', '.join(WEIGHTS)}, got {weights!r}.")
        absence = native.absence()
        if absence:
            raise ConfigError(f"the event executor is compiled: {absence}.")
        self.graph, self.threads = graph, threads
        self._lowering = Lowering(graph, weights, density_limit)
        self._nets: dict[tuple[int, bool], _Net] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Timed input [T, B, ...] to the output after the readout, as ``graph.run`` gives it."""
        return self.execute(x).output

    def execute(self, x: Tensor, record: bool = False) -> Execution:
        """Like ``graph.execute``; a record holds counts, no membranes, which never leave the caches.

        Raises:
            InputError: x has another shape, or lies on another device.
        """
        if x.ndim < 2 or tuple(x.shape[2:]) != self.graph.source.shape or x.shape[0] == 0:
            expected = ", ".join(map(str, self.graph.source.shape))
            raise InputError(
                f"expected a timed input [T, B, {expected}], got shape {tuple(x.shape)}."
            )
        if x.device.type != "cpu":
            raise InputError(f"the event executor runs on the CPU, the input is on {x.device}.")
        net = self._net(x.shape[1], x.shape[0] > 1)
        with torch.no_grad():
            return net.run(x, self.threads or torch.get_num_threads(), record)

    def choices(self) -> list[Choice]:
        """The paths of the last call, one for each product in order of execution."""
        if not self._nets:
            raise GraphError("the executor has not run yet: call it first.")
        net = list(self._nets.values())[-1]
        return [
            Choice(name, None if density < 0 else density, limit, "dense" if was_dense else "event")
            for name, (density, limit, was_dense) in zip(
                net.products, net.program.choices(), strict=True
            )
        ]

    def _net(self, batch: int, stateful: bool) -> _Net:
        key = (batch, stateful)
        net = self._nets.pop(key, None)  # the last one used stands last
        if net is None:
            net = _Net(self._lowering, batch, stateful)
            while len(self._nets) >= _KEPT:
                del self._nets[next(iter(self._nets))]
        self._nets[key] = net
        return net


class _Net:
    """The program of one batch size with all its buffers."""

    def __init__(self, lowering: Lowering, batch: int, stateful: bool) -> None:
        built = lowering.build(batch, stateful)
        self.graph, self.program, self.products = lowering.graph, built.program, built.products
        self.input, self.output = built.input, built.output
        self.states, self.counts, self._alive = built.states, built.counts, built.alive
        self.scale = float(self.graph.sink.attrs["scale"])

    def run(self, x: Tensor, threads: int, record: bool) -> Execution:
        for state in self.states:
            state.zero_()
        steps: list[Tensor] = []
        counts: dict[str, list[Tensor]] = {name: [] for name in self.counts} if record else {}
        for x_t in x.unbind(0):
            self.input.write(x_t)
            self.program.run(threads)
            out = self.output.read()
            steps.append(out if self.scale == 1.0 else out * self.scale)
            for name in counts:
                counts[name].append(self.counts[name].read())
        stacked = steps[0].unsqueeze(0) if len(steps) == 1 else torch.stack(steps)
        output = {
            "mean": lambda: steps[0] if len(steps) == 1 else stacked.sum(0) / len(steps),
            "last": lambda: steps[-1],
            "none": lambda: stacked,
        }[self.graph.readout]()
        return Execution(output, stacked, {name: torch.stack(c) for name, c in counts.items()})


def execute_once(graph: SpikeGraph, x: Any, record: bool) -> Execution:
    """One run of a fresh executor, on a tensor, or on an array with results that are arrays."""
    if isinstance(x, Tensor):
        return EventExecutor(graph).execute(x, record)
    execution = EventExecutor(graph).execute(torch.from_numpy(x), record)
    counts = {name: value.numpy() for name, value in execution.counts.items()}
    return Execution(execution.output.numpy(), execution.steps.numpy(), counts)
