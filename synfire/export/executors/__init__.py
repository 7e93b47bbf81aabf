"""Executors: one interpreter of SpikeGraphs over an array backend (numpy, or torch on any device)."""

from __future__ import annotations

from typing import Any

import numpy as np

from synfire.core.errors import InputError
from synfire.core.registry import runtimes
from synfire.export.executors.interpreter import MODES, Execution, Interpreter, Observer
from synfire.export.graph import SpikeGraph

__all__ = ["MODES", "Execution", "execute"]


def execute(
    graph: SpikeGraph,
    x: Any,
    mode: str = "integer",
    record: bool = False,
    observe: Observer | None = None,
) -> Execution:
    """Run ``graph`` on timed input [T, B, ...].

    Args:
        x: numpy array or torch tensor, floating point, finite; the backend follows its type and device.
        mode: ``integer`` or ``slots``.
        record: keep counts and charged membranes of every neuron, [T, B, ...].
        observe: called as ``observe(node, inputs, output)`` for each node at each timestep with arrays [B, ...].
    """
    if mode not in MODES:
        raise InputError(f"a graph runs in mode {' or '.join(MODES)}, got {mode!r}.")
    _check_input(graph, x)
    if isinstance(x, np.ndarray):
        from synfire.export.executors.numpy_backend import NumpyBackend

        return Interpreter(graph, NumpyBackend(graph.dtype), mode, record, observe).run(x)
    from synfire.export.executors.torch_backend import TorchBackend, no_grad

    with no_grad():
        backend = TorchBackend(graph.dtype, x.device)
        return Interpreter(graph, backend, mode, record, observe).run(x)


def _check_input(graph: SpikeGraph, x: Any) -> None:
    expected = graph.source.shape
    if x.ndim < 2 or tuple(x.shape[2:]) != expected:
        raise InputError(
            f"expected a timed input [T, B, {', '.join(map(str, expected))}], got shape {tuple(x.shape)}."
        )
    finite = np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite()
    if not bool(finite.all()):
        raise InputError("the input holds NaN or infinite values: clean it before running a graph.")


@runtimes.register("integer")
def run_integer(graph: SpikeGraph, x: Any) -> Execution:
    """Counts, one pass a timestep."""
    return execute(graph, x, "integer", record=True)


@runtimes.register("slots")
def run_slots(graph: SpikeGraph, x: Any) -> Execution:
    """Binary slots, D passes a timestep."""
    return execute(graph, x, "slots", record=True)
