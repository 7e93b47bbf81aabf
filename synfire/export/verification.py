"""Equality is tested, not claimed: the counts of every neuron, in the module and in every runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from synfire.core.errors import GraphError, InputError
from synfire.core.neuron import named_neurons
from synfire.core.registry import runtimes as registered_runtimes
from synfire.core.time import Folded
from synfire.export.executors import Execution
from synfire.export.graph import Node, SpikeGraph
from synfire.export.tracing import as_folded, trace

if TYPE_CHECKING:
    from collections.abc import Iterator

Runtime = Callable[[SpikeGraph, Tensor], Execution]


@dataclass
class Difference:
    """The first count that differs: in order of execution, then time, then sample.

    ``membrane`` is the charged membrane of the integer graph in units of the threshold, ``distance`` how far it lies
    from the nearest value where the count changes: a rounding flip has a tiny one, a wrong net has not.
    """

    runtime: str
    neuron: str
    call: int
    timestep: int
    sample: int
    index: tuple[int, ...]
    expected: int
    got: int
    membrane: float
    distance: float

    def __str__(self) -> str:
        return (
            f"{self.runtime}: neuron {self.neuron} (call {self.call}), t={self.timestep}, sample {self.sample}, "
            f"index {self.index}: module {self.expected}, runtime {self.got}; membrane {self.membrane:.7g}, "
            f"{self.distance:.2g} from the nearest threshold"
        )


@dataclass
class RuntimeResult:
    """How one runtime compares with the module."""

    runtime: str
    neurons: int = 0
    counts: int = 0
    flips: int = 0
    neurons_with_flips: int = 0
    samples: int = 0
    predictions_differ: int = 0
    largest_logit_difference: float = 0.0
    predictions: list[int] = field(default_factory=list, repr=False)

    @property
    def exact(self) -> bool:
        """Equal counts in every neuron and equal predictions."""
        return self.flips == 0 and self.predictions_differ == 0


@dataclass
class VerifyReport:
    """What :func:`verify` found; ``str`` gives a table."""

    results: list[RuntimeResult]
    first_difference: Difference | None
    dtype: str
    timesteps: int

    @property
    def exact(self) -> bool:
        """Every runtime has equal counts in every neuron and equal predictions."""
        return all(result.exact for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the predictions."""
        rows = []
        for result in self.results:
            row = asdict(result) | {"exact": result.exact}
            del row["predictions"]
            rows.append(row)
        return {
            "exact": self.exact,
            "dtype": self.dtype,
            "timesteps": self.timesteps,
            "results": rows,
            "first_difference": None
            if self.first_difference is None
            else asdict(self.first_difference),
        }

    def __str__(self) -> str:
        head = (
            f"{'runtime':<10}{'neurons':>8}{'counts':>14}{'flips':>9}"
            f"{'predictions differ':>20}{'logits differ by':>18}"
        )
        lines = [f"module in {self.dtype}, T={self.timesteps}, compared with its graph:", head]
        for r in self.results:
            lines.append(
                f"{r.runtime:<10}{r.neurons:>8}{r.counts:>14}{r.flips:>9}"
                f"{r.predictions_differ:>13} of {r.samples:<4}{r.largest_logit_difference:>17.3g}"
            )
        lines.append("exact: equal counts in every neuron" if self.exact else "not exact")
        if self.first_difference is not None:
            lines.append(f"first difference: {self.first_difference}")
            if self.dtype == "float32" and self.first_difference.distance < 1e-4:
                lines.append(
                    "sums in another order round differently; verify(..., dtype=torch.float64) tells"
                )
        return "\n".join(lines)


def verify(
    net: nn.Module,
    x: Tensor,
    *,
    runtimes: tuple[str, ...] | Mapping[str, Runtime] = ("integer", "slots"),
    graph: SpikeGraph | None = None,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
) -> VerifyReport:
    """Compare a net in eval mode with its graph in every runtime: counts of all neurons, predictions, logits.

    Args:
        net: the module; it is copied, not changed.
        x: input as the net takes it, [B, ...] or [T, B, ...].
        runtimes: names of registered runtimes, or a mapping from name to ``(graph, x [T, B, ...]) -> Execution``.
        graph: the graph to compare with; by default the net's own trace.
        dtype: run everything in this type. Trained float32 weights can flip counts next to a threshold, because a
            sum in another order rounds differently; float64 tells such flips from wrong nets.
        generator: for stochastic encoders; module and runtimes see the same draws.
        batch_size: samples run at once.

    Example:
        >>> import synfire
        >>> net = synfire.create_model("spiking_cnn_tiny", num_classes=10)
        >>> verify(net, torch.rand(4, 1, 8, 8), dtype=torch.float64).exact
        True
    """
    net = copy.deepcopy(net).eval()
    if dtype is not None:
        net, x = net.to(dtype), x.to(dtype)
    container = as_folded(net)
    parameter = next(container.parameters(), None)
    if parameter is not None:
        x = x.to(parameter.device, parameter.dtype)
    if not bool(x.isfinite().all()):
        raise InputError("the input holds NaN or infinite values: clean it before verifying.")
    graph = graph or trace(net, x)
    axis = 0 if container.is_static(x) else 1
    if x.shape[axis] == 0:
        raise InputError("expected at least one sample to verify on, got none.")
    comparison = _Comparison(net, graph, _named_runtimes(runtimes))
    with torch.no_grad():
        for part in x.split(batch_size, axis):
            folded = container.encode(part, generator)
            comparison.add(container, folded)
    return VerifyReport(
        list(comparison.results.values()),
        comparison.first,
        str(x.dtype).removeprefix("torch."),
        graph.timesteps,
    )


