"""Integrate, fire, reset: the readable version that every faster path must equal.

All tensors are time-major: ``x`` is [T, B, ...], states are [B, ...] and live between the reset of one timestep and the
decay of the next. ``Dynamics`` holds the constants; decay and threshold may be learnable tensors that broadcast
against a state.

    i_t = current_decay * i_{t-1} + input_gain * x_t          (without current_decay: i_t = input_gain * x_t)
    h_t = decay * v_{t-1} + i_t
    s_t = round(clip(h_t / threshold, 0, levels))             a count; the rounding is named
    v_t = h_t - threshold * s_t                               soft reset
        = h_t * (1 - z) + reset_value * z, z = min(s_t, 1)    hard reset
        = h_t                                                 no reset
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from synfire.core.errors import ConfigError
from synfire.kernels.surrogates import Surrogate

ROUNDINGS = ("half_up", "half_even", "floor")
RESETS = ("soft", "hard", "none")
UNITS = ("count", "membrane")


def check_levels(levels: int) -> int:
    """The number of levels, if it is an int of at least 1."""
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 1:
        raise ConfigError(
            f"levels is the largest count of a timestep, an int of at least 1, got {levels!r}."
        )
    return levels


@dataclass(frozen=True)
class Dynamics:
    """The constants of one neuron layer. ``unit`` says what a surrogate's distance is measured in."""

    levels: int
    rounding: str
    reset: str
    reset_value: float
    detach_reset: bool
    input_gain: float
    decay_input: bool
    """The input is scaled by 1 - decay, so that a constant input is reached as the steady state."""
    current_decay: float
    surrogate: Surrogate
    inclusive: bool
    """Whether a rectangle includes the outer ends of its window."""
    unit: str
    """``count``: surrogate of h / threshold; ``membrane``: surrogate of h - threshold (binary neurons)."""

    def __post_init__(self) -> None:
        check_levels(self.levels)
        for name, known in (("rounding", ROUNDINGS), ("reset", RESETS), ("unit", UNITS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}."
                )

    @property
    def first_level(self) -> float:
        """h / threshold at which the first count appears."""
        return 1.0 if self.rounding == "floor" else 0.5

    def encode(self) -> str:
        """All fields as one string: operators take it as one argument, graphs show it."""
        # Spelt out, and floats in hexadecimal: that is what torch.compile can follow.
        s = self.surrogate
        reset_value, gain = float(self.reset_value).hex(), float(self.input_gain).hex()
        current_decay = float(self.current_decay).hex()
        width, scale = float(s.width).hex(), float(s.scale).hex()
        return (
            f"{self.levels} {self.rounding} {self.reset} {reset_value} {self.detach_reset} "
            f"{gain} {self.decay_input} {current_decay} {s.name} {width} {scale} "
            f"{self.inclusive} {self.unit}"
        )

    @staticmethod
    def decode(text: str) -> Dynamics:
        """The inverse of :meth:`encode`."""
        return _decode(text)


@lru_cache(maxsize=1024)
def _decode(text: str) -> Dynamics:
    (levels, rounding, reset, reset_value, detach, gain, decay_input, current_decay, name, width, scale, inclusive,
     unit) = text.split()  # fmt: skip
    return Dynamics(
        levels=int(levels),
        rounding=rounding,
        reset=reset,
        reset_value=float.fromhex(reset_value),
        detach_reset=detach == "True",
        input_gain=float.fromhex(gain),
        decay_input=decay_input == "True",
        current_decay=float.fromhex(current_decay),
        surrogate=Surrogate(name, float.fromhex(width), float.fromhex(scale)),
        inclusive=inclusive == "True",
        unit=unit,
    )


BELOW_HALF = {torch.float32: 0.5 - 2**-25, torch.float64: 0.5 - 2**-54}
"""The largest number below 1/2. Added to a number just below a tie, 1/2 itself would round up to the next integer,
where the slots of an integrate-and-fire neuron do not fire."""


def quantise(u: Tensor, levels: int, rounding: str) -> Tensor:
    """Counts in {0..levels} of a membrane in units of the threshold."""
    clipped = u.clamp(0, levels)
    if rounding == "half_up":
        return (clipped + BELOW_HALF[u.dtype]).floor()
    return clipped.round() if rounding == "half_even" else clipped.floor()


def count_derivative(h: Tensor, threshold: Tensor | float, dynamics: Dynamics) -> Tensor:
    """The surrogate of ds/dh: one bump for each of the ``levels`` steps."""
    count = dynamics.unit == "count"
    u = h / threshold if count else h
    total = torch.zeros_like(h)
    for level in range(1, dynamics.levels + 1):
        place = level - 1 + dynamics.first_level
        centre = place if count else threshold * place
        if dynamics.surrogate.name == "rectangle":
            total = total + _window(u, centre, level, dynamics)
        else:
            total = total + dynamics.surrogate.derivative(u - centre)
    return total / threshold if count else total


def _window(u: Tensor, centre: Tensor | float, level: int, dynamics: Dynamics) -> Tensor:
    """The rectangle of one level. Where two windows meet the edge belongs to the upper one, so that windows of width
    1 tile [0, levels] once."""
    surrogate = dynamics.surrogate
    low, high = centre - surrogate.width / 2, centre + surrogate.width / 2
    closed_low = level > 1 or dynamics.inclusive
    closed_high = level == dynamics.levels and dynamics.inclusive
    above = u >= low if closed_low else u > low
    below = u <= high if closed_high else u < high
    return (above & below).to(u.dtype) * (surrogate.scale / surrogate.width)


