"""The integrate-and-fire neuron."""

from __future__ import annotations

from synfire.kernels.surrogates import Surrogate
from synfire.neurons.spiking import SpikingNeuron, check_threshold


class IF(SpikingNeuron):
    r"""Integrate and fire, without a leak.

        h_t = v_{t-1} + x_t;  s_t = 1[h_t >= threshold];  v_t = h_t - threshold * s_t  (soft reset)

    With a hard reset v_t = reset_value where it spiked, with none v_t = h_t. The surrogate is a function of
    h_t - threshold in membrane units.

    Args:
        timesteps: T, real timesteps folded into the first axis.
        threshold: membrane at which a spike is sent, above 0.
        reset: ``soft``, ``hard`` or ``none``.
        reset_value: membrane after a spike with a hard reset.
        detach_reset: whether gradients ignore the reset.
        surrogate: name or :class:`Surrogate`.

    Shapes: [T*B, ...] to spikes {0, 1} of the same shape and dtype; membranes are float32 (float64 for float64).

    Example:
        >>> import torch
        >>> IF()(torch.tensor([[0.4, 1.2]])).tolist()
        [[0.0, 1.0]]
    """

    def __init__(
        self,
        timesteps: int = 1,
        threshold: float = 1.0,
        reset: str = "soft",
        reset_value: float = 0.0,
        detach_reset: bool = True,
        surrogate: str | Surrogate = "arctan",
    ) -> None:
        super().__init__(
            timesteps,
            reset=reset,
            surrogate=surrogate,
            decay=1.0,
            threshold=check_threshold(threshold),
            reset_value=reset_value,
            detach_reset=detach_reset,
        )
