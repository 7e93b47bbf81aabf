"""What a profile found: records, totals, estimates, and the conditions that they hold under."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from synfire.core.errors import UnknownNameError
from synfire.energy.pricing import Estimate
from synfire.energy.records import Layer, Neurons, Operation, Totals


@dataclass(frozen=True)
class Conditions:
    """What the figures depend on.

    Attributes:
        timesteps, levels: T that ran, and the largest D of a neuron.
        quantised_bits: ceil(log2(T * D + 1)), the activation width of the non-spiking net beside
            it.
        ratio: accumulates that one multiply-accumulate costs.
        weight_type: number type of the graph's weights, which ``precision`` need not match.
    """

    timesteps: int
    levels: int
    quantised_bits: int
    samples: int
    exact: bool
    hardware: str
    technology: str
    source: str
    precision: str
    ratio: float
    first_layer: str
    state_bits: int
    access_bits: int
    weight_type: str
    readout: str
    meta: dict[str, Any]


@dataclass(frozen=True)
class EnergyReport:
    """Operations and estimated energy per sample.

    Attributes:
        layers: synapses, in order of execution; ``neurons``: populations; ``operations``: the rest.
        totals: sums of the records.
        estimates: for the chosen precision, every model and way to run the net.
        other_precisions: the same for the table's other precisions, as the choice decides a lot.
        statement: how the spiking net and the quantised net are related.
    """

    conditions: Conditions
    layers: list[Layer]
    neurons: list[Neurons]
    operations: list[Operation]
    totals: Totals
    estimates: list[Estimate]
    other_precisions: dict[str, list[Estimate]]
    assumptions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statement: str = ""

    @property
    def unpriced(self) -> list[Operation]:
        """Operations that no estimate holds."""
        return [operation for operation in self.operations if not operation.priced]

    def estimate(self, model: str, net: str) -> Estimate:
        """The estimate of ``model`` (compute-only, memory-aware) for ``net`` (serialised, graded,
        quantised, dense)."""
        for found in self.estimates:
            if (found.model, found.net) == (model, net):
                return found
        names = [f"{found.model}/{found.net}" for found in self.estimates]
        raise UnknownNameError("estimate", f"{model}/{net}", names)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, schema 1; energies in pJ, figures per sample."""
        return {
            "schema": 1,
            "model": asdict(self.conditions),
            "assumptions": self.assumptions,
            "statement": self.statement,
            "layers": [asdict(row) for row in self.layers],
            "neurons": [asdict(row) for row in self.neurons],
            "operations": [asdict(row) for row in self.operations],
            "totals": asdict(self.totals),
            "energy": [_energy(estimate) for estimate in self.estimates],
            "other_precisions": {
                name: [_energy(estimate) for estimate in estimates]
                for name, estimates in self.other_precisions.items()
            },
            "unsupported": [
                {"node": row.name, "op": row.op, "reason": row.reason, "elements": row.elements}
                for row in self.unpriced
            ],
            "warnings": self.warnings,
        }

    def summary(self) -> str:
        """A table for the terminal."""
        from synfire.energy.summary import summary

        return summary(self)

    def __str__(self) -> str:
        return self.summary()


def _energy(estimate: Estimate) -> dict[str, Any]:
    row = asdict(estimate)
    row["pj"] = row.pop("picojoules")
    row["dominant"] = estimate.dominant
    return row
