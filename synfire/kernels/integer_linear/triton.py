"""Integer products on CUDA: tiles of int8 on the tensor cores, int32 sums, the neuron in the epilogue.

One program computes a tile of BM rows and BN columns for all T timesteps, so the membrane never leaves its registers.
Tensor cores multiply int8 by int8. Counts up to 127 are read as they are; of larger ones 128 is taken away by flipping
the upper bit, and 128 times the sum of a channel's weights rejoins with the bias.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from synfire.kernels.integer_linear.tuning import Tile, tile_for
from synfire.kernels.integer_neuron.reference import IntegerNeuron
from synfire.kernels.integer_neuron.triton import constants_of, fire_tile, mode_of

_NO_NEURON = IntegerNeuron()


@triton.jit
def place_of_tile(tile, tiles_m, tiles_n, GROUP: tl.constexpr):
    """Row block and column block of a tile: GROUP row blocks side by side share columns in the L2 cache."""
    in_group = GROUP * tiles_n
    first = tile // in_group * GROUP
    height = tl.minimum(tiles_m - first, GROUP)
    return first + (tile % in_group) % height, (tile % in_group) // height


@triton.jit
def product_tile(
    a, w, columns_of_k, blocks, listed, acc, K,
    BK: tl.constexpr, EVEN_K: tl.constexpr, ACTIVE: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """acc plus the product of a row block and a column block; ``blocks`` K-blocks, all or the listed ones."""
    for i in range(blocks):
        k = tl.load(listed + i) if ACTIVE else i
        inside = columns_of_k < K - k * BK
        if EVEN_K:
            x = tl.load(a + k * BK)
            y = tl.load(w + k * BK)
        else:
            x = tl.load(a + k * BK, mask=inside[None, :], other=0)
            y = tl.load(w + k * BK, mask=inside[:, None], other=0)
        if LARGE:
            x = x ^ -128
        acc = tl.dot(x, y, acc, out_dtype=tl.int32)
    return acc


@triton.jit
def _linear(
    counts, weight, bias, threshold, v0, out, last, active, active_number,
    B, N, K, counts_stride, weight_stride, threshold_value,
    T: tl.constexpr, FIRE: tl.constexpr, BIAS: tl.constexpr, CHANNELS: tl.constexpr,
    HAS_V: tl.constexpr, KEEP_V: tl.constexpr, LARGE: tl.constexpr, ACTIVE: tl.constexpr,
    D: tl.constexpr, HALF: tl.constexpr, RESET: tl.constexpr, DV: tl.constexpr,
    MODE: tl.constexpr, SHIFT: tl.constexpr, EVEN_K: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    tiles_m, tiles_n = tl.cdiv(B, BM), tl.cdiv(N, BN)
    row_block, column_block = place_of_tile(tl.program_id(0), tiles_m, tiles_n, GROUP)
    rows = row_block * BM + tl.arange(0, BM)
    columns = column_block * BN + tl.arange(0, BN)
    columns_of_k = tl.arange(0, BK)
    # Rows and columns past the end read valid ones again; their results are not stored.
    w = weight + (columns % N)[None, :].to(tl.int64) * weight_stride + columns_of_k[:, None]
    blocks = tl.cdiv(K, BK)
    STATE: tl.constexpr = HAS_V or KEEP_V or T > 1
    stored = (rows < B)[:, None] & (columns < N)[None, :]
    place = rows[:, None].to(tl.int64) * N + columns[None, :]
    v = tl.zeros((BM, BN), tl.int32)
    if HAS_V:
        v = tl.load(v0 + place, mask=stored, other=0)
    b = tl.zeros((BN,), tl.int32)
    if BIAS:
        b = tl.load(bias + columns % N)
    for t in range(T):
        a = counts + (t * B + rows % B)[:, None].to(tl.int64) * counts_stride
        row = t * tiles_m + row_block
        number = blocks
        if ACTIVE:
            number = tl.load(active_number + row)
        acc = product_tile(
            a + columns_of_k[None, :], w, columns_of_k, number, active + row * blocks,
            tl.zeros((BM, BN), tl.int32), K, BK, EVEN_K, ACTIVE, LARGE,
        )  # fmt: skip
        target = out + (t * B + rows)[:, None].to(tl.int64) * N + columns[None, :]
        if not FIRE:
            tl.store(target, acc + b[None, :], mask=stored)
        else:
            theta = tl.zeros((BN,), tl.int32) + threshold_value
            if CHANNELS:
                theta = tl.load(threshold + columns % N)
            s, v = fire_tile(acc, b, theta, v, STATE, D, HALF, RESET, DV, MODE, SHIFT)
            tl.store(target, s, mask=stored)
    if KEEP_V:
        tl.store(last + place, v, mask=stored)


@triton.jit
def _active_blocks(counts, active, active_number, B, K, stride, BM: tl.constexpr, BK: tl.constexpr):
    """For each row block of each timestep the K-blocks that hold a spike, and how many they are."""
    row_block, t = tl.program_id(0), tl.program_id(1)
    rows = row_block * BM + tl.arange(0, BM)
    k = tl.arange(0, BK)
    row = t * tl.num_programs(0) + row_block
    a = counts + (t * B + rows)[:, None].to(tl.int64) * stride + k[None, :]
    blocks = tl.cdiv(K, BK)
    number = 0
    for block in range(blocks):
        inside = (rows < B)[:, None] & (k < K - block * BK)[None, :]
        x = tl.load(a + block * BK, mask=inside, other=0)
        spikes = tl.max(tl.max(x.to(tl.int32), 1), 0) > 0
        tl.store(active + row * blocks + number, block, mask=spikes)
        number += spikes.to(tl.int32)
    tl.store(active_number + row, number)


def _signed(counts: Tensor) -> Tensor:
    """Rows without gaps between neighbours, as the bytes that tensor cores take."""
    rows = counts if counts.stride(-1) == 1 or counts.shape[-1] == 1 else counts.contiguous()
    return rows.view(torch.int8)


def active_blocks(counts: Tensor, timesteps: int, tile: Tile) -> tuple[Tensor, Tensor]:
    """Lists int32 [T * row blocks, K-blocks] of the K-blocks with a spike, and their lengths [T * row blocks]."""
    rows, fan_in = counts.shape[0] // timesteps, counts.shape[1]
    blocks_m, blocks_k = triton.cdiv(rows, tile.rows), triton.cdiv(fan_in, tile.fan_in)
    active = counts.new_empty((timesteps * blocks_m, blocks_k), dtype=torch.int32)
    number = active.new_empty(active.shape[0])
    _active_blocks[(blocks_m, timesteps)](
        _signed(counts), active, number, rows, fan_in, counts.stride(0),
        BM=tile.rows, BK=tile.fan_in, num_warps=4,
    )  # fmt: skip
    return active, number


def run(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    count_levels: int,
    *,
    neuron: IntegerNeuron | None = None,
    threshold: Tensor | None = None,
    threshold_value: int = 1,
    bound: int = 2**31 - 1,
    v: Tensor | None = None,
    timesteps: int = 1,
    keep_state: bool = False,
    skip_silent: bool = False,
    tile: Tile | None = None,
) -> tuple[Tensor, Tensor]:
    """Sums int32 [M, N], or counts uint8 [M, N] of a neuron, and the last membrane [B, N] (empty where not kept).

    ``skip_silent`` lists the blocks of counts (``tile.rows`` x ``tile.fan_in``) with a spike first and multiplies only
    those. The list costs a pass over the counts and the products wait for its entries, so it is off unless asked for.
    Measured on an H100 with 65536 x 1024 x 1024: 1.5 times the time where no block is silent, even between 50 and 75 %
    silent blocks, 0.84 of the time at 75 %, 0.70 at 90 %. Single silent neurons make no silent block.
    """
    rows, columns, fan_in = counts.shape[0] // timesteps, weight.shape[0], counts.shape[1]
    out = counts.new_empty((counts.shape[0], columns), dtype=torch.uint8 if neuron else torch.int32)
    last = counts.new_empty((rows, columns) if keep_state else (0,), dtype=torch.int32)
    if out.numel() == 0:
        return out, last
    stateful = neuron is not None and (timesteps > 1 or v is not None or keep_state)
    tile = tile or tile_for(rows, columns, stateful)
    large = count_levels > 127
    if large:
        flipped = weight.sum(1, dtype=torch.int32) * 128
        bias = flipped if bias is None else bias + flipped
    a, w = _signed(counts), _signed(weight)
    active, number = active_blocks(counts, timesteps, tile) if skip_silent else (a, a)
    grid = (triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns),)
    _linear[grid](
        a, w, w if bias is None else bias.contiguous(),
        w if threshold is None else threshold.contiguous(), w if v is None else v.contiguous(),
        out, last, active, number, rows, columns, fan_in, a.stride(0), w.stride(0), threshold_value,
        T=timesteps, FIRE=neuron is not None, BIAS=bias is not None,
        CHANNELS=threshold is not None, HAS_V=v is not None, KEEP_V=keep_state, LARGE=large,
        ACTIVE=skip_silent, **constants_of(neuron or _NO_NEURON),
        **mode_of(threshold, threshold_value, (neuron or _NO_NEURON).levels, bound),
        EVEN_K=fan_in % tile.fan_in == 0, BM=tile.rows, BN=tile.columns, BK=tile.fan_in,
        GROUP=tile.group, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out, last
