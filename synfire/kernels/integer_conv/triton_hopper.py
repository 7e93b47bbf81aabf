"""The fused convolution for Hopper: as :mod:`synfire.kernels.integer_linear.triton_hopper`, on boxes of pictures.

A tile of 128 places of the output is a box of pictures, rows and columns. For each place of the kernel the copy engine
fetches the same box, moved, and fills what lies outside of the picture with zeros, so no address or mask is computed.
With stride 2 it reads every other row and column: one descriptor for each parity of both.
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

from synfire.kernels.integer_conv.reference import output_size
from synfire.kernels.integer_conv.tuning import Box
from synfire.kernels.integer_linear.triton import place_of_tile
from synfire.kernels.integer_linear.triton_hopper import (
    copy_in,
    copy_out,
    fire_tile,
    multiprocessors,
)
from synfire.kernels.integer_linear.tuning import Design
from synfire.kernels.integer_neuron.reference import IntegerNeuron
from synfire.kernels.integer_neuron.triton import mode_of


@gluon.jit
def _place(j, boxes, tiles_n, BOX: gl.constexpr, GROUP: gl.constexpr):
    """First picture, row and column of the output, and column block, of this program's tile number j."""
    boxes_b, boxes_y, boxes_x = boxes
    row, column = place_of_tile(
        gl.program_id(0) + j * gl.num_programs(0), boxes_b * boxes_y * boxes_x, tiles_n, GROUP
    )
    picture = row // (boxes_y * boxes_x) * BOX[0]
    return picture, row // boxes_x % boxes_y * BOX[1], row % boxes_x * BOX[2], column


@gluon.jit
def _produce(
    pictures, weight, rings, barriers, boxes, tiles_n,
    BOX: gl.constexpr, KERNEL: gl.constexpr, STRIDE: gl.constexpr, PADDING: gl.constexpr,
    CHANNEL_BLOCKS: gl.constexpr, GROUP: gl.constexpr,
):  # fmt: skip
    even, odd_x, odd_y, odd = pictures
    a_ring, w_ring = rings
    full, empty = barriers
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = weight.block_type.shape[1]
    BM: gl.constexpr = BOX[0] * BOX[1] * BOX[2]
    STAGES: gl.constexpr = a_ring.type.shape[0]
    filled = 0
    tiles = boxes[0] * boxes[1] * boxes[2] * tiles_n
    for j in range(gl.cdiv(tiles - gl.program_id(0), gl.num_programs(0))):
        picture, top, left, column = _place(j, boxes, tiles_n, BOX, GROUP)
        for k in range(KERNEL * KERNEL * CHANNEL_BLOCKS):
            i = filled % STAGES
            ready = full.index(i)
            mbarrier.wait(empty.index(i), (filled // STAGES & 1) ^ 1)
            mbarrier.expect(ready, (BM + BN) * BK)
            tap = k // CHANNEL_BLOCKS
            down, across = tap // KERNEL - PADDING, tap % KERNEL - PADDING
            channel = k % CHANNEL_BLOCKS * BK
            if STRIDE == 1:
                copy_in(even, [picture, top + down, left + across, channel], ready, a_ring.index(i))
            else:
                y, x = top + (down >> 1), left + (across >> 1)
                if down & 1:
                    if across & 1:
                        copy_in(odd, [picture, y, x, channel], ready, a_ring.index(i))
                    else:
                        copy_in(odd_y, [picture, y, x, channel], ready, a_ring.index(i))
                else:
                    if across & 1:
                        copy_in(odd_x, [picture, y, x, channel], ready, a_ring.index(i))
                    else:
                        copy_in(even, [picture, y, x, channel], ready, a_ring.index(i))
            copy_in(weight, [column * BN, k * BK], ready, w_ring.index(i))
            filled += 1


@gluon.jit
def _consume(
    out, rings, out_buffers, barriers, bias, threshold, threshold_value, boxes, tiles_n, blocks, N,
    INDEX: gl.constexpr, CONSUMERS: gl.constexpr, BOX: gl.constexpr, GROUP: gl.constexpr,
    BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    layout: gl.constexpr, flat: gl.constexpr,
):  # fmt: skip
    a_ring, w_ring = rings
    full, empty = barriers
    STAGES: gl.constexpr = a_ring.type.shape[0]
    BM: gl.constexpr = BOX[0] * BOX[1] * BOX[2]
    BN: gl.constexpr = w_ring.type.shape[1]
    BK: gl.constexpr = w_ring.type.shape[2]
    buffer = out_buffers.index(INDEX)
    tiles = boxes[0] * boxes[1] * boxes[2] * tiles_n
    for j in range(INDEX, gl.cdiv(tiles - gl.program_id(0), gl.num_programs(0)), CONSUMERS):
        picture, top, left, column = _place(j, boxes, tiles_n, BOX, GROUP)
        taken = j * blocks
        acc = gl.zeros((BM, BN), gl.int32, layout)
        for k in range(blocks):
            i = taken % STAGES
            mbarrier.wait(full.index(i), taken // STAGES & 1)
            a = a_ring.index(i).reshape((BM, BK))
            acc = warpgroup_mma(a, w_ring.index(i).permute((1, 0)), acc, is_async=True)
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
        buffer.reshape((BM, BN)).store(s.to(gl.int8))
        fence_async_shared()
        copy_out(out, [picture, top, left, column * BN], buffer)
    tma.store_wait(0)


@gluon.jit
def _conv_fire(
    even, odd_x, odd_y, odd, weight, out, bias, threshold, B, OUT_H, OUT_W, N, threshold_value,
    STAGES: gl.constexpr, CONSUMERS: gl.constexpr, GROUP: gl.constexpr,
    KERNEL: gl.constexpr, STRIDE: gl.constexpr, PADDING: gl.constexpr, C: gl.constexpr,
    BIAS: gl.constexpr, CHANNELS: gl.constexpr,
    D: gl.constexpr, HALF: gl.constexpr, MODE: gl.constexpr, SHIFT: gl.constexpr,
    num_warps: gl.constexpr,
):  # fmt: skip
    BOX: gl.constexpr = even.block_type.shape[:3]
    BN: gl.constexpr = weight.block_type.shape[0]
    BK: gl.constexpr = weight.block_type.shape[1]
    CHANNEL_BLOCKS: gl.constexpr = C // BK
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [num_warps, 1], [16, 128, 32])
    flat: gl.constexpr = gl.BlockedLayout([1], [32], [num_warps], [0])
    a_ring = gl.allocate_shared_memory(
        gl.int8, [STAGES, BOX[0], BOX[1], BOX[2], BK], even.layout
    )  # fmt: skip
    w_ring = gl.allocate_shared_memory(gl.int8, [STAGES, BN, BK], weight.layout)
    buffers = gl.allocate_shared_memory(
        gl.int8, [CONSUMERS, BOX[0], BOX[1], BOX[2], BN], out.layout
    )  # fmt: skip
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    rings, barriers = (a_ring, w_ring), (full, empty)
    pictures = (even, odd_x, odd_y, odd)
    boxes = (gl.cdiv(B, BOX[0]), gl.cdiv(OUT_H, BOX[1]), gl.cdiv(OUT_W, BOX[2]))
    tiles_n, blocks = gl.cdiv(N, BN), KERNEL * KERNEL * CHANNEL_BLOCKS
    # Constants keep their constness only inside of the call.
    if CONSUMERS == 1:
        gl.warp_specialize(
            [
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value, boxes,
                    tiles_n, blocks, N, 0, CONSUMERS, BOX, GROUP, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_produce, (
                    pictures, weight, rings, barriers, boxes, tiles_n,
                    BOX, KERNEL, STRIDE, PADDING, CHANNEL_BLOCKS, GROUP,
                )),
            ],
            [1], [24],
        )  # fmt: skip
    else:
        gl.warp_specialize(
            [
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value, boxes,
                    tiles_n, blocks, N, 0, CONSUMERS, BOX, GROUP, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_consume, (
                    out, rings, buffers, barriers, bias, threshold, threshold_value, boxes,
                    tiles_n, blocks, N, 1, CONSUMERS, BOX, GROUP, BIAS, CHANNELS,
                    D, HALF, MODE, SHIFT, layout, flat,
                )),
                (_produce, (
                    pictures, weight, rings, barriers, boxes, tiles_n,
                    BOX, KERNEL, STRIDE, PADDING, CHANNEL_BLOCKS, GROUP,
                )),
            ],
            [4, 1], [240, 24],
        )  # fmt: skip


