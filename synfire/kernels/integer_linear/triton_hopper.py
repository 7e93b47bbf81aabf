"""The fused layer for Hopper (compute capability 9.0): one warp copies, others multiply and fire, all at the same time.

Triton waits for every int8 product before it issues the next one, so its tensor cores idle between blocks. Gluon says
explicitly who waits for what: a producer warp keeps a ring of shared memory filled through the copy engine, and
*consumers* (groups of warps) keep one product in flight while the previous one's memory is released. Grids are
persistent: copies of the next tile run during the epilogue of this one.

    cooperative   one consumer of 8 warps on a tile of 128 x 256
    pingpong      two consumers of 4 warps on tiles of their own, so that one fires while the other multiplies
    resident      pingpong, and each program keeps its column block of weights in shared memory for all its row blocks
                  (fan-in up to 1024): rows are all that it reads, which halves the traffic with the L2 cache

One timestep, no membrane kept. M, N and K may be anything that the copy engine takes: rows of K and of N in whole
16-byte units; it fills what lies outside with zeros and does not store it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from synfire.kernels.integer_linear.triton import place_of_tile
from synfire.kernels.integer_linear.tuning import Design
from synfire.kernels.integer_neuron.reference import IntegerNeuron
from synfire.kernels.integer_neuron.triton import (
    counts_at_once,
    counts_of,
    division_by,
    mode_of,
    share_by,
)

# The copies were renamed between releases of Triton.
copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
copy_out = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global


@gluon.jit
def _tile(j, tiles_m, tiles_n, GROUP: gl.constexpr, RESIDENT: gl.constexpr):
    """Row and column block of this program's tile number j."""
    if RESIDENT:
        rows_at_once = gl.num_programs(0) // tiles_n
        row = gl.program_id(0) // tiles_n + j * rows_at_once
        column = gl.program_id(0) % tiles_n
    else:
        row, column = place_of_tile(
            gl.program_id(0) + j * gl.num_programs(0), tiles_m, tiles_n, GROUP
        )
    return row, column


