"""The neuron of fixed-point graphs: int32 in, uint8 counts out; the definition that every faster path must equal.

    h_t = leak(v_{t-1}) + x_t
    s_t = the number of d in 1..D with h_t >= threshold_d
          threshold_d = d * threshold                      floor
                      = ceil((2 d - 1) * threshold / 2)    half_up: the count is h / threshold, rounded
    v_t = h_t - threshold * s_t                            soft reset
        = 0 where s_t > 0, else h_t                        hard reset
        = h_t                                              no reset

    leak(v) = sign(v) * (|v| * (4096 - dv) >> 12)

The leak is Loihi's: ``dv`` has 12 bits, 0 keeps a membrane whole, 4096 keeps nothing, and it rounds towards zero. A
threshold is an int32 of at least 1, one for the layer or one a channel. A neuron that must *exceed* an integer
threshold, as Loihi's does, has this one's threshold plus 1.

Sums are taken modulo 2**32, as everywhere in int32; a graph that keeps \\|h\\| and (D + 1) * threshold below 2**31
never notices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synfire.core.errors import ConfigError

ROUNDINGS = ("floor", "half_up")
RESETS = ("soft", "hard", "none")
DECAY_BITS = 12


@dataclass(frozen=True)
class IntegerNeuron:
    """The constants of an integer neuron layer.

    Attributes:
        levels: D, the largest count, 1..255.
        rounding: ``half_up`` or ``floor``.
        reset: ``soft``, ``hard`` or ``none``.
        dv: 12-bit decay of the membrane a timestep, 0 (none) to 4096 (no memory).

    Example:
        >>> IntegerNeuron(levels=4).dv
        0
    """

    levels: int = 1
    rounding: str = "half_up"
    reset: str = "soft"
    dv: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 255:
            raise ConfigError(f"levels is the largest count, 1..255 in a byte, got {self.levels}.")
        if self.rounding not in ROUNDINGS:
            raise ConfigError(f"rounding must be {' or '.join(ROUNDINGS)}, got {self.rounding!r}.")
        if self.reset not in RESETS:
            raise ConfigError(f"reset must be one of {', '.join(RESETS)}, got {self.reset!r}.")
        if not 0 <= self.dv <= 1 << DECAY_BITS:
            raise ConfigError(f"dv is a decay of 12 bits, 0..4096, got {self.dv}.")


def leak(v: Tensor, dv: int) -> Tensor:
    """What a timestep leaves of an int32 membrane."""
    kept = v.long().abs() * ((1 << DECAY_BITS) - dv) >> DECAY_BITS
    return (v.sign() * kept).int()


def counts_of(h: Tensor, threshold: Tensor, neuron: IntegerNeuron) -> Tensor:
    """Counts, int32, of a charged membrane."""
    wide, step = h.long(), threshold.long()
    if neuron.rounding == "half_up":
        wide = (
            wide + step // 2
        )  # h >= ceil((2d - 1) threshold / 2) is h + threshold // 2 >= d threshold
    return wide.div(step, rounding_mode="floor").clamp(0, neuron.levels).int()


def reset(h: Tensor, s: Tensor, threshold: Tensor, neuron: IntegerNeuron) -> Tensor:
    """The membrane after the counts left."""
    if neuron.reset == "soft":
        return h - threshold * s
    return torch.where(s > 0, torch.zeros_like(h), h) if neuron.reset == "hard" else h


def forward(
    x: Tensor, v: Tensor, threshold: Tensor, neuron: IntegerNeuron
) -> tuple[Tensor, Tensor]:
    """Counts, uint8 [T, B, ...], and the last membrane [B, ...] of the inputs x, int32 [T, B, ...]."""
    counts = torch.empty_like(x, dtype=torch.uint8)
    for out, x_t in zip(counts.unbind(0), x.unbind(0), strict=True):
        h = leak(v, neuron.dv) + x_t
        s = counts_of(h, threshold, neuron)
        v = reset(h, s, threshold, neuron)
        out.copy_(s)
    return counts, v
