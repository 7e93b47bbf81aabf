"""The backward kernel: from what was recorded, or from the input with membranes recomputed in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from synfire.kernels.integrate_fire.triton.step import (
    affine_of,
    alive_of,
    charged,
    count_of,
    derivative,
    gained,
    load_bytes,
    passes,
    reset_of,
)


@triton.jit
def advance(
    x,
    local,
    inside,
    stride,
    first,
    v,
    i,
    factor,
    term,
    beta,
    theta,
    AFFINE: tl.constexpr,
    LEVELS: tl.constexpr,
    ROUNDING: tl.constexpr,
    RESET: tl.constexpr,
    RESET_VALUE: tl.constexpr,
    GAIN: tl.constexpr,
    CURRENT: tl.constexpr,
    ONE: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Membrane and current after STEPS timesteps from ``first`` on."""
    inputs = ()
    for k in tl.static_range(STEPS):
        inputs += (tl.load(x + (first + k) * stride + local, mask=inside, other=0.0),)
    for k in tl.static_range(STEPS):
        u = affine_of(inputs[k], factor, term, AFFINE)
        h, i = charged(u, v, i, beta, GAIN, CURRENT)
        s = count_of(h, theta, LEVELS, ROUNDING, ONE)
        v = reset_of(h, s, theta, RESET, RESET_VALUE, ONE)
    return v, i


