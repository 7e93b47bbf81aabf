"""Integer products on any device: the float64 product that every faster path must equal, and the exact float32 one.

All partial sums of a product of integers are integers. A float64 holds them exactly below 2**53, a float32 below 2**24,
in whatever order they are added. float32 takes the fan-in in slices that stay below that.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT_IN_FLOAT32 = 1 << 24
LARGEST_WEIGHT = 128
EXACT_IN_FP8 = 16
"""e4m3 holds all integers up to 16."""
FP8_SUM = 1 << 13
"""Sums below it are exact inside of Hopper's fp8 tensor cores, see :func:`fp8_sums`."""
FP8_STEP = 32
"""Products that one fp8 instruction adds."""


def product(counts: Tensor, weight: Tensor) -> Tensor:
    """counts uint8 [M, K] times the transpose of weight int8 [N, K]: int32 [M, N]."""
    return (counts.double() @ weight.double().T).to(torch.int32)


def product_in_float32(counts: Tensor, weight: Tensor, count_levels: int) -> Tensor:
    """The same in float32 for counts of at most ``count_levels``."""
    fan_in = (EXACT_IN_FLOAT32 - 1) // (count_levels * LARGEST_WEIGHT)
    if counts.shape[1] <= fan_in:
        return (counts.float() @ weight.float().T).to(torch.int32)
    slices = zip(counts.split(fan_in, 1), weight.split(fan_in, 1), strict=True)
    parts = (product_in_float32(c, w, count_levels) for c, w in slices)
    return sum(parts, counts.new_zeros((), dtype=torch.int32))


def fp8_sums(count_levels: int, weight_levels: int) -> int:
    """How many products an fp8 tensor core adds up before its sum must move to a float32: a multiple of 32.

    A Hopper tensor core adds the 32 products of an instruction and the previous sum in fixed point, aligned to the
    largest of them, and keeps about 14 bits; lower bits are cut off. With integers all bits are kept as long as every
    term and every partial sum stays below 2**13: the unit is then at most 13 places below the leading bit. Terms are
    at most count_levels * weight_levels, so after n products no sum exceeds n times that, whatever the signs and the
    order. The sums of float32 registers that take over are exact below 2**24.
    """
    largest = count_levels * weight_levels
    return (FP8_SUM - 1) // largest // FP8_STEP * FP8_STEP


def fp8_refuses(fan_in: int, count_levels: int, weight_levels: int) -> str | None:
    """Why a product of such counts and weights is not exact on fp8 tensor cores, or None."""
    if max(count_levels, weight_levels) > EXACT_IN_FP8:
        return (
            f"fp8 holds integers up to {EXACT_IN_FP8} exactly, declared are counts up to {count_levels} and "
            f"weights up to {weight_levels}"
        )
    if fp8_sums(count_levels, weight_levels) == 0:
        return (
            f"{FP8_STEP} products of {count_levels} and {weight_levels} may leave the "
            f"{FP8_SUM.bit_length()} bits that an fp8 tensor core keeps"
        )
    if fan_in * count_levels * weight_levels >= EXACT_IN_FLOAT32:
        return f"sums over a fan-in of {fan_in} may leave the 24 bits of a float32"
    return None
