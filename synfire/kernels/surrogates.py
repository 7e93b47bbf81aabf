"""The one table of surrogate gradients: reference, native and GPU kernels all follow it.

A spike is a step ``s = [d >= 0]`` of the distance ``d`` to a threshold. Its derivative is replaced by a bump of unit
area, ``scale / width * f(d / width)``, where ``f`` is a row of the table. All rows have ``f(0) = 1``.

=============  ==============================  ==============================================
name           f(z)                            the same in other libraries
=============  ==============================  ==============================================
rectangle      1 for ``|z| <= 1/2``            straight-through on a window of ``width``
arctan         ``1 / (1 + (pi z)^2)``          spikingjelly ATan(alpha = 2 / width)
sigmoid        ``4 sg(4z) (1 - sg(4z))``       spikingjelly Sigmoid(alpha = 4 / width)
fast_sigmoid   ``1 / (1 + 2|z|)^2``            snntorch fast_sigmoid(slope = 2 / width), scale = width
triangle       ``max(0, 1 - |z|)``             piecewise linear of half width ``width``
gaussian       ``exp(-pi z^2)``                normal density, sigma = width / sqrt(2 pi)
=============  ==============================  ==============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, UnknownNameError


def _sigmoid(z: Tensor) -> Tensor:
    half = torch.sigmoid(4 * z)
    return 4 * half * (1 - half)


BUMPS: dict[str, Callable[[Tensor], Tensor]] = {
    "rectangle": lambda z: (z.abs() <= 0.5).to(z.dtype),
    "arctan": lambda z: 1 / (1 + (math.pi * z) ** 2),
    "sigmoid": _sigmoid,
    "fast_sigmoid": lambda z: 1 / (1 + 2 * z.abs()) ** 2,
    "triangle": lambda z: (1 - z.abs()).clamp(min=0),
    "gaussian": lambda z: torch.exp(-math.pi * z**2),
}
"""Name to unit-area bump with f(0) = 1; the order is the index that native kernels use."""


@dataclass(frozen=True)
class Surrogate:
    """A row of the table with its width (in membrane units, or in counts for integer neurons) and scale.

    Example:
        >>> Surrogate("triangle", width=2.0).derivative(torch.tensor([0.0, 1.0])).tolist()
        [0.5, 0.25]
    """

    name: str = "rectangle"
    width: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in BUMPS:
            raise UnknownNameError("surrogate", self.name, BUMPS)
        if not self.width > 0:
            raise ConfigError(f"a surrogate's width must be positive, got {self.width}.")

    def derivative(self, distance: Tensor) -> Tensor:
        """The derivative of one step at ``distance`` from its threshold, same shape."""
        return self.scale / self.width * BUMPS[self.name](distance / self.width)


def as_surrogate(surrogate: str | Surrogate) -> Surrogate:
    """A Surrogate from its name (width and scale 1) or itself."""
    if isinstance(surrogate, Surrogate):
        return surrogate
    if not isinstance(surrogate, str):
        raise ConfigError(
            f"a surrogate is a name ({', '.join(BUMPS)}) or a Surrogate, got {surrogate!r}."
        )
    return Surrogate(surrogate)