def _input_gain(decay: Tensor | float, dynamics: Dynamics) -> Tensor | float:
    return 1 - decay if dynamics.decay_input else dynamics.input_gain


def forward(
    x: Tensor,
    v: Tensor,
    i: Tensor | None,
    decay: Tensor | float,
    threshold: Tensor | float,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Counts [T, B, ...], last membrane, last current (None without a filter), charged membranes [T, B, ...]."""
    counts, charged = [], []
    gain = _input_gain(decay, dynamics)
    for x_t in x.unbind(0):  # never x[t]: the backward of indexing is quadratic in T
        drive = gain * x_t
        if i is not None:
            drive = i = dynamics.current_decay * i + drive
        h = decay * v + drive
        s = quantise(h / threshold, dynamics.levels, dynamics.rounding)
        v = _reset(h, s, threshold, dynamics)
        counts.append(s)
        charged.append(h)
    if not counts:
        return torch.empty_like(x), v, i, torch.empty_like(x)
    return torch.stack(counts), v, i, torch.stack(charged)


def _reset(h: Tensor, s: Tensor, threshold: Tensor | float, dynamics: Dynamics) -> Tensor:
    if dynamics.reset == "soft":
        return h - threshold * s
    if dynamics.reset == "hard":
        return torch.where(s > 0, torch.full_like(h, dynamics.reset_value), h)
    return h


def backward(
    grad_counts: Tensor,
    grad_v: Tensor,
    grad_i: Tensor | None,
    x: Tensor,
    v: Tensor,
    i: Tensor | None,
    decay: Tensor | float,
    threshold: Tensor | float,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of x, v, i, decay and threshold; the last two have a state's shape, before any broadcast is undone.

    Backpropagation through time over recomputed membranes. The gradient of z = min(s, 1) follows s where s <= 1.
    """
    counts, _, _, charged = forward(x, v, i, decay, threshold, dynamics)
    befores = _membranes_before(v, charged, counts, threshold, dynamics)
    gain = _input_gain(decay, dynamics)
    grad_x: list[Tensor] = []
    grad_decay, grad_threshold = torch.zeros_like(v), torch.zeros_like(v)
    steps = zip(
        grad_counts.unbind(0),
        charged.unbind(0),
        counts.unbind(0),
        befores,
        x.unbind(0),
        strict=True,
    )
    for g, h, s, before, x_t in reversed(list(steps)):
        grad_h, grad_s = grad_v, g
        if dynamics.reset == "soft":
            grad_threshold = grad_threshold - grad_v * s
            if not dynamics.detach_reset:
                grad_s = g - threshold * grad_v
        elif dynamics.reset == "hard":
            grad_h = torch.where(s > 0, torch.zeros_like(h), grad_v)
            if not dynamics.detach_reset:
                grad_s = g + torch.where(s <= 1, (dynamics.reset_value - h) * grad_v, 0)
        slope = count_derivative(h, threshold, dynamics) * grad_s
        grad_h = grad_h + slope
        ratio = h / threshold if dynamics.unit == "count" else dynamics.first_level
        grad_threshold = grad_threshold - slope * ratio
        grad_decay = grad_decay + grad_h * before
        grad_drive = grad_h
        if grad_i is not None:
            grad_drive = grad_h + grad_i
            grad_i = dynamics.current_decay * grad_drive
        if dynamics.decay_input:
            grad_decay = grad_decay - grad_drive * x_t
        grad_x.append(gain * grad_drive)
        grad_v = decay * grad_h
    if not grad_x:
        return torch.empty_like(x), grad_v, grad_i, grad_decay, grad_threshold
    return torch.stack(grad_x[::-1]), grad_v, grad_i, grad_decay, grad_threshold


def backward_of_record(
    grad_counts: Tensor,
    grad_v: Tensor,
    grad_i: Tensor | None,
    planes: Tensor,
    decay: Tensor | float,
    threshold: Tensor | float,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of x, v and i from what the forward pass recorded instead of its input.

    ``planes`` are booleans [1 or 2, T, B, ...]: where the (rectangular) surrogate passes a gradient and, for hard
    reset, where the neuron fired.
    """
    surrogate = dynamics.surrogate
    height = torch.full_like(grad_v, surrogate.scale / surrogate.width)
    if dynamics.unit == "count":
        height = height / threshold
    gain = _input_gain(decay, dynamics)
    grad_x: list[Tensor] = []
    for t in reversed(range(grad_counts.shape[0])):
        grad_h, grad_s = grad_v, grad_counts[t]
        if dynamics.reset == "soft" and not dynamics.detach_reset:
            grad_s = grad_s - threshold * grad_v
        elif dynamics.reset == "hard":
            grad_h = torch.where(planes[1, t], torch.zeros_like(grad_v), grad_v)
        grad_h = grad_h + torch.where(planes[0, t], height * grad_s, 0)
        grad_drive = grad_h
        if grad_i is not None:
            grad_drive = grad_h + grad_i
            grad_i = dynamics.current_decay * grad_drive
        grad_x.append(gain * grad_drive)
        grad_v = decay * grad_h
    if not grad_x:
        return torch.empty_like(grad_counts), grad_v, grad_i
    return torch.stack(grad_x[::-1]), grad_v, grad_i


def _membranes_before(
    v: Tensor, charged: Tensor, counts: Tensor, threshold: Tensor | float, dynamics: Dynamics
) -> list[Tensor]:
    """The membrane that entered each timestep: the reset one of the step before."""
    pairs = list(zip(charged.unbind(0), counts.unbind(0), strict=True))
    return [v, *(_reset(h, s, threshold, dynamics) for h, s in pairs[:-1])] if pairs else []