@gluon.jit
def _tiles(tiles_m, tiles_n, RESIDENT: gl.constexpr):
    """How many tiles this program has."""
    if RESIDENT:
        rows_at_once = gl.num_programs(0) // tiles_n
        number = gl.cdiv(tiles_m - gl.program_id(0) // tiles_n, rows_at_once)
    else:
        number = gl.cdiv(tiles_m * tiles_n - gl.program_id(0), gl.num_programs(0))
    return number


@gluon.jit
def _produce(
    counts, weight, rings, barriers, tiles_m, tiles_n, blocks,
    GROUP: gl.constexpr, RESIDENT: gl.constexpr,
):  # fmt: skip
    a_ring, w_ring = rings
    full, empty, w_full = barriers
    BM: gl.constexpr = counts.block_type.shape[0]
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = counts.block_type.shape[1]
    STAGES: gl.constexpr = a_ring.type.shape[0]
    if RESIDENT:
        for k in range(blocks):
            mbarrier.expect(w_full.index(k), BN * BK)
            column = gl.program_id(0) % tiles_n
            copy_in(weight, [column * BN, k * BK], w_full.index(k), w_ring.index(k))
    filled = 0
    for j in range(_tiles(tiles_m, tiles_n, RESIDENT)):
        row, column = _tile(j, tiles_m, tiles_n, GROUP, RESIDENT)
        for k in range(blocks):
            i = filled % STAGES
            ready = full.index(i)
            mbarrier.wait(empty.index(i), (filled // STAGES & 1) ^ 1)
            mbarrier.expect(ready, BM * BK if RESIDENT else (BM + BN) * BK)
            copy_in(counts, [row * BM, k * BK], ready, a_ring.index(i))
            if not RESIDENT:
                copy_in(weight, [column * BN, k * BK], ready, w_ring.index(i))
            filled += 1


@gluon.jit
def fire_tile(
    acc, bias, threshold, threshold_value, first_column, N,
    BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    layout: gl.constexpr, flat: gl.constexpr,
):  # fmt: skip
    """Counts, int32, of a tile of sums. What belongs to channels is computed once for each and then spread."""
    BN: gl.constexpr = acc.shape[1]
    along: gl.constexpr = gl.SliceLayout(0, layout)
    columns = first_column + gl.arange(0, BN, flat)
    b = gl.zeros((BN,), gl.int32, flat)
    if BIAS:
        b = gl.load(bias + columns, mask=columns < N, other=0)
    theta = gl.zeros((BN,), gl.int32, flat) + threshold_value
    if CHANNELS:
        theta = gl.load(threshold + columns, mask=columns < N, other=1)
    if MODE == "fast" and D > 1:
        factor, offset = share_by(b, theta, D, HALF)
        factor = gl.expand_dims(gl.convert_layout(factor, along), 0)
        offset = gl.expand_dims(gl.convert_layout(offset, along), 0)
        s = counts_at_once(acc, factor, offset, D)
    else:
        half, inverse, middle = division_by(theta, HALF)
        s = counts_of(
            acc + gl.expand_dims(gl.convert_layout(b, along), 0),
            gl.expand_dims(gl.convert_layout(theta, along), 0),
            gl.expand_dims(gl.convert_layout(half, along), 0),
            gl.expand_dims(gl.convert_layout(inverse, along), 0),
            gl.expand_dims(gl.convert_layout(middle, along), 0),
            D, MODE, SHIFT,
        )  # fmt: skip
    return s


@gluon.jit
def _consume(
    out, rings, out_buffers, barriers, bias, threshold, threshold_value,
    tiles_m, tiles_n, blocks, N,
    INDEX: gl.constexpr, CONSUMERS: gl.constexpr, GROUP: gl.constexpr, RESIDENT: gl.constexpr,
    BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    layout: gl.constexpr, flat: gl.constexpr,
):  # fmt: skip
    a_ring, w_ring = rings
    full, empty, w_full = barriers
    STAGES: gl.constexpr = a_ring.type.shape[0]
    BM: gl.constexpr = a_ring.type.shape[1]
    BN: gl.constexpr = w_ring.type.shape[1]
    buffer = out_buffers.index(INDEX)
    for j in range(INDEX, _tiles(tiles_m, tiles_n, RESIDENT), CONSUMERS):
        row, column = _tile(j, tiles_m, tiles_n, GROUP, RESIDENT)
        taken = j * blocks
        acc = gl.zeros((BM, BN), gl.int32, layout)
        for k in range(blocks):
            i = taken % STAGES
            if RESIDENT:
                mbarrier.wait(w_full.index(k), 0)
                w = w_ring.index(k)
            else:
                w = w_ring.index(i)
            mbarrier.wait(full.index(i), taken // STAGES & 1)
            acc = warpgroup_mma(a_ring.index(i), w.permute((1, 0)), acc, is_async=True)
            acc = warpgroup_mma_wait(1, deps=(acc,))
            mbarrier.arrive(empty.index((taken + STAGES - 1) % STAGES), pred=k > 0)
            taken += 1
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index((taken + STAGES - 1) % STAGES))

        s = fire_tile(
            acc, bias, threshold, threshold_value, column * BN, N,
            BIAS, CHANNELS, D, HALF, MODE, SHIFT, layout, flat,
        )  # fmt: skip
        tma.store_wait(0)  # the previous tile has left the buffer
        buffer.store(s.to(gl.int8))
        fence_async_shared()
        copy_out(out, [row * BM, column * BN], buffer)
    tma.store_wait(0)


@gluon.jit
def _linear_fire(
    counts, weight, out, bias, threshold, M, N, K, threshold_value,
    STAGES: gl.constexpr, CONSUMERS: gl.constexpr, GROUP: gl.constexpr, RESIDENT: gl.constexpr,
    BLOCKS: gl.constexpr, BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    num_warps: gl.constexpr,
):  # fmt: skip
    BM: gl.constexpr = counts.block_type.shape[0]
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = counts.block_type.shape[1]
    W_STAGES: gl.constexpr = BLOCKS if RESIDENT else STAGES
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [num_warps, 1], [16, 128, 32])
    flat: gl.constexpr = gl.BlockedLayout([1], [32], [num_warps], [0])
    a_ring = gl.allocate_shared_memory(gl.int8, [STAGES, BM, BK], counts.layout)
    w_ring = gl.allocate_shared_memory(gl.int8, [W_STAGES, BN, BK], weight.layout)
    buffers = gl.allocate_shared_memory(gl.int8, [CONSUMERS, BM, BN], out.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    w_full = gl.allocate_shared_memory(gl.int64, [W_STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    for i in gl.static_range(W_STAGES):
        mbarrier.init(w_full.index(i), count=1)
    rings, barriers = (a_ring, w_ring), (full, empty, w_full)
    tiles_m, tiles_n, blocks = gl.cdiv(M, BM), gl.cdiv(N, BN), gl.cdiv(K, BK)
    # Constants keep their constness only inside of the call.
    if CONSUMERS == 1:
        gl.warp_specialize(
            [
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value,
                    tiles_m, tiles_n, blocks, N, 0, CONSUMERS, GROUP, RESIDENT, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_produce, (
                    counts, weight, rings, barriers, tiles_m, tiles_n, blocks, GROUP, RESIDENT,
                )),
            ],
            [1], [24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value,
                    tiles_m, tiles_n, blocks, N, 0, CONSUMERS, GROUP, RESIDENT, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value,
                    tiles_m, tiles_n, blocks, N, 1, CONSUMERS, GROUP, RESIDENT, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_produce, (
                    counts, weight, rings, barriers, tiles_m, tiles_n, blocks, GROUP, RESIDENT,
                )),
            ],
            [4, 1], [240, 24],
        )  # fmt: skip


def _descriptor(x: Tensor, rows: int, columns: int) -> TensorDescriptor:
    layout = gl.NVMMASharedLayout.get_default_for([rows, columns], gl.int8)
    return TensorDescriptor.from_tensor(x, [rows, columns], layout)


def multiprocessors(x: Tensor) -> int:
    """Of the device of x."""
    number: int = torch.cuda.get_device_properties(x.device).multi_processor_count
    return number


def linear_fire(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    neuron: IntegerNeuron,
    threshold: Tensor | None = None,
    threshold_value: int = 1,
    bound: int = 2**31 - 1,
    design: Design,
) -> Tensor:
    """Counts uint8 [M, N] of a layer that keeps no membrane; ``design.refuses`` has been asked."""
    (rows, fan_in), columns = counts.shape, weight.shape[0]
    out = counts.new_empty((rows, columns))
    tiles_m, tiles_n = -(-rows // design.rows), -(-columns // design.columns)
    programs = multiprocessors(counts)
    grid = programs // tiles_n * tiles_n if design.resident else min(programs, tiles_m * tiles_n)
    _linear_fire[(grid,)](
        _descriptor(counts.view(torch.int8), design.rows, design.fan_in),
        _descriptor(weight, design.columns, design.fan_in),
        _descriptor(out.view(torch.int8), design.rows, design.columns),
        weight if bias is None else bias.contiguous(),
        weight if threshold is None else threshold.contiguous(),
        rows, columns, fan_in, threshold_value,
        STAGES=design.stages, CONSUMERS=design.consumers, GROUP=design.group,
        RESIDENT=design.resident, BLOCKS=-(-fan_in // design.fan_in),
        BIAS=bias is not None, CHANNELS=threshold is not None,
        D=neuron.levels, HALF=neuron.rounding == "half_up",
        **mode_of(threshold, threshold_value, neuron.levels, bound),
        num_warps=8 // design.consumers,
    )  # fmt: skip
    return out
