"""The spike budget: synaptic operations of a forward pass as a number that can be trained down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.core.neuron import Neuron, named_neurons


@dataclass(frozen=True)
class SpikeBudget:
    """How much synaptic operations weigh in the loss.

    With operations o per image and m, the operations if every count were one:

        penalty = weight * o / m                          (target 0)
        penalty = weight * max(0, o / target - 1)         (target above 0)

    Args:
        weight: 0 switches the term off.
        target: synaptic operations per image to come down to; 0: as few as the weight makes worth
            it.
        start: share of the epochs before the term begins; after that it grows linearly over
            ``ramp``.
        ramp: share of the epochs over which it grows to its full weight.
    """

    weight: float = 0.0
    target: float = 0.0
    start: float = 0.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.target < 0:
            raise ConfigError("budget.weight and budget.target must not be negative.")
        if not (0 <= self.start <= 1 and 0 <= self.ramp <= 1):
            raise ConfigError("budget.start and budget.ramp are shares of the epochs, in [0, 1].")

    def strength(self, progress: float) -> float:
        """Weight of the term when ``progress`` (0 to 1) of the training is done.

        Example:
            >>> [SpikeBudget(weight=2.0, start=0.5, ramp=0.2).strength(p) for p in (0.4, 0.6, 0.9)]
            [0.0, 1.0, 2.0]
        """
        if progress < self.start:
            return 0.0
        if self.ramp == 0:
            return self.weight
        return self.weight * min(1.0, round((progress - self.start) / self.ramp, 9))

    def penalty(self, operations: Tensor, ceiling: float) -> Tensor:
        """The term at weight 1; ``ceiling`` is m, see above."""
        if self.target:
            return torch.relu(operations / self.target - 1.0)
        return operations / max(ceiling, 1.0)


@dataclass
class Operations:
    """Synaptic operations of one forward pass, per image.

    ``total`` is differentiable and summed over neurons and timesteps; ``ceiling`` is what it would
    be if every count were one.
    """

    parts: list[Tensor] = field(default_factory=list)
    ceiling: float = 0.0

    @property
    def total(self) -> Tensor:
        return torch.stack(self.parts).sum()


class OperationMeter:
    """Measures synaptic operations: each neuron's counts times the synapses that a count reaches.

    Args:
        net: a net with neurons.
        fan_out: neuron path to synaptic operations that one count causes (:func:`synfire.energy.mean_fan_out`).
            It is a mean over the neuron's positions, so the total differs a little from the exact
            counts of ``synfire.energy.profile``.

    Example:
        >>> from synfire.neurons import IntegerLIF
        >>> net = nn.Sequential(IntegerLIF(levels=4), nn.Linear(3, 5))
        >>> meter = OperationMeter(net, {"0": 5.0})
        >>> with meter.measure(images=2) as operations:
        ...     _ = net(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]))
        >>> operations.total.item(), operations.ceiling
        (10.0, 15.0)
    """

    def __init__(self, net: nn.Module, fan_out: Mapping[str, float]) -> None:
        self.neurons = [
            (module, fan_out[path]) for path, module in named_neurons(net) if path in fan_out
        ]
        if not self.neurons:
            raise ConfigError(
                "no neuron of the net is known to the graph, so its operations cannot be counted."
            )

    @contextmanager
    def measure(self, images: int, differentiable: bool = True) -> Iterator[Operations]:
        """Watch the forward passes of ``images`` images inside the block.

        Without ``differentiable`` nothing is kept for a gradient.
        """
        operations = Operations()
        handles = [
            neuron.register_forward_hook(_recorder(operations, fan_out, images, differentiable))
            for neuron, fan_out in self.neurons
        ]
        try:
            yield operations
        finally:
            for handle in handles:
                handle.remove()


def _recorder(operations: Operations, fan_out: float, images: int, differentiable: bool):  # type: ignore[no-untyped-def]
    def record(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        out = out if differentiable else out.detach()
        counts = out.float() if out.dtype in (torch.float16, torch.bfloat16) else out
        operations.parts.append(counts.sum() * (fan_out / (neuron.scale * images)))
        operations.ceiling += fan_out * out.numel() / images

    return record