def _named_runtimes(runtimes: tuple[str, ...] | Mapping[str, Runtime]) -> dict[str, Runtime]:
    if isinstance(runtimes, Mapping):
        return dict(runtimes)
    return {name: registered_runtimes[name] for name in runtimes}


class _Comparison:
    """Accumulates what every runtime does on batch after batch."""

    def __init__(self, net: nn.Module, graph: SpikeGraph, runtimes: dict[str, Runtime]) -> None:
        self.net, self.graph, self.runtimes = net, graph, runtimes
        self.results = {
            name: RuntimeResult(name, neurons=len(graph.neurons())) for name in runtimes
        }
        self.flipped: dict[str, set[str]] = {name: set() for name in runtimes}
        self.first: Difference | None = None
        self.seen = 0

    def add(self, container: Folded, folded: Tensor) -> None:
        with _recorded_counts(self.net) as counts:
            logits = container.run_folded(folded)
        expected = self._by_node(counts, container.timesteps)
        timed = folded.unflatten(0, (container.timesteps, -1))
        for name, run in self.runtimes.items():
            self._compare(name, run(self.graph, timed), expected, logits)
        self.seen += timed.shape[1]

    def _by_node(self, counts: dict[tuple[str, int], Tensor], timesteps: int) -> dict[str, Tensor]:
        by_node = {}
        for node in self.graph.neurons():
            key = (node.path, node.attrs["call"])
            if key not in counts:
                raise GraphError(
                    f"the net never called the neuron {node.path!r} of the graph: trace it again."
                )
            by_node[node.name] = counts[key].unflatten(0, (timesteps, -1))
        return by_node

    def _compare(
        self, name: str, run: Execution, expected: dict[str, Tensor], logits: Tensor
    ) -> None:
        result = self.results[name]
        for node in self.graph.neurons():
            got = torch.as_tensor(run.counts[node.name]).to(expected[node.name])
            differs = got != expected[node.name]
            result.counts += differs.numel()
            flips = int(differs.sum())
            result.flips += flips
            if flips:
                self.flipped[name].add(node.name)
                if self.first is None:
                    self.first = self._locate(name, node, run, expected[node.name], got, differs)
        result.neurons_with_flips = len(self.flipped[name])
        output = torch.as_tensor(run.output).to(logits)
        result.largest_logit_difference = max(
            result.largest_logit_difference, float((output - logits).abs().max())
        )
        predicted, wanted = output.argmax(-1), logits.argmax(-1)
        result.predictions_differ += int((predicted != wanted).sum())
        result.predictions += predicted.flatten().tolist()
        result.samples += predicted.numel()

    def _locate(
        self, name: str, node: Node, run: Execution, expected: Tensor, got: Tensor, differs: Tensor
    ) -> Difference:
        place = tuple(int(i) for i in differs.nonzero()[0])
        membrane = float("nan")
        if node.name in run.membranes:
            threshold = np.broadcast_to(node.weights.get("threshold", np.ones(())), node.shape)
            membrane = float(run.membranes[node.name][place]) / float(threshold[place[2:]])
        return Difference(
            runtime=name,
            neuron=node.path,
            call=int(node.attrs["call"]),
            timestep=place[0],
            sample=self.seen + place[1],
            index=place[2:],
            expected=round(float(expected[place])),
            got=round(float(got[place])),
            membrane=membrane,
            distance=_distance_to_threshold(membrane, node),
        )


def _distance_to_threshold(membrane: float, node: Node) -> float:
    first = 1.0 if node.attrs.get("rounding", "floor") == "floor" else 0.5
    edges = np.arange(node.attrs["levels"]) + first
    return float(np.abs(edges - membrane).min())


@contextmanager
def _recorded_counts(net: nn.Module) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Counts [T*B, ...] of every neuron call while the block runs, by module path and call index."""
    counts: dict[tuple[str, int], Tensor] = {}
    calls: dict[str, int] = {}
    handles = []

    def hook(path: str, scale: float) -> Any:
        def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
            index = calls.get(path, 0)
            calls[path] = index + 1
            counts[path, index] = (output / scale).round()

        return record

    for path, neuron in named_neurons(net):
        handles.append(neuron.register_forward_hook(hook(path, neuron.scale)))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
