"""The leaky integrate-and-fire neuron with a learnable leak, and a learnable threshold where asked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError
from synfire.kernels.surrogates import Surrogate
from synfire.neurons.spiking import SpikingNeuron, check_threshold


class ParametricLIF(SpikingNeuron):
    r"""LIF whose decay is learned: decay = sigmoid(w), so that it stays in (0, 1).

        h_t = decay * v_{t-1} + g x_t;  s_t = 1[h_t >= threshold];  v_t = h_t - threshold * s_t  (soft reset)

    with g = 1 - decay for ``decay_input`` (the paper's form), else 1. With ``learn_threshold``,
    threshold = exp(u) is learned too.

    Args:
        timesteps: T, real timesteps folded into the first axis.
        decay: initial decay, inside (0, 1).
        threshold: (initial) threshold, above 0.
        channels: one decay (and threshold) for each index of axis 1; None: one for the layer.
        learn_threshold: make the threshold a parameter.
        decay_input, reset, reset_value, detach_reset, surrogate: as in :class:`LIF`.

    Source: Fang et al., "Incorporating Learnable Membrane Time Constant to Enhance Learning of Spiking Neural
    Networks" (ICCV 2021), section 3.3.

    Example:
        >>> neuron = ParametricLIF(channels=3)
        >>> neuron.decay.shape, round(float(neuron.decay[0].detach()), 3)
        (torch.Size([3]), 0.5)
    """

    def __init__(
        self,
        timesteps: int = 1,
        decay: float = 0.5,
        threshold: float = 1.0,
        channels: int | None = None,
        learn_threshold: bool = False,
        decay_input: bool = True,
        reset: str = "soft",
        reset_value: float = 0.0,
        detach_reset: bool = True,
        surrogate: str | Surrogate = "arctan",
    ) -> None:
        if not 0 < decay < 1:
            raise ConfigError(f"a learnable decay starts inside (0, 1), got {decay}.")
        super().__init__(
            timesteps,
            reset=reset,
            surrogate=surrogate,
            threshold=check_threshold(threshold),
            decay_input=decay_input,
            reset_value=reset_value,
            detach_reset=detach_reset,
        )
        shape = () if channels is None else (channels,)
        self.decay_logit = nn.Parameter(torch.full(shape, math.log(decay / (1 - decay))))
        self.log_threshold: nn.Parameter | None = None
        if learn_threshold:
            self.log_threshold = nn.Parameter(torch.full(shape, math.log(threshold)))

    @property
    def decay(self) -> Tensor:
        """The decay now: a scalar or [channels]."""
        return self.decay_logit.sigmoid()

    def parameters_now(self) -> dict[str, Tensor | float]:
        if self.log_threshold is None:
            return {"decay": self.decay}
        return {"decay": self.decay, "threshold": self.log_threshold.exp()}
