"""The product in plain torch: what the fast paths compute."""

from __future__ import annotations

from torch import Tensor

from synfire.kernels.event_weight import EventWeight, values_of


def event_linear(x: Tensor, weight: EventWeight, packed: bool, scale: float) -> Tensor:
    """x [M, K] times weight [N, K] transposed, summed in float64."""
    integers = not weight.weight.is_floating_point()
    values = values_of(x, weight.weight.shape[1], packed, scale, integers)
    return (values.double() @ weight.weight.double().t()).to(weight.out_dtype)
