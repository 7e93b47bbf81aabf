"""Poisson (rate) encoding."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.encoders.base import StaticEncoder


class Poisson(StaticEncoder):
    """One Bernoulli draw a value and timestep: P(spike) = gain * x, so the mean over T is gain * x with variance
    gain x (1 - gain x) / T.

    Takes values in [0, 1]; gives {0, 1}. Gradients do not pass.

    Args:
        gain: probability of a spike for the value 1, in (0, 1].

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> Poisson()(torch.tensor([[0.0, 1.0]]), timesteps=2, generator=g).tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """

    low, high, stochastic, binary = 0.0, 1.0, True, True

    def __init__(self, gain: float = 1.0) -> None:
        if not 0 < gain <= 1:
            raise ConfigError(f"gain is the largest spike probability, in (0, 1], got {gain}.")
        self.gain = gain

    def step_unchecked(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None
    ) -> Tensor:
        draws = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (draws < self.gain * x).to(x.dtype)
