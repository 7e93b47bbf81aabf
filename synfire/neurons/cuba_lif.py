"""The current-based leaky integrate-and-fire neuron, the model that Loihi runs natively."""

from __future__ import annotations

from synfire.kernels.surrogates import Surrogate
from synfire.neurons.spiking import SpikingNeuron, check_decay, check_threshold


class CubaLIF(SpikingNeuron):
    r"""A leaky synaptic current in front of a leaky membrane.

        i_t = current_decay * i_{t-1} + input_gain * x_t;  h_t = decay * v_{t-1} + i_t
        s_t = 1[h_t >= threshold];  v_t = 0 where it spiked  (hard reset, the default here as on the chip)

    A spike does not reset the current.

    Args:
        timesteps: T, real timesteps folded into the first axis.
        current_decay: factor kept of the current, in [0, 1].
        decay: factor kept of the membrane, in [0, 1].
        threshold: membrane at which a spike is sent, above 0.
        input_gain: factor of the input.
        reset, reset_value, detach_reset, surrogate: as in :class:`LIF`.

    Example:
        >>> import torch
        >>> from synfire import functional as F
        >>> spikes, state = F.cuba_lif(torch.ones(3, 1), current_decay=0.5, decay=0.5, threshold=2.0)
        >>> spikes.flatten().tolist(), sorted(state)
        ([0.0, 1.0, 0.0], ['i', 'v'])
    """

    def __init__(
        self,
        timesteps: int = 1,
        current_decay: float = 0.5,
        decay: float = 0.5,
        threshold: float = 1.0,
        input_gain: float = 1.0,
        reset: str = "hard",
        reset_value: float = 0.0,
        detach_reset: bool = True,
        surrogate: str | Surrogate = "arctan",
    ) -> None:
        super().__init__(
            timesteps,
            reset=reset,
            surrogate=surrogate,
            current_decay=check_decay(current_decay, "current_decay"),
            decay=check_decay(decay),
            threshold=check_threshold(threshold),
            input_gain=input_gain,
            reset_value=reset_value,
            detach_reset=detach_reset,
        )
