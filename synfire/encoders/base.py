"""What encoders share: the range check and the folded form made of single steps."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.core.errors import InputError
from synfire.core.tracing import is_tracing


class StaticEncoder:
    """Base of encoders of static inputs. ``low`` and ``high`` bound the values that are taken; a ``binary`` encoder
    gives 0 or 1, so that what enters the net are spikes."""

    low: float = float("-inf")
    high: float = float("inf")
    stochastic: bool = False
    binary: bool = False

    def __call__(
        self, x: Tensor, timesteps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """[B, ...] to the folded [T*B, ...]."""
        self.check(x)
        steps = [self.step_unchecked(x, t, timesteps, generator) for t in range(timesteps)]
        return torch.cat(steps) if timesteps > 1 else steps[0]

    def step(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """What timestep ``t`` (from 0) of ``timesteps`` sees: [B, ...]."""
        self.check(x)
        return self.step_unchecked(x, t, timesteps, generator)

    def step_unchecked(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None
    ) -> Tensor:
        raise NotImplementedError

    def check(self, x: Tensor) -> None:
        """Raise InputError for values outside [low, high] or NaN; skipped while compiling or tracing."""
        if torch.compiler.is_compiling() or is_tracing():
            return
        if not x.is_floating_point():
            raise InputError(
                f"{self!r} takes floating-point values, got {x.dtype}: convert with x.float()."
            )
        if x.numel() == 0:
            return
        low, high = x.min(), x.max()  # NaN passes through both
        if not bool((low >= self.low) & (high <= self.high) & low.isfinite() & high.isfinite()):
            span = (
                "finite values"
                if self.low == float("-inf")
                else f"values in [{self.low}, {self.high}]"
            )
            raise InputError(
                f"{self!r} takes {span}, got [{low.item():.4g}, {high.item():.4g}]: scale or clean the input."
            )

    def describe(self) -> dict[str, object]:
        """What a SpikeGraph records of the encoder."""
        return {"name": type(self).__name__, "stochastic": self.stochastic, **vars(self)}

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({options})"
