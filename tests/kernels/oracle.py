"""Integrate-and-fire written a second time, from the equations: a plain loop that autograd differentiates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SLOPES = {
    # As other libraries write them, of the distance d to the threshold; ``w`` is the width.
    "rectangle": lambda d, w: (d.abs() <= w / 2).to(d) / w,
    "arctan": lambda d, w: (
        (2 / w) / 2 / (1 + (math.pi / 2 * (2 / w) * d) ** 2)
    ),  # spikingjelly ATan
    "sigmoid": lambda d, w: 4 / w * torch.sigmoid(4 / w * d) * torch.sigmoid(-4 / w * d),
    "fast_sigmoid": lambda d, w: 1 / (2 / w * d.abs() + 1) ** 2 / w,  # snntorch, slope 2 / w
    "triangle": lambda d, w: torch.relu(1 - d.abs() / w) / w,
    "gaussian": lambda d, w: normal_density(d, w / math.sqrt(2 * math.pi)),
}


def normal_density(d: Tensor, sigma: float) -> Tensor:
    return torch.exp(-((d / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


class Step(torch.autograd.Function):
    """1 where a distance is positive (or zero, if ``on_tie``), with a slope for its derivative."""

    @staticmethod
    def forward(ctx, distance, slope, on_tie):
        ctx.save_for_backward(slope(distance))
        return ((distance >= 0) if on_tie else (distance > 0)).to(distance)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None, None


@dataclass
class Model:
    """One choice of the arguments of integrate_fire."""

    levels: int = 1
    rounding: str = "half_up"
    reset: str = "soft"
    reset_value: float = 0.0
    detach: bool = True
    gain: float = 1.0
    decay_input: bool = False
    current_decay: float | None = None
    surrogate: str = "rectangle"
    width: float = 1.0
    scale: float = 1.0
    unit: str = "count"
    output_scale: float = 1.0

    def slope(self, distance: Tensor) -> Tensor:
        return self.scale * SLOPES[self.surrogate](distance, self.width)

    def count(self, h: Tensor, threshold: Tensor | float) -> Tensor:
        """The sum of D steps; count d begins at d - 1/2, or at d when rounding down."""
        first = 1.0 if self.rounding == "floor" else 0.5
        total = torch.zeros_like(h)
        for d in range(1, self.levels + 1):
            place = d - 1 + first
            distance = h / threshold - place if self.unit == "count" else h - threshold * place
            # Half even: a tie between d - 1 and d goes to d only if d is even.
            on_tie = self.rounding != "half_even" or d % 2 == 0
            total = total + Step.apply(distance, self.slope, on_tie)
        return total

    def run(self, x, v=None, i=None, decay=1.0, threshold=1.0):
        """Input [T, B, ...] to outputs, last membrane, last current, as lists of autograd would have them."""
        v = torch.zeros_like(x[0]) if v is None else v
        i = torch.zeros_like(x[0]) if i is None else i
        gain = 1 - decay if self.decay_input else self.gain
        outputs = []
        for t in range(x.shape[0]):
            if self.current_decay is None:
                h = decay * v + gain * x[t]
            else:
                i = self.current_decay * i + gain * x[t]
                h = decay * v + i
            s = self.count(h, threshold)
            outputs.append(s * self.output_scale)
            felt = s.detach() if self.detach else s
            if self.reset == "soft":
                v = h - threshold * felt
            elif self.reset == "hard":
                fired = felt.clamp(max=1)
                v = h * (1 - fired) + self.reset_value * fired
            else:
                v = h
        return torch.stack(outputs), v, (None if self.current_decay is None else i)

    def options(self) -> dict:
        """The same choice as keyword arguments of integrate_fire."""
        from synfire.kernels.surrogates import Surrogate

        return {
            "levels": self.levels,
            "rounding": self.rounding,
            "reset": self.reset,
            "reset_value": self.reset_value,
            "detach_reset": self.detach,
            "input_gain": self.gain,
            "decay_input": self.decay_input,
            "current_decay": self.current_decay,
            "surrogate": Surrogate(self.surrogate, self.width, self.scale),
            "unit": self.unit,
            "output_scale": self.output_scale,
        }


def expand(parameter, state_ndim: int):
    """A value for each channel, shaped to broadcast against states [B, C, ...]."""
    if not isinstance(parameter, Tensor) or parameter.numel() == 1:
        return parameter
    return parameter.reshape(-1, *[1] * (state_ndim - 2))
