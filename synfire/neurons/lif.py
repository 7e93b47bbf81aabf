"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from synfire.kernels.surrogates import Surrogate
from synfire.neurons.spiking import SpikingNeuron, check_decay, check_threshold


class LIF(SpikingNeuron):
    r"""Leaky integrate and fire; the spike is tested after the leak and the input of the same step.

        h_t = decay * v_{t-1} + input_gain * x_t;  s_t = 1[h_t >= threshold];  v_t = h_t - threshold * s_t

    With a hard reset v_t = reset_value where it spiked, with none v_t = h_t. A time constant in steps becomes a decay
    by :func:`synfire.neurons.decay_from_tau`; ``decay_input=True`` sets the input gain to 1 - decay (a constant input
    is then the steady state; spikingjelly's default).

    Args:
        timesteps: T, real timesteps folded into the first axis.
        decay: factor kept from one step to the next, in [0, 1].
        threshold: membrane at which a spike is sent, above 0.
        input_gain: factor of the input, ignored with ``decay_input``.
        decay_input: scale the input by 1 - decay.
        reset: ``soft``, ``hard`` or ``none``.
        reset_value: membrane after a spike with a hard reset.
        detach_reset: whether gradients ignore the reset.
        surrogate: name or :class:`Surrogate`, of h_t - threshold in membrane units.

    Shapes: [T*B, ...] to spikes {0, 1} of the same shape and dtype; membranes are float32 (float64 for float64).

    Example:
        >>> import torch, synfire
        >>> net = synfire.TimeFolded(LIF(decay=0.5), timesteps=3, readout="none")
        >>> net(torch.tensor([0.8, 0.8, 0.8]).reshape(3, 1, 1)).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(
        self,
        timesteps: int = 1,
        decay: float = 0.5,
        threshold: float = 1.0,
        input_gain: float = 1.0,
        decay_input: bool = False,
        reset: str = "soft",
        reset_value: float = 0.0,
        detach_reset: bool = True,
        surrogate: str | Surrogate = "arctan",
    ) -> None:
        super().__init__(
            timesteps,
            reset=reset,
            surrogate=surrogate,
            decay=check_decay(decay),
            threshold=check_threshold(threshold),
            input_gain=input_gain,
            decay_input=decay_input,
            reset_value=reset_value,
            detach_reset=detach_reset,
        )
