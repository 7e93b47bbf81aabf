"""The forward kernel: reads x once and writes counts, and if asked for a record and the last state."""

from __future__ import annotations

import triton
import triton.language as tl

from synfire.kernels.integrate_fire.triton.step import (
    affine_of,
    alive_of,
    charged,
    count_of,
    derivative,
    passes,
    place_of,
    reset_of,
    store_bytes,
    value_of,
)


@triton.jit(do_not_specialize=["elements", "rows", "timesteps", "channels", "inner"])
def fire_kernel(
    x,
    out,
    record,
    v_first,
    i_first,
    v_last,
    i_last,
    decay,
    threshold,
    scale,
    shift,
    elements,
    rows,
    timesteps,
    channels,
    inner,
    DECAY: tl.constexpr,
    THRESHOLD: tl.constexpr,
    AFFINE: tl.constexpr,
    PLACE: tl.constexpr,
    RAGGED: tl.constexpr,
    BITS: tl.constexpr,
    OUTPUT_SCALE: tl.constexpr,
    LEVELS: tl.constexpr,
    ROUNDING: tl.constexpr,
    FIRST: tl.constexpr,
    RESET: tl.constexpr,
    RESET_VALUE: tl.constexpr,
    GAIN: tl.constexpr,
    CURRENT: tl.constexpr,
    SURROGATE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    UNIT: tl.constexpr,
    ONE: tl.constexpr,
    TILED: tl.constexpr,
    STEPS: tl.constexpr,
    LOOP: tl.constexpr,
    SHORT: tl.constexpr,
    STAGES: tl.constexpr,
    POLICY: tl.constexpr,
    AHEAD: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A block of [ROWS, 8] states through all timesteps, STEPS of them unrolled, AHEAD of them loaded in advance."""
    block = tl.program_id(0)
    row = block * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, 8)[None, :]
    bit = tl.full([1, 8], 1, tl.int32) << lane
    inside_rows = row < rows
    inside = inside_rows[:, None]
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

    v = tl.zeros([ROWS, 8], tl.float32)
    i = v
    if v_first is not None:
        v = tl.load(v_first + base + local, mask=inside, other=0.0)
    if i_first is not None:
        i = tl.load(i_first + base + local, mask=inside, other=0.0)

    live = STEPS
    if LOOP:
        live = timesteps
    for first in tl.range(0, live, STEPS, num_stages=STAGES):
        window_word = tl.zeros([ROWS, 8], tl.int32)
        hit_word, spike_word = window_word, window_word
        ahead = ()
        for k in tl.static_range(AHEAD):
            here = inside
            if SHORT:
                here = inside & alive_of(first + k, live)
            raw = tl.load(
                x + (base + (first + k) * stride) + local,
                mask=here,
                other=0.0,
                eviction_policy=POLICY,
            )
            ahead += (raw,)
        for k in tl.static_range(STEPS):
            if k + AHEAD < STEPS:
                here = inside
                if SHORT:
                    here = inside & alive_of(first + k + AHEAD, live)
                raw = tl.load(
                    x + (base + (first + k + AHEAD) * stride) + local,
                    mask=here, other=0.0, eviction_policy=POLICY,
                )  # fmt: skip
                ahead += (raw,)
            u = affine_of(ahead[k], factor, term, AFFINE)
            h, current = charged(u, v, i, beta, GAIN, CURRENT)
            s = count_of(h, theta, LEVELS, ROUNDING, ONE)
            membrane = reset_of(h, s, theta, RESET, RESET_VALUE, ONE)
            here = inside
            if SHORT:
                alive = alive_of(first + k, live)
                here = inside & alive
                membrane = tl.where(alive, membrane, v)
                current = tl.where(alive, current, i)
            v = membrane
            i = current
            fired = s > 0
            if record is not None or BITS:
                step = first + k - k % 4
            if BITS:
                spikes = tl.where(fired & inside, bit << (8 * (k % 4)), 0)
                spike_word = spikes if k % 4 == 0 else spike_word | spikes
                if k % 4 == 3 or k == STEPS - 1:
                    store_bytes(
                        out + start, spike_word, step, wide_rows, inside_rows, live,
                        k % 4 + 1, SHORT,
                    )  # fmt: skip
            else:
                if OUTPUT_SCALE != 1.0:
                    s = s * OUTPUT_SCALE
                tl.store(
                    out + (base + (first + k) * stride) + local,
                    s.to(out.dtype.element_ty),
                    mask=here,
                )
            if record is not None:
                if TILED:
                    open_ = passes(h, theta, LEVELS, FIRST, WIDTH, INCLUSIVE, UNIT, ONE)
                else:
                    slope = derivative(
                        h, theta, LEVELS, FIRST, SURROGATE, WIDTH, SCALE, INCLUSIVE, UNIT, ONE
                    )
                    open_ = slope != 0
                if RAGGED:
                    open_ = open_ & inside
                    fired = fired & inside
                windows = tl.where(open_, bit << (8 * (k % 4)), 0)
                window_word = windows if k % 4 == 0 else window_word | windows
                if k % 4 == 3 or k == STEPS - 1:
                    store_bytes(
                        record + start, window_word, step, wide_rows, inside_rows, live,
                        k % 4 + 1, SHORT,
                    )  # fmt: skip
                if RESET == "hard":
                    hits = tl.where(fired, bit << (8 * (k % 4)), 0)
                    hit_word = hits if k % 4 == 0 else hit_word | hits
                    if k % 4 == 3 or k == STEPS - 1:
                        store_bytes(
                            record + (start + live * wide_rows), hit_word, step, wide_rows,
                            inside_rows, live, k % 4 + 1, SHORT,
                        )  # fmt: skip
    if v_last is not None:
        tl.store(v_last + base + local, v, mask=inside)
    if i_last is not None:
        tl.store(i_last + base + local, i, mask=inside)
