"""Sums over each channel of a batch, in two deterministic stages: moments of the input, sums of its gradient.

Memory is [batches, channels, inner]. Where runs of a channel are long, a program of the first stage walks through the
runs of one channel; else through the rows [channels * inner] of a few columns. Programs sum in float32 a lane, lanes
and programs are added in float64.
"""

from __future__ import annotations

import triton
import triton.language as tl

from synfire.kernels.integrate_fire.triton.gradient import advance, gradient_steps
from synfire.kernels.integrate_fire.triton.step import value_of


@triton.jit
def tile_of(
    tile,
    batches,
    channels,
    length,
    RUNS: tl.constexpr,
    ALIGNED: tl.constexpr,
    BATCHES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Where a tile begins, its elements [BATCHES, COLUMNS] from there, which of them exist, rows and columns of it.

    ``length`` is that of a run, or of a row without RUNS, in units of ALIGNED elements.
    """
    line = tl.cast(length, tl.int64) * ALIGNED
    row = line
    high = tl.full([], BATCHES, tl.int64)
    wide = tl.full([], COLUMNS, tl.int64)
    if RUNS:
        row = line * channels
        across = tl.cdiv(line, COLUMNS).to(tl.int32)
        batch = tile // across * high
        column = tile % across * wide
        base = batch * row + tl.program_id(0) * line + column
    else:
        batch = tile * high
        column = tl.program_id(0) * wide
        base = batch * row + column
    batch_of = tl.arange(0, BATCHES)[:, None]
    column_of = tl.arange(0, COLUMNS)[None, :]
    local = batch_of * row.to(tl.int32) + column_of
    inside = (batch + batch_of < batches) & (column + column_of < line)
    return base, local, inside, tl.minimum(batches - batch, high), tl.minimum(line - column, wide)


@triton.jit
def tiles_of(
    batches, length, RUNS: tl.constexpr, ALIGNED: tl.constexpr,
    BATCHES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """How many tiles the programs of one channel, or of a few columns, share."""
    tiles = tl.cdiv(batches, BATCHES)
    if RUNS:
        tiles = tiles * tl.cdiv(tl.cast(length, tl.int64) * ALIGNED, COLUMNS)
    return tl.cast(tiles, tl.int32)


@triton.jit
def store_partial(target, value, length, RUNS: tl.constexpr, ALIGNED: tl.constexpr):
    """Lanes [BATCHES, COLUMNS] summed to one number (of a channel) or [COLUMNS], in the row of its part in a table."""
    wide = value.to(tl.float64)
    if RUNS:
        total = tl.sum(tl.sum(wide, 1), 0)
        place = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        tl.store(target + place, total.to(tl.float32))
    else:
        COLUMNS: tl.constexpr = value.shape[1]
        column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        row = tl.program_id(1).to(tl.int64) * (length * ALIGNED)
        tl.store(
            target + row + column, tl.sum(wide, 0).to(tl.float32), mask=column < length * ALIGNED
        )


@triton.jit(do_not_specialize=["batches", "channels", "length"])
def moments_kernel(
    x,
    sizes,
    means,
    spreads,
    batches,
    channels,
    length,
    STAGES: tl.constexpr,
    RUNS: tl.constexpr,
    ALIGNED: tl.constexpr,
    BATCHES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Size, mean and sum of squared deviations of what a program sees, relative to the mean of its first tile."""
    tile = tl.program_id(1)
    base, local, inside, high, width = tile_of(
        tile, batches, channels, length, RUNS, ALIGNED, BATCHES, COLUMNS
    )
    value = tl.load(x + base + local, mask=inside, other=0.0).to(tl.float32)
    if RUNS:
        shift = tl.sum(tl.sum(value, 1), 0) / (high * width).to(tl.float32)
    else:
        shift = (tl.sum(value, 0) / high.to(tl.float32))[None, :]
    deviation = tl.where(inside, value - shift, 0.0)
    first = deviation
    second = deviation * deviation
    size = high
    if RUNS:
        size = size * width
    tiles = tiles_of(batches, length, RUNS, ALIGNED, BATCHES, COLUMNS)
    for tile in tl.range(
        tl.program_id(1) + tl.num_programs(1), tiles, tl.num_programs(1), num_stages=STAGES
    ):
        base, local, inside, high, width = tile_of(
            tile, batches, channels, length, RUNS, ALIGNED, BATCHES, COLUMNS
        )
        value = tl.load(x + base + local, mask=inside, other=0.0).to(tl.float32)
        deviation = tl.where(inside, value - shift, 0.0)
        first += deviation
        second += deviation * deviation
        if RUNS:
            size += high * width
        else:
            size += high
    if RUNS:
        total = tl.sum(tl.sum(first.to(tl.float64), 1), 0)
        squares = tl.sum(tl.sum(second.to(tl.float64), 1), 0)
        place = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        exists = place >= 0
    else:
        total = tl.sum(first.to(tl.float64), 0)[None, :]
        squares = tl.sum(second.to(tl.float64), 0)[None, :]
        column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        place = tl.program_id(1).to(tl.int64) * (length * ALIGNED) + column
        exists = column < length * ALIGNED
    many = size.to(tl.float64)
    mean = shift.to(tl.float64) + total / many  # float32 would round away small spreads
    tl.store(means + place, mean, mask=exists)
    tl.store(spreads + place, (squares - total * total / many).to(tl.float32), mask=exists)
    tl.store(sizes + tl.program_id(1), size)


@triton.jit(do_not_specialize=["batches", "channels", "inner", "length", "timesteps"])
def backward_sums_kernel(
    grad,
    grad_v_last,
    grad_i_last,
    x,
    v_first,
    i_first,
    checkpoints,
    sums,
    sums_x,
    decay,
    threshold,
    scale,
    shift,
    mean,
    batches,
    channels,
    inner,
    length,
    timesteps,
    DECAY: tl.constexpr,
    THRESHOLD: tl.constexpr,
    AFFINE: tl.constexpr,
    MEAN: tl.constexpr,
    OUTPUT_SCALE: tl.constexpr,
    LEVELS: tl.constexpr,
    ROUNDING: tl.constexpr,
    FIRST: tl.constexpr,
    RESET: tl.constexpr,
    RESET_VALUE: tl.constexpr,
    DETACH: tl.constexpr,
    GAIN: tl.constexpr,
    CURRENT: tl.constexpr,
    SURROGATE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    UNIT: tl.constexpr,
    ONE: tl.constexpr,
    KEEP: tl.constexpr,
    STEPS: tl.constexpr,
    LOOP: tl.constexpr,
    SHORT: tl.constexpr,
    STAGES: tl.constexpr,
    POLICY: tl.constexpr,
    AHEAD: tl.constexpr,
    RUNS: tl.constexpr,
    ALIGNED: tl.constexpr,
    BATCHES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sums of g_u and of g_u * (x - mean) over what a program sees; ``batches`` is the B of a state [B, C, inner]."""
    if RUNS:
        channel = tl.program_id(0)
    else:
        column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        channel = column // inner % channels
    place = (channel,)
    beta = value_of(decay, place, DECAY, "")
    theta = value_of(threshold, place, THRESHOLD, "")
    factor, term = 1.0, 0.0
    if AFFINE != "none":
        factor = value_of(scale, place, AFFINE, "")
        term = value_of(shift, place, AFFINE, "")
    centre = value_of(mean, place, MEAN, "")
    line = tl.cast(length, tl.int64) * ALIGNED
    if RUNS:
        line = line * channels
    stride = line * batches

    zero = tl.zeros([BATCHES, COLUMNS], tl.float32)
    total, total_x = zero, zero
    live = STEPS
    if LOOP:
        live = timesteps
    chunks = tl.cdiv(live, STEPS)
    tiles = tiles_of(batches, length, RUNS, ALIGNED, BATCHES, COLUMNS)
    for tile in tl.range(tl.program_id(1), tiles, tl.num_programs(1), num_stages=STAGES):
        base, local, inside, _high, _width = tile_of(
            tile, batches, channels, length, RUNS, ALIGNED, BATCHES, COLUMNS
        )
        v, i, grad_v, grad_i = zero, zero, zero, zero
        if v_first is not None:
            v = tl.load(v_first + base + local, mask=inside, other=0.0)
        if i_first is not None:
            i = tl.load(i_first + base + local, mask=inside, other=0.0)
        if grad_v_last is not None:
            grad_v = tl.load(grad_v_last + base + local, mask=inside, other=0.0)
        if grad_i_last is not None:
            grad_i = tl.load(grad_i_last + base + local, mask=inside, other=0.0)
        if checkpoints is not None:
            saved = checkpoints + base + local
            for c in range(chunks):
                tl.store(saved + c * stride, v, mask=inside)
                if CURRENT is not None:
                    tl.store(saved + (chunks + c) * stride, i, mask=inside)
                if c < chunks - 1:
                    v, i = advance(
                        x + base, local, inside, stride, c * STEPS, v, i, factor, term, beta, theta,
                        AFFINE, LEVELS, ROUNDING, RESET, RESET_VALUE, GAIN, CURRENT, ONE, STEPS,
                    )  # fmt: skip
            tl.debug_barrier()  # a thread may read what another one stored
        for c in range(chunks):
            chunk = chunks - 1 - c
            if checkpoints is not None:
                v = tl.load(saved + chunk * stride, mask=inside, other=0.0)
                if CURRENT is not None:
                    i = tl.load(saved + (chunks + chunk) * stride, mask=inside, other=0.0)
            grad_v, grad_i, _decay, _threshold, total, total_x = gradient_steps(
                grad + base, x + base, None, None, local, inside, None, stride, None,
                chunk * STEPS, live, v, i, grad_v, grad_i, zero, zero,
                total, total_x, factor, term, beta, theta, 1.0, 0.0, centre, 0.0,
                AFFINE, "none", False, True, OUTPUT_SCALE, LEVELS, ROUNDING, FIRST, RESET,
                RESET_VALUE, DETACH, GAIN, CURRENT, SURROGATE, WIDTH, SCALE, INCLUSIVE, UNIT, ONE, KEEP,
                STEPS, SHORT, POLICY, AHEAD, 1,
            )  # fmt: skip
    store_partial(sums, total, length, RUNS, ALIGNED)
    store_partial(sums_x, total_x, length, RUNS, ALIGNED)


@triton.jit(do_not_specialize=["parts", "channels", "spread"])
def gather_kernel(
    first,
    second,
    sizes,
    out_one,
    out_two,
    parts,
    channels,
    spread,
    MOMENTS: tl.constexpr,
    LINES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Partial results [parts, channels, spread] to two numbers a channel: sums, or mean and variance."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    exists = channel < channels
    many = tl.zeros([LINES, CHANNELS], tl.float64)
    one = tl.zeros([LINES, CHANNELS], tl.float64)
    two = tl.zeros([LINES, CHANNELS], tl.float64)
    for start in range(0, parts * spread, LINES):
        line = start + tl.arange(0, LINES)[:, None]
        part = line // spread
        inside = (part < parts) & exists
        place = (part.to(tl.int64) * channels + channel) * spread + line % spread
        a = tl.load(first + place, mask=inside, other=0.0).to(tl.float64)
        b = tl.load(second + place, mask=inside, other=0.0).to(tl.float64)
        if MOMENTS:
            size = tl.load(sizes + part, mask=part < parts, other=0).to(tl.float64)
            many += size
            one += size * a
            two += b + size * a * a
        else:
            one += a
            two += b
    one_of = tl.sum(one, 0)[None, :]
    two_of = tl.sum(two, 0)[None, :]
    if MOMENTS:
        many_of = tl.sum(many, 0)[None, :]
        one_of = one_of / many_of
        two_of = two_of / many_of - one_of * one_of
        two_of = tl.maximum(two_of, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out_one + channel, one_of.to(tl.float32), mask=exists)
    tl.store(out_two + channel, two_of.to(tl.float32), mask=exists)
