"""The backward kernel over blocks of [ROWS, 8] states."""

from __future__ import annotations

import triton
import triton.language as tl

from synfire.kernels.integrate_fire.triton.gradient import advance, gradient_steps
from synfire.kernels.integrate_fire.triton.step import place_of, value_of


@triton.jit(do_not_specialize=["elements", "rows", "timesteps", "channels", "inner"])
def backward_kernel(
    grad,
    grad_v_last,
    grad_i_last,
    x,
    record,
    v_first,
    i_first,
    grad_x,
    grad_v_first,
    grad_i_first,
    grad_decay_out,
    grad_threshold_out,
    checkpoints,
    decay,
    threshold,
    scale,
    shift,
    epilogue_gain,
    epilogue_slope,
    epilogue_centre,
    epilogue_offset,
    elements,
    rows,
    timesteps,
    channels,
    inner,
    DECAY: tl.constexpr,
    THRESHOLD: tl.constexpr,
    AFFINE: tl.constexpr,
    EPILOGUE: tl.constexpr,
    PLACE: tl.constexpr,
    RAGGED: tl.constexpr,
    PARAMETERS: tl.constexpr,
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
    ROWS: tl.constexpr,
):
    """All timesteps of a block, STEPS of them unrolled.

    With LOOP and no record a first pass stores the states every STEPS timesteps in ``checkpoints`` [1 or 2, chunks, N].
    """
    block = tl.program_id(0)
    row = block * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, 8)[None, :]
    inside_rows = row < rows
    inside = inside_rows[:, None] & (lane < 8)
    wide_rows = tl.cast(rows, tl.int64)
    stride = wide_rows * 8
    if RAGGED:
        stride = tl.cast(elements, tl.int64)
        inside = row[:, None].to(tl.int64) * 8 + lane < stride
    start = block.to(tl.int64) * ROWS
    base = start * 8
    local = tl.arange(0, ROWS)[:, None] * 8 + lane

    row_of_channel = row[:, None]
    if PLACE == "block":
        row_of_channel = block * ROWS
    place = place_of(row_of_channel, lane, channels, inner, PLACE)
    beta = value_of(decay, place, DECAY, PLACE)
    theta = value_of(threshold, place, THRESHOLD, PLACE)
    factor, term = 1.0, 0.0
    if AFFINE != "none":
        factor = value_of(scale, place, AFFINE, PLACE)
        term = value_of(shift, place, AFFINE, PLACE)
    gain, slope, centre, offset = 1.0, 0.0, 0.0, 0.0
    if EPILOGUE != "none":
        gain = value_of(epilogue_gain, place, EPILOGUE, PLACE)
        slope = value_of(epilogue_slope, place, EPILOGUE, PLACE)
        centre = value_of(epilogue_centre, place, EPILOGUE, PLACE)
        offset = value_of(epilogue_offset, place, EPILOGUE, PLACE)

    zero = tl.zeros([ROWS, 8], tl.float32)
    v, i, grad_v, grad_i = zero, zero, zero, zero
    if v_first is not None:
        v = tl.load(v_first + base + local, mask=inside, other=0.0)
    if i_first is not None:
        i = tl.load(i_first + base + local, mask=inside, other=0.0)
    if grad_v_last is not None:
        grad_v = tl.load(grad_v_last + base + local, mask=inside, other=0.0)
    if grad_i_last is not None:
        grad_i = tl.load(grad_i_last + base + local, mask=inside, other=0.0)

    live = STEPS
    if LOOP:
        live = timesteps
    chunks = tl.cdiv(live, STEPS)
    x_block = x
    if x is not None:
        x_block = x + base
    record_block = record
    if record is not None:
        record_block = record + start
    if checkpoints is not None:
        saved = checkpoints + base + local
        for c in range(chunks):
            tl.store(saved + c * stride, v, mask=inside)
            if CURRENT is not None:
                tl.store(saved + (chunks + c) * stride, i, mask=inside)
            if c < chunks - 1:  # the last chunk may be shorter, and is never passed
                v, i = advance(
                    x_block, local, inside, stride, c * STEPS, v, i, factor, term, beta, theta,
                    AFFINE, LEVELS, ROUNDING, RESET, RESET_VALUE, GAIN, CURRENT, ONE, STEPS,
                )  # fmt: skip
        tl.debug_barrier()  # a thread may read what another one stored
    grad_decay, grad_threshold = zero, zero
    for c in tl.range(0, chunks, num_stages=STAGES):
        chunk = chunks - 1 - c
        if checkpoints is not None:
            v = tl.load(saved + chunk * stride, mask=inside, other=0.0)
            if CURRENT is not None:
                i = tl.load(saved + (chunks + chunk) * stride, mask=inside, other=0.0)
        grad_v, grad_i, grad_decay, grad_threshold, _, _ = gradient_steps(
            grad + base, x_block, record_block, grad_x + base, local, inside, inside_rows, stride,
            wide_rows, chunk * STEPS, live, v, i, grad_v, grad_i, grad_decay, grad_threshold,
            zero, zero, factor, term, beta, theta, gain, slope, centre, offset,
            AFFINE, EPILOGUE, PARAMETERS, False, OUTPUT_SCALE, LEVELS, ROUNDING, FIRST, RESET,
            RESET_VALUE, DETACH, GAIN, CURRENT, SURROGATE, WIDTH, SCALE, INCLUSIVE, UNIT, ONE, KEEP,
            STEPS, SHORT, POLICY, AHEAD, ROWS,
        )  # fmt: skip
    if grad_v_first is not None:
        tl.store(grad_v_first + base + local, grad_v, mask=inside)
    if grad_i_first is not None:
        tl.store(grad_i_first + base + local, grad_i, mask=inside)
    if PARAMETERS:
        tl.store(grad_decay_out + base + local, grad_decay, mask=inside)
        tl.store(grad_threshold_out + base + local, grad_threshold, mask=inside)
