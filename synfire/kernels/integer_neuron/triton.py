"""The integer neuron on CUDA: pieces for the epilogues of products, and a kernel of its own.

Counts need h / threshold rounded, exactly. ``MODE`` says how:

    shift   the threshold is 2**SHIFT, one for all channels.
    exact   a float32 quotient is off by at most one (its error is below (D + 1) * 2**-21), which the integer remainder
            then mends; right for every int32.
    fast    nothing is mended: the quotient aims at the middle between two ties. The count is floor((x + r) / threshold)
            for integers x and r, and (x + r + 1/2) / threshold - 1/2, rounded to the nearest integer, is the same
            number but at least 1 / (2 threshold) away from a tie. Its float32 error stays below that as long as
            (D + 1) * threshold and any bias inside of it are at most FAST_BOUND: a division off by 2 ulp and two
            roundings give at most (D + 1) * 2**-21.5 < 0.18 / threshold, the bias 2**20 * 2**-24 / threshold.

Adding 1.5 * 2**23 in float32 rounds to the nearest integer and leaves it in the low bits, without a conversion.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from synfire.kernels.integer_neuron.reference import IntegerNeuron

FAST_BOUND = 1 << 19
_BLOCK = 1024
_ROUND = tl.constexpr(12582912.0)  # 1.5 * 2**23


def mode_of(threshold: Tensor | None, value: int, levels: int, bound: int) -> dict[str, Any]:
    """MODE and SHIFT of a layer whose thresholds and biases stay within a promised bound."""
    if threshold is None and value & (value - 1) == 0:
        return {"MODE": "shift", "SHIFT": value.bit_length() - 1}
    if threshold is None and bound > FAST_BOUND:
        bound = (levels + 1) * value  # a constant needs no promise
    return {"MODE": "fast" if bound <= FAST_BOUND else "exact", "SHIFT": 0}


@triton.jit
def leak(v, DV: tl.constexpr):
    """sign(v) * (|v| * (4096 - DV) >> 12), without a product above 32 bits."""
    if DV == 0:
        return v
    size = tl.abs(v).to(tl.uint32, bitcast=True)  # -2**31 too
    kept = (size >> 12) * (4096 - DV) + ((size & 4095) * (4096 - DV) >> 12)
    kept = kept.to(tl.int32, bitcast=True)
    return tl.where(v < 0, -kept, kept)


@triton.jit
def low_bits(y):
    """The integer that adding 1.5 * 2**23 left in a float32."""
    return y.to(tl.int32, bitcast=True) & 0x1FF


@triton.jit
def division_by(threshold, HALF: tl.constexpr):
    """What :func:`counts_of` needs of thresholds: r, the inverse, the offset of ``fast``. Per channel, before any
    broadcast, or every thread would divide for every channel that it sees."""
    half = threshold // 2 if HALF else threshold * 0
    inverse = 1.0 / threshold.to(tl.float32)
    return half, inverse, (half.to(tl.float32) + 0.5) * inverse - 0.5


@triton.jit
def counts_of(
    h, threshold, half, inverse, middle, D: tl.constexpr, MODE: tl.constexpr, SHIFT: tl.constexpr
):
    """Counts, int32, of charged membranes h; the others broadcast against them."""
    if D == 1:
        return (h >= threshold - half).to(tl.int32)
    x = tl.minimum(tl.maximum(h, 0), threshold * D)
    if MODE == "shift":
        return (x + half) >> SHIFT
    if MODE == "fast":
        return low_bits(tl.fma(x.to(tl.float32), inverse, middle) + _ROUND)
    x += half
    q = (x.to(tl.float32) * inverse).to(tl.int32)
    remainder = x - q * threshold
    return q + (remainder >= threshold).to(tl.int32) - (remainder < 0).to(tl.int32)


@triton.jit
def share_by(bias, threshold, D: tl.constexpr, HALF: tl.constexpr):
    """Factor and offset of :func:`counts_at_once`, per channel."""
    half = threshold // 2 if HALF else threshold * 0
    inverse = 1.0 / (threshold * D).to(tl.float32)
    offset = (bias + half).to(tl.float32) + 0.5 - threshold.to(tl.float32) * 0.5
    return inverse, offset * inverse


@triton.jit
def counts_at_once(acc, factor, offset, D: tl.constexpr):
    """Counts, ``fast``, of sums whose bias is in the offset: an epilogue without integer arithmetic.

    Clipping to [0, 1] costs nothing in a float32 multiply-add, so the quotient is taken in units of D. Sums that a
    float32 rounds, from 2**24 up, are clipped anyway.
    """
    share = tl.fma(acc.to(tl.float32), factor, offset)
    return low_bits(tl.fma(tl.minimum(tl.maximum(share, 0.0), 1.0), D * 1.0, _ROUND))


@triton.jit
def reset(h, s, threshold, RESET: tl.constexpr):
    """The membrane after the counts left."""
    if RESET == "soft":
        return h - threshold * s
    if RESET == "hard":
        return tl.where(s > 0, 0, h)
    return h


@triton.jit
def fire_tile(
    acc, b, theta, v, STATE: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr,
    RESET: tl.constexpr, DV: tl.constexpr, MODE: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """Counts and membranes of a tile of sums [BM, BN] with biases and thresholds [BN]; without STATE v passes by."""
    if MODE == "fast" and D > 1 and not STATE:
        factor, offset = share_by(b, theta, D, HALF)
        s = counts_at_once(acc, factor[None, :], offset[None, :], D)
    else:
        half, inverse, middle = division_by(theta, HALF)
        theta, half = theta[None, :], half[None, :]
        h = acc + b[None, :]
        if STATE:
            h += leak(v, DV)
        s = counts_of(h, theta, half, inverse[None, :], middle[None, :], D, MODE, SHIFT)
        if STATE:
            v = reset(h, s, theta, RESET)
    return s.to(tl.uint8), v


@triton.jit
def _fire(
    x, threshold, v0, counts, last, state, columns, value,
    T: tl.constexpr, CHANNELS: tl.constexpr, HAS_V: tl.constexpr,
    D: tl.constexpr, HALF: tl.constexpr, RESET: tl.constexpr, DV: tl.constexpr,
    MODE: tl.constexpr, SHIFT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < state
    theta = tl.zeros((BLOCK,), tl.int32) + value
    if CHANNELS:
        theta = tl.load(threshold + place % columns, mask=inside, other=1)
    half, inverse, middle = division_by(theta, HALF)
    v = tl.zeros((BLOCK,), tl.int32)
    if HAS_V:
        v = tl.load(v0 + place, mask=inside, other=0)
    for _ in range(T):
        h = leak(v, DV) + tl.load(x + place, mask=inside, other=0)
        s = counts_of(h, theta, half, inverse, middle, D, MODE, SHIFT)
        v = reset(h, s, theta, RESET)
        tl.store(counts + place, s.to(tl.uint8), mask=inside)
        x += state
        counts += state
    tl.store(last + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK), v, mask=inside)


def fire_rows(
    x: Tensor,
    threshold: Tensor | None,
    value: int,
    v: Tensor | None,
    timesteps: int,
    neuron: IntegerNeuron,
) -> tuple[Tensor, Tensor]:
    """Rows int32 [T*B, N] to counts uint8 [T*B, N] and the last membrane [B, N]."""
    x = x.contiguous()
    counts = torch.empty_like(x, dtype=torch.uint8)
    last = x.new_empty((x.shape[0] // timesteps, x.shape[1]))
    if last.numel():
        theta = x if threshold is None else threshold.contiguous()
        rest = x if v is None else v.contiguous()
        _fire[(triton.cdiv(last.numel(), _BLOCK),)](
            x, theta, rest, counts, last, last.numel(), x.shape[1], value,
            T=timesteps, CHANNELS=threshold is not None, HAS_V=v is not None,
            **constants_of(neuron), **mode_of(threshold, value, neuron.levels, 2**31), BLOCK=_BLOCK,
        )  # fmt: skip
    return counts, last


def constants_of(neuron: IntegerNeuron) -> dict[str, Any]:
    """A neuron as constants of a kernel."""
    return {
        "D": neuron.levels,
        "HALF": neuron.rounding == "half_up",
        "RESET": neuron.reset,
        "DV": neuron.dv,
    }
