"""Stochastic depth: a branch is left out for whole samples while training."""

from __future__ import annotations

from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.core.time import Timed
from synfire.core.time_operators import repeat_time


class DropPath(Timed):
    """Zeroes a branch [T*B, ...] for a random part of the samples, for all of their timesteps alike.

    What is kept is divided by 1 - rate, so that the mean stays. In eval it does nothing.

    Args:
        rate: share of samples that lose the branch, in [0, 1).
        timesteps: T.

    Source: Huang et al., "Deep Networks with Stochastic Depth" (ECCV 2016).

    Example:
        >>> import torch
        >>> DropPath(0.5).eval()(torch.ones(2, 3)).sum().item()
        6.0
    """

    def __init__(self, rate: float = 0.0, timesteps: int = 1) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError(f"drop_path is a share of samples in [0, 1), got {rate}.")
        self.rate = float(rate)
        self.timesteps = timesteps

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = x.new_empty((x.shape[0] // self.timesteps, *[1] * (x.ndim - 1)))
        kept.bernoulli_(1 - self.rate).div_(1 - self.rate)
        return x * (kept if self.timesteps == 1 else repeat_time(kept, self.timesteps))

    def extra_repr(self) -> str:
        return f"rate={self.rate}, timesteps={self.timesteps}"