@triton.jit
def gradient_steps(
    grad,
    x,
    record,
    grad_x,
    local,
    inside,
    inside_rows,
    stride,
    wide_rows,
    first,
    live,
    v,
    i,
    grad_v,
    grad_i,
    grad_decay,
    grad_threshold,
    sum_1,
    sum_x,
    factor,
    term,
    beta,
    theta,
    gain,
    slope,
    centre,
    offset,
    AFFINE: tl.constexpr,
    EPILOGUE: tl.constexpr,
    PARAMETERS: tl.constexpr,
    SUMS: tl.constexpr,
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
    SHORT: tl.constexpr,
    POLICY: tl.constexpr,
    AHEAD: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Back through STEPS timesteps from ``first`` on, whose membranes are recomputed from ``v`` and ``i``.

    Writes ``grad_x``, or with SUMS adds the gradient of the affine output to ``sum_1`` and times (x - centre) to
    ``sum_x``. Without a record, one bit a timestep stays in registers for the surrogate and one for the reset, or with
    KEEP the charged membranes.
    """
    NEEDS_X: tl.constexpr = record is None or EPILOGUE != "none"

    inputs = ()
    if NEEDS_X:
        for k in tl.static_range(STEPS):
            here = inside
            if SHORT:
                here = inside & alive_of(first + k, live)
            inputs += (
                tl.load(
                    x + (first + k) * stride + local, mask=here, other=0.0, eviction_policy=POLICY
                ),
            )
    ahead = ()
    for j in tl.static_range(AHEAD):
        here = inside
        if SHORT:
            here = inside & alive_of(first + (STEPS - 1 - j), live)
        raw = tl.load(
            grad + (first + (STEPS - 1 - j)) * stride + local,
            mask=here,
            other=0.0,
            eviction_policy=POLICY,
        )
        ahead += (raw,)

    windows, hits, membranes, befores = (), (), (), ()
    if record is not None:
        for k in tl.static_range(0, STEPS, 4):
            word = load_bytes(
                record,
                first + k,
                wide_rows,
                inside_rows,
                live,
                ROWS,
                4 if k + 4 <= STEPS else STEPS - k,
                SHORT,
            )
            windows += (word,)
            if RESET == "hard":
                word = load_bytes(
                    record + live * wide_rows,
                    first + k,
                    wide_rows,
                    inside_rows,
                    live,
                    ROWS,
                    4 if k + 4 <= STEPS else STEPS - k,
                    SHORT,
                )
                hits += (word,)
        bit = tl.full([1, 8], 1, tl.int32) << tl.arange(0, 8)[None, :]
    else:
        window = tl.zeros(v.shape, tl.int32)
        hit = window
        for k in tl.static_range(STEPS):
            u = affine_of(inputs[k], factor, term, AFFINE)
            h, i = charged(u, v, i, beta, GAIN, CURRENT)
            s = count_of(h, theta, LEVELS, ROUNDING, ONE)
            if KEEP:
                membranes += (h,)
            else:
                open_ = passes(h, theta, LEVELS, FIRST, WIDTH, INCLUSIVE, UNIT, ONE)
                window = window | tl.where(open_, 1 << k, 0)
                hit = hit | tl.where(s > 0, 1 << k, 0)
            if PARAMETERS:
                befores += (v,)
            v = reset_of(h, s, theta, RESET, RESET_VALUE, ONE)

    height = SCALE / WIDTH + tl.zeros([1, 1], tl.float32)
    if UNIT == "count" and not ONE:
        height = tl.div_rn(height, theta)

    for k in tl.static_range(STEPS - 1, -1, -1):
        if k >= AHEAD:
            here = inside
            if SHORT:
                here = inside & alive_of(first + (k - AHEAD), live)
            raw = tl.load(
                grad + (first + (k - AHEAD)) * stride + local,
                mask=here,
                other=0.0,
                eviction_policy=POLICY,
            )
            ahead += (raw,)
        grad_s = ahead[STEPS - 1 - k].to(tl.float32)
        if OUTPUT_SCALE != 1.0:
            grad_s = grad_s * OUTPUT_SCALE
        grad_h = grad_v

        if KEEP:
            h = membranes[k]
            s = count_of(h, theta, LEVELS, ROUNDING, ONE)
            fired = s > 0
        elif record is None:
            fired = (hit & (1 << k)) != 0
            open_ = (window & (1 << k)) != 0
        else:
            open_ = (windows[k // 4] & (bit << (8 * (k % 4)))) != 0
            if RESET == "hard":
                fired = (hits[k // 4] & (bit << (8 * (k % 4)))) != 0

        new_threshold = grad_threshold
        if RESET == "soft":
            if PARAMETERS:
                new_threshold = new_threshold - grad_v * s
            if not DETACH:
                grad_s = grad_s - theta * grad_v
        elif RESET == "hard":
            grad_h = tl.where(fired, 0.0, grad_v)
            if not DETACH:
                grad_s = grad_s + tl.where(s <= 1, (RESET_VALUE - h) * grad_v, 0.0)
        if KEEP:
            through = (
                derivative(h, theta, LEVELS, FIRST, SURROGATE, WIDTH, SCALE, INCLUSIVE, UNIT, ONE)
                * grad_s
            )
        else:
            through = tl.where(open_, height * grad_s, 0.0)
        grad_h = grad_h + through
        grad_drive = grad_h
        new_i = grad_i
        if CURRENT is not None:
            grad_drive = grad_h + grad_i
            new_i = CURRENT * grad_drive
        new_decay = grad_decay
        if PARAMETERS:
            ratio = FIRST
            if UNIT == "count":
                ratio = h
                if not ONE:
                    ratio = tl.div_rn(h, theta)
            new_threshold = new_threshold - through * ratio
            new_decay = new_decay + grad_h * befores[k]
            if GAIN is None:
                u = affine_of(inputs[k], factor, term, AFFINE)
                new_decay = new_decay - grad_drive * u
        g_u = gained(grad_drive, beta, GAIN)
        new_v = beta * grad_h

        here = inside
        if SHORT:  # timesteps beyond the last change nothing
            alive = alive_of(first + k, live)
            here = inside & alive
            new_v = tl.where(alive, new_v, grad_v)
            new_i = tl.where(alive, new_i, grad_i)
            new_decay = tl.where(alive, new_decay, grad_decay)
            new_threshold = tl.where(alive, new_threshold, grad_threshold)
            if SUMS:
                g_u = tl.where(alive, g_u, 0.0)
        grad_v, grad_i = new_v, new_i
        grad_decay, grad_threshold = new_decay, new_threshold
        if SUMS:
            sum_1 = sum_1 + g_u
            sum_x = sum_x + g_u * (inputs[k].to(tl.float32) - centre)
        else:
            if EPILOGUE != "none":
                g_u = gain * g_u + (slope * (inputs[k].to(tl.float32) - centre) + offset)
            elif AFFINE != "none":
                g_u = g_u * factor
            tl.store(
                grad_x + (first + k) * stride + local,
                g_u.to(grad_x.dtype.element_ty),
                mask=here,
            )
    return grad_v, grad_i, grad_decay, grad_threshold, sum_1, sum_x