def _descriptor(x: Tensor, block: list[int]) -> TensorDescriptor:
    return TensorDescriptor.from_tensor(
        x, block, gl.NVMMASharedLayout.get_default_for(block, gl.int8)
    )


def conv_fire(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    *,
    neuron: IntegerNeuron,
    threshold: Tensor | None = None,
    threshold_value: int = 1,
    bound: int = 2**31 - 1,
    design: Design,
    box: Box,
) -> Tensor:
    """Counts uint8 [B, H', W', O] of a layer that keeps no membrane; ``box_for`` found that it fits."""
    batch, *size, channels = counts.shape
    columns, kernel = weight.shape[:2]
    height, width = (output_size(n, kernel, stride, padding) for n in size)
    out = counts.new_empty((batch, height, width, columns))
    pictures, flat = counts.view(torch.int8), weight.view(columns, -1)
    parities = [(0, 0), (0, 1), (1, 0), (1, 1)] if stride == 2 else [(0, 0)] * 4
    block = [*box.shape, box.channels]
    seen = [_descriptor(pictures[:, y::stride, x::stride], block) for y, x in parities]
    boxes = -(-batch // box.shape[0]) * -(-height // box.shape[1]) * -(-width // box.shape[2])
    grid = min(multiprocessors(counts), boxes * -(-columns // design.columns))
    _conv_fire[(grid,)](
        *seen,
        _descriptor(flat, [design.columns, box.channels]),
        _descriptor(out.view(torch.int8), [*box.shape, design.columns]),
        flat if bias is None else bias.contiguous(),
        flat if threshold is None else threshold.contiguous(),
        batch, height, width, columns, threshold_value,
        STAGES=design.stages * design.fan_in // box.channels, CONSUMERS=design.consumers,
        GROUP=design.group, KERNEL=kernel, STRIDE=stride, PADDING=padding, C=channels,
        BIAS=bias is not None, CHANNELS=threshold is not None,
        D=neuron.levels, HALF=neuron.rounding == "half_up",
        **mode_of(threshold, threshold_value, neuron.levels, bound),
        num_warps=8 // design.consumers,
    )  # fmt: skip
    return out
