"""The one call: run a graph on samples, count, price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from synfire.core.errors import ConfigError
from synfire.energy.counting import Counts, count
from synfire.energy.messages import activation_bits
from synfire.energy.pricing import MODELS, Estimate, estimate
from synfire.energy.records import Operation, layer_records, neuron_records, total
from synfire.energy.report import Conditions, EnergyReport
from synfire.energy.tables import Hardware
from synfire.energy.tables import hardware as table_of
from synfire.energy.wording import assumptions, statement, warnings
from synfire.energy.workload import NETS, other_operations, workload
from synfire.export.graph import SpikeGraph

FRAMES = {"each_step": "frames", "once": "distinct_frames"}


def profile(
    graph: SpikeGraph,
    inputs: Any,
    hardware: str | Hardware = "45nm",
    batch_size: int = 64,
    precision: str = "fp32",
    exact: bool = True,
    first_layer: str = "each_step",
    state_bits: int = 32,
    access_bits: int | None = None,
) -> EnergyReport:
    """Count the operations of ``graph`` on ``inputs`` and estimate their energy, per sample.

    Every figure comes from the executed graph: which synapses a message reaches (borders, stride,
    groups and pruned weights respected), how often each neuron fires. Energies are estimates of the
    counted operations, in picojoules, not measurements of a chip.

    Args:
        graph: a SpikeGraph; it runs in integer mode.
        inputs: encoded input [T, B, ...], numpy or torch, or an iterable of such batches. Samples
            [B, ...] are taken for nets with T = 1 or direct encoding.
        hardware: name of a table, or one of your own (:func:`synfire.energy.from_dict`).
        batch_size: samples that run together; it bounds memory and changes no figure.
        precision: fp32, fp16, int32 or int8, for the spiking and the quantised net alike.
        exact: False counts by the interior formula, for comparison with counters that do so.
        first_layer: layers on analog input run ``each_step``, as published estimates have it, or
            ``once`` for each frame that differs from the one before, its result being kept.
        state_bits: width of a membrane.
        access_bits: width over which the energy of a memory access is spread; None: the table's.

    Example:
        >>> import numpy as np
        >>> from synfire.export.graph import Edge, Node, SpikeGraph
        >>> weight = np.array([[1, 0, 2]], np.float32)
        >>> graph = SpikeGraph([
        ...     Node("x", "Source", (), (3,), Edge("count", high=4)),
        ...     Node("fc", "Linear", ("x",), (1,), Edge("potential"), weights={"weight": weight}),
        ...     Node("out", "Sink", ("fc",), (1,), Edge("potential"), attrs={"scale": 1.0}),
        ... ])
        >>> report = profile(graph, np.array([[[3, 1, 0]]], np.float32))
        >>> report.totals.sop_msg, report.totals.sop_unit, report.totals.dense_macs
        (1.0, 3.0, 3)
    """
    if first_layer not in FRAMES:
        raise ConfigError(f"first_layer must be {' or '.join(FRAMES)}, got {first_layer!r}.")
    if state_bits < 1:
        raise ConfigError(f"state_bits must be at least 1, got {state_bits}.")
    table = _with_access(table_of(hardware) if isinstance(hardware, str) else hardware, access_bits)
    chosen = table.precision(precision)
    counts = count(graph, inputs, batch_size, exact)
    layers, neurons = layer_records(counts, FRAMES[first_layer]), neuron_records(counts)
    operations = other_operations(counts)
    levels = max((row.levels for row in neurons), default=1)
    conditions = Conditions(
        timesteps=counts.timesteps,
        levels=levels,
        quantised_bits=activation_bits(counts.timesteps, levels),
        samples=counts.samples,
        exact=exact,
        hardware=table.name,
        technology=table.technology,
        source=table.source,
        precision=precision,
        ratio=chosen.ratio,
        first_layer=first_layer,
        state_bits=state_bits,
        access_bits=table.memory.access_bits,
        weight_type=str(graph.dtype),
        readout=graph.readout,
        meta={
            key: value for key, value in graph.meta.items() if isinstance(value, str | int | float)
        },
    )
    prices = {
        name: _estimates(counts, operations, FRAMES[first_layer], table, name, state_bits)
        for name in table.precisions
    }
    report = EnergyReport(
        conditions,
        layers,
        neurons,
        operations,
        total(counts, layers, neurons),
        prices[precision],
        {name: estimates for name, estimates in prices.items() if name != precision},
    )
    return replace(
        report,
        assumptions=assumptions(report, table),
        warnings=warnings(report, table),
        statement=statement(report),
    )


def _with_access(table: Hardware, access_bits: int | None) -> Hardware:
    if access_bits is None:
        return table
    low, high = table.memory.access_bits_range
    if not low <= access_bits <= high:
        raise ConfigError(f"access_bits must lie in {low} to {high}, got {access_bits}.")
    return replace(table, memory=replace(table.memory, access_bits=access_bits))


def _estimates(
    counts: Counts,
    operations: list[Operation],
    frames: str,
    table: Hardware,
    precision: str,
    state_bits: int,
) -> list[Estimate]:
    chosen = table.precision(precision)
    works = [workload(counts, net, frames, operations) for net in NETS]
    return [estimate(work, model, table, chosen, state_bits) for model in MODELS for work in works]
