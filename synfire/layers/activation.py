"""How layers come by their neurons: from a factory that the model hands them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from synfire.core.errors import ConfigError
from synfire.neurons import IntegerLIF

NeuronFactory = Callable[[], nn.Module]


def spike_activation(activation: str, levels: int, timesteps: int) -> NeuronFactory:
    """A factory of the activations of a model.

    Args:
        activation: ``spike`` for IntegerLIF, ``relu`` for the non-spiking net of the same shape (T must be 1).
        levels, timesteps: D and T of the neurons.

    Example:
        >>> spike_activation("spike", levels=4, timesteps=1)().levels
        4
    """
    if activation == "spike":
        return lambda: IntegerLIF(levels=levels, timesteps=timesteps)
    if activation == "relu":
        if timesteps != 1:
            raise ConfigError(f"a ReLU net has no time: timesteps must be 1, got {timesteps}.")
        return nn.ReLU
    raise ConfigError(f"activation must be spike or relu, got {activation!r}.")
