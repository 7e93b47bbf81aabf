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
    backend: str | None = None,
) -> Execution:
    """Run ``graph`` on timed input [T, B, ...].

    Args:
        x: numpy array or torch tensor, floating point, finite; the backend follows its type and device.
        mode: ``integer`` or ``slots``.
        record: keep counts and charged membranes of every neuron, [T, B, ...].
        backend: ``event``: counts as bytes, compiled steps that skip silence, on the CPU
            (:class:`synfire.export.executors.event.EventExecutor`, which does not lay weights out at each call); a
            record then has no membranes. None: by the type and device of ``x``.
        observe: called as ``observe(node, inputs, output)`` for each node at each timestep with arrays [B, ...].
    """
    if mode not in MODES:
        raise InputError(f"a graph runs in mode {' or '.join(MODES)}, got {mode!r}.")
    _check_input(graph, x)
    if backend is not None:
        return _execute_events(graph, x, mode, record, observe, backend)
    if isinstance(x, np.ndarray):
        from synfire.export.executors.numpy_backend import NumpyBackend

        return Interpreter(graph, NumpyBackend(graph.dtype), mode, record, observe).run(x)
    from synfire.export.executors.torch_backend import TorchBackend, no_grad

    with no_grad():
        arrays = TorchBackend(graph.dtype, x.device)
        return Interpreter(graph, arrays, mode, record, observe).run(x)


def _execute_events(
    graph: SpikeGraph, x: Any, mode: str, record: bool, observe: Observer | None, backend: str
) -> Execution:
    if backend != "event" or mode != "integer" or observe is not None:
        raise InputError(
            f"the only named backend is 'event', in mode 'integer' and unobserved, got {backend!r} in mode {mode!r}."
        )
    from synfire.export.executors.event import execute_once

    return execute_once(graph, x, record)


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


@runtimes.register("event")
def run_event(graph: SpikeGraph, x: Any) -> Execution:
    """Counts, by events on the CPU."""
    return execute(graph, x, record=True, backend="event")
