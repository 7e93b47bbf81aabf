"""Integer convolutions on CUDA: implicit products of int8 tiles on the tensor cores, the neuron in the epilogue.

A tile has BM places of the output (counted through batch, rows and columns) and BN channels. The fan-in runs through
the places of the kernel and the channels at each, which lie side by side in a channels-last input. Where a block of the
fan-in stays within one place (C is a multiple of BK) its address is one number a row; else each byte finds its own.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from synfire.kernels.integer_conv.reference import output_size
from synfire.kernels.integer_linear.triton import place_of_tile
from synfire.kernels.integer_linear.tuning import Tile, tile_for
from synfire.kernels.integer_neuron.reference import IntegerNeuron
from synfire.kernels.integer_neuron.triton import constants_of, fire_tile, mode_of

_NO_NEURON = IntegerNeuron()


@triton.jit
def _conv(
    counts, weight, bias, threshold, v0, out, last,
    PLACES, N, H, W, OUT_H, OUT_W, threshold_value,
    C: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, PADDING: tl.constexpr,
    T: tl.constexpr, FIRE: tl.constexpr, BIAS: tl.constexpr, CHANNELS: tl.constexpr,
    HAS_V: tl.constexpr, KEEP_V: tl.constexpr, LARGE: tl.constexpr,
    D: tl.constexpr, HALF: tl.constexpr, RESET: tl.constexpr, DV: tl.constexpr,
    MODE: tl.constexpr, SHIFT: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    K: tl.constexpr = KERNEL * KERNEL * C
    WITHIN: tl.constexpr = C % BK == 0
    row_block, column_block = place_of_tile(
        tl.program_id(0), tl.cdiv(PLACES, BM), tl.cdiv(N, BN), GROUP
    )
    rows = row_block * BM + tl.arange(0, BM)
    columns = column_block * BN + tl.arange(0, BN)
    stored = (rows < PLACES)[:, None] & (columns < N)[None, :]
    place = rows[:, None].to(tl.int64) * N + columns[None, :]
    spot = rows % PLACES
    picture = spot // (OUT_H * OUT_W)
    top = spot // OUT_W % OUT_H * STRIDE - PADDING
    left = spot % OUT_W * STRIDE - PADDING
    k = tl.arange(0, BK)
    w = weight + (columns % N)[None, :].to(tl.int64) * K + k[:, None]
    v = tl.zeros((BM, BN), tl.int32)
    if HAS_V:
        v = tl.load(v0 + place, mask=stored, other=0)
    b = tl.zeros((BN,), tl.int32)
    if BIAS:
        b = tl.load(bias + columns % N)
    pictures = PLACES // (OUT_H * OUT_W)
    for t in range(T):
        corner = ((t * pictures + picture).to(tl.int64) * H + top) * W + left
        a = counts + corner[:, None] * C
        acc = tl.zeros((BM, BN), tl.int32)
        for block in range(tl.cdiv(K, BK)):
            if WITHIN:
                tap = block * BK // C
                down, across = tap // KERNEL, tap % KERNEL
                seen = (top + down >= 0) & (top + down < H)
                seen = seen & (left + across >= 0) & (left + across < W)
                offset = tl.multiple_of((down * W + across) * C + block * BK % C, BK)
                x = tl.load(a + offset + k[None, :], mask=seen[:, None], other=0)
                y = tl.load(w + block * BK)
            else:
                i = block * BK + k
                tap = i // C
                down, across = (top[:, None] + tap // KERNEL), (left[:, None] + tap % KERNEL)
                seen = (down >= 0) & (down < H) & (across >= 0) & (across < W) & (i < K)[None, :]
                offset = (tap // KERNEL * W + tap % KERNEL) * C + i % C
                x = tl.load(a + offset[None, :], mask=seen, other=0)
                y = tl.load(w + block * BK, mask=(i < K)[:, None], other=0)
            if LARGE:
                x = x ^ -128
            acc = tl.dot(x, y, acc, out_dtype=tl.int32)
        target = out + (t * PLACES + rows)[:, None].to(tl.int64) * N + columns[None, :]
        if not FIRE:
            tl.store(target, acc + b[None, :], mask=stored)
        else:
            theta = tl.zeros((BN,), tl.int32) + threshold_value
            if CHANNELS:
                theta = tl.load(threshold + columns % N)
            s, v = fire_tile(
                acc, b, theta, v, HAS_V or KEEP_V or T > 1, D, HALF, RESET, DV, MODE, SHIFT
            )  # fmt: skip
            tl.store(target, s, mask=stored)
    if KEEP_V:
        tl.store(last + place, v, mask=stored)


def _tile(places: int, columns: int, channels: int, stateful: bool) -> Tile:
    """The linear layer's tile, with blocks of the fan-in that stay within a place of the kernel if that can be.

    A narrower block leaves shared memory for one more stage. Where no block stays within a place each byte has an
    address of its own, and the narrowest block that tensor cores take keeps all addresses in registers.
    """
    tile = tile_for(places, columns, stateful)
    block = next((size for size in (128, 64) if channels % size == 0), 32)
    return tile if block == tile.fan_in else replace(tile, fan_in=block, stages=4)


def run(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count_levels: int,
    stride: int,
    padding: int,
    *,
    neuron: IntegerNeuron | None = None,
    threshold: Tensor | None = None,
    threshold_value: int = 1,
    bound: int = 2**31 - 1,
    v: Tensor | None = None,
    timesteps: int = 1,
    keep_state: bool = False,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums int32, or counts uint8 of a neuron, [T*B, H', W', O], and the last membrane [B, H', W', O] (or empty)."""
    folded, height, width, channels = counts.shape
    columns, kernel = weight.shape[:2]
    size = [output_size(n, kernel, stride, padding) for n in (height, width)]
    batch = folded // timesteps
    out = counts.new_empty((folded, *size, columns), dtype=torch.uint8 if neuron else torch.int32)
    state = (batch, *size, columns) if keep_state else (0,)
    last = counts.new_empty(state, dtype=torch.int32)
    if out.numel() == 0:
        return out, last
    places = batch * size[0] * size[1]
    stateful = neuron is not None and (timesteps > 1 or v is not None or keep_state)
    tile = tile or _tile(places, columns, channels, stateful)
    large = count_levels > 127
    if large:  # outside of the picture a flipped zero is -128 as well
        flipped = weight.flatten(1).sum(1, dtype=torch.int32) * 128
        bias = flipped if bias is None else bias + flipped
    a, w = counts.contiguous().view(torch.int8), weight.contiguous()
    grid = (triton.cdiv(places, tile.rows) * triton.cdiv(columns, tile.columns),)
    _conv[grid](
        a, w, w if bias is None else bias.contiguous(),
        w if threshold is None else threshold.contiguous(), w if v is None else v.contiguous(),
        out, last, places, columns, height, width, size[0], size[1], threshold_value,
        C=channels, KERNEL=kernel, STRIDE=stride, PADDING=padding,
        T=timesteps, FIRE=neuron is not None, BIAS=bias is not None,
        CHANNELS=threshold is not None, HAS_V=v is not None, KEEP_V=keep_state, LARGE=large,
        **constants_of(neuron or _NO_NEURON),
        **mode_of(threshold, threshold_value, (neuron or _NO_NEURON).levels, bound),
        BM=tile.rows, BN=tile.columns, BK=tile.fan_in, GROUP=tile.group,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out, last
