"""The fused layer for Hopper (compute capability 9.0): one warp copies, others multiply and fire, all at the same time.

Triton waits for every int8 product before it issues the next one, so its tensor cores idle between blocks. Gluon says
explicitly who waits for what: a producer warp keeps a ring of shared memory filled through the copy engine, and a
consumer (8 warps) keeps one product in flight while the previous one's memory is released. The grid is persistent:
copies of the next tile run during the epilogue of this one.

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
_copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
_copy_out = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global


@gluon.jit
def _produce(
    counts, weight, a_ring, w_ring, full, empty, tiles_m, tiles_n, blocks, GROUP: gl.constexpr
):
    """Copy the blocks of all tiles of this program, as far ahead as the ring is long."""
    BM: gl.constexpr = counts.block_type.shape[0]
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = counts.block_type.shape[1]
    STAGES: gl.constexpr = a_ring.type.shape[0]
    filled = 0
    for tile in range(gl.program_id(0), tiles_m * tiles_n, gl.num_programs(0)):
        row, column = place_of_tile(tile, tiles_m, tiles_n, GROUP)
        for k in range(blocks):
            i = filled % STAGES
            ready = full.index(i)
            mbarrier.wait(empty.index(i), (filled // STAGES & 1) ^ 1)
            mbarrier.expect(ready, (BM + BN) * BK)
            _copy_in(counts, [row * BM, k * BK], ready, a_ring.index(i))
            _copy_in(weight, [column * BN, k * BK], ready, w_ring.index(i))
            filled += 1


@gluon.jit
def _fire_tile(
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
    out, a_ring, w_ring, buffer, full, empty, bias, threshold, threshold_value,
    tiles_m, tiles_n, blocks, N,
    GROUP: gl.constexpr, BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    layout: gl.constexpr, flat: gl.constexpr,
):  # fmt: skip
    """Multiply the blocks as they come, fire, and send counts off while the next tile is multiplied."""
    STAGES: gl.constexpr = a_ring.type.shape[0]
    BM: gl.constexpr = a_ring.type.shape[1]
    BN: gl.constexpr = w_ring.type.shape[1]
    taken = 0
    for tile in range(gl.program_id(0), tiles_m * tiles_n, gl.num_programs(0)):
        row, column = place_of_tile(tile, tiles_m, tiles_n, GROUP)
        acc = gl.zeros((BM, BN), gl.int32, layout)
        for k in range(blocks):
            i = taken % STAGES
            mbarrier.wait(full.index(i), taken // STAGES & 1)
            w = w_ring.index(i).permute((1, 0))
            acc = warpgroup_mma(a_ring.index(i), w, acc, is_async=True)
            acc = warpgroup_mma_wait(1, deps=(acc,))
            mbarrier.arrive(empty.index((taken + STAGES - 1) % STAGES), pred=k > 0)
            taken += 1
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index((taken + STAGES - 1) % STAGES))

        s = _fire_tile(
            acc, bias, threshold, threshold_value, column * BN, N,
            BIAS, CHANNELS, D, HALF, MODE, SHIFT, layout, flat,
        )  # fmt: skip
        tma.store_wait(0)  # the previous tile has left the buffer
        buffer.store(s.to(gl.int8))
        fence_async_shared()
        _copy_out(out, [row * BM, column * BN], buffer)
    tma.store_wait(0)


@gluon.jit(do_not_specialize=["M", "threshold_value"])
def _linear_fire(
    counts, weight, out, bias, threshold, M, N, K, threshold_value,
    STAGES: gl.constexpr, GROUP: gl.constexpr, BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    num_warps: gl.constexpr,
):  # fmt: skip
    BM: gl.constexpr = counts.block_type.shape[0]
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = counts.block_type.shape[1]
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [num_warps, 1], [16, 128, 32])
    flat: gl.constexpr = gl.BlockedLayout([1], [32], [num_warps], [0])
    a_ring = gl.allocate_shared_memory(gl.int8, [STAGES, BM, BK], counts.layout)
    w_ring = gl.allocate_shared_memory(gl.int8, [STAGES, BN, BK], weight.layout)
    buffer = gl.allocate_shared_memory(gl.int8, [BM, BN], out.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    tiles_m, tiles_n, blocks = gl.cdiv(M, BM), gl.cdiv(N, BN), gl.cdiv(K, BK)
    # Constants keep their constness only inside of the call.
    gl.warp_specialize(
        [
            (_consume, (
                out, a_ring, w_ring, buffer, full, empty, bias, threshold, threshold_value,
                tiles_m, tiles_n, blocks, N, GROUP, BIAS, CHANNELS, D, HALF, MODE, SHIFT,
                layout, flat,
            )),
            (_produce, (
                counts, weight, a_ring, w_ring, full, empty, tiles_m, tiles_n, blocks, GROUP,
            )),
        ],
        [1], [24],
    )  # fmt: skip


def _descriptor(x: Tensor, rows: int, columns: int) -> TensorDescriptor:
    layout = gl.NVMMASharedLayout.get_default_for([rows, columns], gl.int8)
    return TensorDescriptor.from_tensor(x, [rows, columns], layout)


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
    tiles = -(-rows // design.rows) * -(-columns // design.columns)
    programs = torch.cuda.get_device_properties(counts.device).multi_processor_count
    _linear_fire[(min(programs, tiles),)](
        _descriptor(counts.view(torch.int8), design.rows, design.fan_in),
        _descriptor(weight, design.columns, design.fan_in),
        _descriptor(out.view(torch.int8), design.rows, design.columns),
        weight if bias is None else bias.contiguous(),
        weight if threshold is None else threshold.contiguous(),
        rows, columns, fan_in, threshold_value,
        STAGES=design.stages, GROUP=design.group,
        BIAS=bias is not None, CHANNELS=threshold is not None,
        D=neuron.levels, HALF=neuron.rounding == "half_up",
        **mode_of(threshold, threshold_value, neuron.levels, bound),
        num_warps=8,
    )  # fmt: skip
    return out
