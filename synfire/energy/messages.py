"""What travels on an edge, by its declared type; that a value happens to be 1 decides nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from synfire.core.errors import InputError
from synfire.export.graph import Node, SpikeGraph

_REARRANGING = ("Reshape", "Upsample", "Delay", "Recurrence", "Concat")


@dataclass(frozen=True)
class Message:
    """The class of the values on an edge.

    Attributes:
        kind: ``binary`` (0 or 1), ``graded`` (0..levels), ``analog`` (the encoded input) or
            ``real`` (any other number, such as the sum of a shortcut).
        levels: largest count; 0 where the values are not counts.
        unit: what a count of one is on the edge; below 1 behind average pooling, whose divisor a
            chip folds into the next weights.
    """

    kind: str
    levels: int = 0
    unit: float = 1.0

    @property
    def counted(self) -> bool:
        """Whether the values are counts, so that spikes can carry them."""
        return self.levels > 0

    def payload_bits(self, timesteps: int = 1) -> int:
        """Bits of the count beside its address; none if a message can only mean one."""
        return activation_bits(timesteps, self.levels) if self.levels * timesteps > 1 else 0

    def counts(self, value: Any) -> Any:
        """The values of the edge as whole counts 0..levels; anything else raises InputError."""
        scaled = value if self.unit == 1.0 else value / self.unit
        whole = scaled.round()
        same = whole == scaled if self.unit == 1.0 else abs(whole - scaled) <= 1e-3
        if not (bool(same.all()) and whole.min() >= 0 and whole.max() <= self.levels):
            raise InputError(
                f"a count edge holds values other than the whole numbers 0..{self.levels}, in which "
                "energy is counted: trace the net again, and do not normalise its outputs by D."
            )
        return whole


ANALOG = Message("analog")
REAL = Message("real")


def activation_bits(timesteps: int, levels: int) -> int:
    """ceil(log2(T * D + 1)): bits of a quantised activation that tells as much as T steps of 0..D.

    Source: Yan, Bai, Wong, Reconsidering the Energy Efficiency of SNNs (2024), with D levels a
    step.

    Example:
        >>> activation_bits(1, 4), activation_bits(4, 1), activation_bits(4, 8)
        (3, 3, 6)
    """
    return math.ceil(math.log2(timesteps * levels + 1))


def message(graph: SpikeGraph, name: str, through: frozenset[str] = frozenset()) -> Message:
    """The class of what node ``name`` sends.

    ``through`` holds the nodes already followed, so that a loop over a Recurrence ends.
    """
    node = graph[name]
    if node.edge.kind == "count":
        return _of_levels(_levels(node))
    if node.op == "Source":
        return ANALOG
    if name in through or node.edge.kind == "real":
        return REAL
    sent = [message(graph, sender, through | {name}) for sender in node.inputs]
    if node.op in _REARRANGING and len(set(sent)) == 1:
        return sent[0]
    if node.op == "Pool":
        return _pooled(node, sent[0])
    return REAL


def encoder_name(source: Node) -> str:
    """The encoder that a Source records, empty without one."""
    return str((source.attrs.get("encoder") or {}).get("name", ""))


def _pooled(node: Node, sent: Message) -> Message:
    if not sent.counted:
        return sent
    if node.attrs["kind"] == "max":
        return sent
    unit = sent.unit / node.attrs["divisor"] if node.attrs["kind"] == "avg" else sent.unit
    return _of_levels(sent.levels * math.prod(node.attrs["kernel"]), unit)


def _levels(node: Node) -> int:
    if node.op == "Neuron" and "levels" in node.attrs:
        return int(node.attrs["levels"])
    if node.edge.high is not None:
        return int(node.edge.high)
    return int(2**node.edge.bits - 1)


def _of_levels(levels: int, unit: float = 1.0) -> Message:
    return Message("binary" if levels == 1 else "graded", levels, unit)
