"""Direct encoding: the analog values themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.core.time_operators import repeat_time
from synfire.encoders.base import StaticEncoder


class Direct(StaticEncoder):
    """Shows the values themselves: at each timestep (``repeat``) or at the first alone, zeros after (``first``).

    Takes any finite values; gives the same range. The first layer then works on analog values (MACs).

    Example:
        >>> Direct()(torch.tensor([[0.2]]), timesteps=2).flatten().tolist() == [torch.tensor(0.2).item()] * 2
        True
        >>> Direct("first")(torch.ones(1, 1), timesteps=3).flatten().tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, frames: str = "repeat") -> None:
        if frames not in ("repeat", "first"):
            raise ConfigError(f"frames must be repeat or first, got {frames!r}.")
        self.frames = frames

    def __call__(
        self, x: Tensor, timesteps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        if self.frames == "first":
            return super().__call__(x, timesteps, generator)
        self.check(x)
        return x if timesteps == 1 else repeat_time(x, timesteps)

    def step_unchecked(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None
    ) -> Tensor:
        return x if t == 0 or self.frames == "repeat" else torch.zeros_like(x)
