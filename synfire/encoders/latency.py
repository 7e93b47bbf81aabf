"""Latency (time-to-first-spike) encoding."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.encoders.base import StaticEncoder


class Latency(StaticEncoder):
    """One spike a value, the earlier the larger: at step floor((1 - x) (T - 1) + 1/2), from 0; a zero stays silent.

    Takes values in [0, 1]; gives {0, 1}. Deterministic. Gradients do not pass.

    Example:
        >>> Latency()(torch.tensor([[1.0, 0.5, 0.0]]), timesteps=3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    low, high, binary = 0.0, 1.0, True

    def step_unchecked(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None
    ) -> Tensor:
        fires_at = ((1 - x) * (timesteps - 1) + 0.5).floor()
        return ((fires_at == t) & (x > 0)).to(x.dtype)
