"""The small arithmetic of a BatchNorm between its passes over memory, one launch each instead of one an operation."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["channels"])
def affine_kernel(
    mean,
    variance,
    weight,
    bias,
    scale,
    shift,
    channels,
    eps,
    CHANNELS: tl.constexpr,
):
    """scale = weight / sqrt(variance + eps), shift = bias - mean * scale."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    exists = channel < channels
    factor = tl.div_rn(1.0, tl.sqrt_rn(tl.load(variance + channel, mask=exists, other=1.0) + eps))
    if weight is not None:
        factor = factor * tl.load(weight + channel, mask=exists, other=0.0)
    term = -tl.load(mean + channel, mask=exists, other=0.0) * factor
    if bias is not None:
        term = term + tl.load(bias + channel, mask=exists, other=0.0)
    tl.store(scale + channel, factor, mask=exists)
    tl.store(shift + channel, term, mask=exists)


@triton.jit(do_not_specialize=["channels"])
def epilogue_kernel(
    first,
    second,
    variance,
    scale,
    grad_weight,
    slope,
    offset,
    channels,
    eps,
    each,
    CHANNELS: tl.constexpr,
):
    """The gradient of the weight, and the terms of that of x, from the sums of ``backward_sums``."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    exists = channel < channels
    rstd = tl.div_rn(1.0, tl.sqrt_rn(tl.load(variance + channel, mask=exists, other=1.0) + eps))
    of_weight = tl.load(second + channel, mask=exists, other=0.0) * rstd
    gain = -tl.load(scale + channel, mask=exists, other=0.0)
    total = tl.load(first + channel, mask=exists, other=0.0)
    tl.store(grad_weight + channel, of_weight, mask=exists)
    tl.store(slope + channel, tl.div_rn(gain * rstd * of_weight, each), mask=exists)
    tl.store(offset + channel, tl.div_rn(gain * total, each), mask=exists)
