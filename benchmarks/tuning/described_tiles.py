"""A design that was tried beside the library's: plain Triton with tensor descriptors and a persistent grid.

Shift-form neuron only. ``SPECIALISE`` asks the compiler to give copies a warp of their own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from synfire.kernels.integer_linear.triton import place_of_tile
from synfire.kernels.integer_linear.tuning import Tile


@triton.jit
def _linear_shift(
    counts, weight, out, M, N, K, SHIFT: tl.constexpr, D: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
    FLATTEN: tl.constexpr, SPECIALISE: tl.constexpr,
):  # fmt: skip
    a = tl.make_tensor_descriptor(counts, [M, K], [K, 1], [BM, BK])
    w = tl.make_tensor_descriptor(weight, [N, K], [K, 1], [BN, BK])
    s = tl.make_tensor_descriptor(out, [M, N], [N, 1], [BM, BN])
    tiles_m, tiles_n = tl.cdiv(M, BM), tl.cdiv(N, BN)
    for tile in tl.range(
        tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0),
        flatten=FLATTEN, warp_specialize=SPECIALISE,
    ):  # fmt: skip
        row, column = place_of_tile(tile, tiles_m, tiles_n, GROUP)
        acc = tl.zeros((BM, BN), tl.int32)
        for k in range(tl.cdiv(K, BK)):
            x = a.load([row * BM, k * BK])
            y = w.load([column * BN, k * BK])
            acc = tl.dot(x, y.T, acc, out_dtype=tl.int32)
        h = tl.minimum(tl.maximum(acc, 0), D << SHIFT)
        s.store([row * BM, column * BN], ((h + (1 << (SHIFT - 1))) >> SHIFT).to(tl.int8))


def linear_shift(
    counts: Tensor,
    weight: Tensor,
    shift: int,
    levels: int,
    tile: Tile,
    flatten: bool,
    specialise: bool,
) -> Tensor:
    """Counts uint8 [M, N] of a layer with the threshold 2**shift."""
    (rows, fan_in), columns = counts.shape, weight.shape[0]
    out = counts.new_empty((rows, columns))
    triton.set_allocator(
        lambda size, alignment, stream: torch.empty(size, device="cuda", dtype=torch.int8)
    )
    programs = torch.cuda.get_device_properties(counts.device).multi_processor_count
    _linear_shift[(programs,)](
        counts.view(torch.int8), weight, out.view(torch.int8), rows, columns, fan_in,
        SHIFT=shift, D=levels, BM=tile.rows, BN=tile.columns, BK=tile.fan_in, GROUP=tile.group,
        FLATTEN=flatten, SPECIALISE=specialise, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return out
