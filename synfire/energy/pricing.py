"""From work to picojoules: arithmetic alone, or arithmetic with memory traffic and addressing.

Memory-aware: Lemaire et al., An Analytical Estimation of Spiking Neural Networks Energy Efficiency
(2022), per layer E = E_operations + E_addressing + E_memory, each access priced by the size of its
buffer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from synfire.energy.records import PERCENTILES
from synfire.energy.tables import Hardware, Precision
from synfire.energy.workload import FULL, Amount, LayerWork, NeuronWork, Workload

MODELS = ("compute-only", "memory-aware")
Breakdown = dict[str, Amount]


@dataclass(frozen=True)
class Costs:
    """Constants of one precision at one end of their ranges (``low``, ``value``, ``high``)."""

    table: Hardware
    precision: Precision
    state_bits: int
    bound: str

    @property
    def add(self) -> float:
        """One accumulate, pJ."""
        return self.precision.at(self.bound)[0]

    def multiply_add(self, factor: int = FULL) -> float:
        """A weight times a value of ``factor`` bits, added up, pJ.

        One bit needs no multiplier. In integers the multiplier's energy is taken as proportional to
        the product of both widths, which int8 (0.2 pJ) and int32 (3.1 pJ) of the table bear out; a
        floating-point unit multiplies at its full width.
        """
        add, full = self.precision.at(self.bound)
        if factor == 1:
            return add
        if factor == FULL or self.precision.number == "float":
            return full
        return add + (full - add) * min(1.0, factor / self.precision.weight_bits)

    @property
    def address(self) -> tuple[float, float]:
        """An int32 addition and an int32 multiplication, pJ."""
        integer = self.table.operations_pj["int32"]
        return integer["add"], integer["multiply"]

    def move(self, bits: float, buffer_bits: float) -> float:
        """Reading or writing ``bits`` in a buffer of ``buffer_bits``, pJ."""
        return bits * self.table.memory.per_bit(buffer_bits / 8, self.bound)


@dataclass(frozen=True)
class Estimate:
    """Estimated energy per sample in pJ.

    Attributes:
        model: compute-only (a lower bound on arithmetic) or memory-aware.
        net: how the net is run: serialised, graded, quantised or dense.
        picojoules: mean over samples; ``low``, ``high``: 5th percentile over samples at the low end
            of the constants, 95th at their high end.
        breakdown: mean of each term.
    """

    model: str
    net: str
    precision: str
    picojoules: float
    low: float
    high: float
    breakdown: dict[str, float]

    @property
    def dominant(self) -> str:
        """The largest term."""
        return max(self.breakdown, key=lambda name: self.breakdown[name])


def estimate(
    work: Workload, model: str, table: Hardware, precision: Precision, state_bits: int = 32
) -> Estimate:
    """Price ``work`` with the constants of ``table``."""
    by_bound: dict[str, Breakdown] = {}
    for bound in ("low", "value", "high"):
        by_bound[bound] = breakdown(work, model, Costs(table, precision, state_bits, bound))
    terms = {name: float(np.mean(amount)) for name, amount in by_bound["value"].items()}
    mean = sum(terms.values())
    low = float(np.percentile(_sum(by_bound["low"]), PERCENTILES[0]))
    high = float(np.percentile(_sum(by_bound["high"]), PERCENTILES[1]))
    return Estimate(model, work.net, precision.name, mean, min(low, mean), max(high, mean), terms)


def _sum(terms: Breakdown) -> Any:
    return sum(terms.values())


def breakdown(work: Workload, model: str, costs: Costs) -> Breakdown:
    """pJ by term; amounts that vary by sample are arrays [S]."""
    terms: Breakdown = defaultdict(float)
    for layer in work.layers:
        name = "analog layers" if layer.factor == FULL else "synapses"
        terms[name] += layer.operations * costs.multiply_add(layer.factor)
        terms["biases"] += layer.biases * layer.node.size * costs.add
        if model == "memory-aware":
            _add_traffic(terms, layer, work, costs)
    for neurons in work.neurons:
        terms["neurons"] += (neurons.updates + neurons.resets) * costs.add
        terms["neurons"] += neurons.leaks * costs.multiply_add()
        if model == "memory-aware":
            _add_neuron_traffic(terms, neurons, work, costs)
    terms["other arithmetic"] += work.additions * costs.add
    terms["other arithmetic"] += work.multiplications * costs.multiply_add()
    return {name: amount for name, amount in terms.items() if np.any(amount)}


def buffers(work: LayerWork, precision: Precision, state_bits: int) -> dict[str, int]:
    """Bits of the buffers of a layer: weights (for attention its stored product) and membranes."""
    weight = work.node.weights.get("weight")
    if weight is None:
        stored = _attention_memory(work) * state_bits
    else:
        bias = work.node.weights.get("bias")
        stored = (weight.size + (0 if bias is None else bias.size)) * precision.weight_bits
    return {"weights": int(stored), "potentials": work.node.size * state_bits}


def _attention_memory(work: LayerWork) -> int:
    """Entries of k^T v over all heads: channels of a key times channels of a value."""
    tokens, width = work.node.shape[-2:]
    heads = work.node.size // (tokens * width)
    key = (work.inputs // (heads * tokens) - width) // 2
    return heads * key * width


def _add_traffic(terms: Breakdown, layer: LayerWork, work: Workload, costs: Costs) -> None:
    sizes = buffers(layer, costs.precision, costs.state_bits)
    weight_bits = costs.precision.weight_bits
    weight = costs.move(weight_bits, sizes["weights"])
    state = costs.move(costs.state_bits, sizes["potentials"])
    add, multiply = costs.address
    if layer.scattered:
        bits = layer.payload + address_bits(layer.inputs)
        terms["addressing"] += layer.events * 2 * multiply + layer.operations * add
        terms["potentials"] += 2 * layer.operations * state
        terms["messages"] += layer.events * costs.move(bits, layer.inputs * bits)
    else:
        bits = weight_bits if layer.factor == FULL else layer.payload
        indices = layer.inputs + layer.node.size + sizes["weights"] // weight_bits
        terms["addressing"] += layer.passes * indices * add
        terms["messages"] += layer.operations * costs.move(bits, layer.inputs * bits)
        if work.addressed:
            terms["potentials"] += layer.passes * layer.node.size * state
    terms["weights"] += (layer.operations + layer.biases * layer.node.size) * weight


def _add_neuron_traffic(
    terms: Breakdown, neurons: NeuronWork, work: Workload, costs: Costs
) -> None:
    size = neurons.node.size
    bits = neurons.payload + (address_bits(size) if work.addressed else 0)
    terms["messages"] += neurons.sent * costs.move(bits, size * bits)
    if work.addressed:
        accesses = 2 if neurons.kept else 1
        terms["potentials"] += (
            neurons.updates * accesses * costs.move(costs.state_bits, size * costs.state_bits)
        )


def address_bits(positions: int) -> int:
    """Bits that tell one of ``positions`` from the others.

    Example:
        >>> address_bits(4096), address_bits(1)
        (12, 1)
    """
    return max(1, math.ceil(math.log2(positions)))
