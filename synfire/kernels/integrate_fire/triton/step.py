"""What the kernels of the neuron share: one timestep, its surrogate derivative, channels, packed bits.

A block of states is [ROWS, 8]: a row is one byte of a record. Constants are compile-time arguments, so that what is
not used costs nothing; ``ONE`` says that the threshold is 1 and nothing is divided. Every line rounds once, like the
reference (kernels are launched without fused multiply-add).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def place_of(row, lane, channels, inner, PLACE: tl.constexpr):
    """Where the values of elements are found, of rows [ROWS, 1] or one row, and lanes [1, 8].

    A channel, the next one, and which elements have that: divisions are made for a row, not for each element.
    """
    channel = row * 0
    after = channel
    crossed = lane < 0
    if PLACE == "block" or PLACE == "rows":  # inner is a multiple of 8: a row has one channel
        channel = row // (inner // 8) % channels
    elif PLACE == "lanes":  # channels lie innermost, and are a multiple of 8
        channel = row % (channels // 8) * 8 + lane
    elif PLACE == "wrapped":  # channels lie innermost, at least 8 of them
        channel = row % channels * 8 % channels + lane
        channel = tl.where(channel < channels, channel, channel - channels)
    elif PLACE == "pairs":  # inner is at least 8: a row meets at most two channels
        whole = row // inner  # 8 * row may not fit
        first = (row - whole * inner) * 8
        run = first // inner
        crossed = first - run * inner + lane >= inner
        channel = (whole % channels * 8 + run) % channels
        after = tl.where(channel + 1 == channels, 0, channel + 1)
    elif PLACE == "elements":
        channel = (row.to(tl.int64) * 8 + lane) // inner % channels
    return channel, after, crossed


@triton.jit
def value_of(source, place, KIND: tl.constexpr, PLACE: tl.constexpr):
    """A number, the one value behind a pointer, or one for each channel."""
    if KIND == "number":
        value = source
    elif KIND == "one":
        value = tl.load(source)
    else:
        value = tl.load(source + place[0])
        if PLACE == "pairs":
            value = tl.where(place[2], tl.load(source + place[1]), value)
    return value


@triton.jit
def affine_of(raw, scale, shift, AFFINE: tl.constexpr):
    """The input as the neuron takes it: x * scale + shift."""
    u = raw.to(tl.float32)
    if AFFINE != "none":
        u = u * scale
        u = u + shift
    return u


@triton.jit
def gained(u, decay, GAIN: tl.constexpr):
    """Times the input gain; None stands for 1 - decay."""
    if GAIN is None:
        u = (1.0 - decay) * u
    elif GAIN != 1.0:
        u = GAIN * u
    return u


@triton.jit
def charged(u, v, i, decay, GAIN: tl.constexpr, CURRENT: tl.constexpr):
    """Membrane before the reset, and current."""
    drive = gained(u, decay, GAIN)
    if CURRENT is not None:
        i = CURRENT * i + drive
        drive = i
    return decay * v + drive, i


@triton.jit
def count_of(h, threshold, LEVELS: tl.constexpr, ROUNDING: tl.constexpr, ONE: tl.constexpr):
    """round(clip(h / threshold, 0, levels)); a NaN stays one."""
    u = h
    if not ONE:
        u = tl.div_rn(h, threshold)
    u = tl.maximum(u, 0.0, propagate_nan=tl.PropagateNan.ALL)
    u = tl.minimum(u, LEVELS * 1.0, propagate_nan=tl.PropagateNan.ALL)
    if ROUNDING == "half_even":
        # Above 2^23 float32 has no fractions: the addition itself rounds to even.
        s = (u + 8388608.0) - 8388608.0
    elif ROUNDING == "half_up":
        s = tl.floor(u + 0.4999999701976776)  # 1/2 - 2^-25, see reference.BELOW_HALF
    else:
        s = tl.floor(u)
    return s


@triton.jit
def reset_of(h, s, threshold, RESET: tl.constexpr, RESET_VALUE: tl.constexpr, ONE: tl.constexpr):
    """The membrane after the reset."""
    v = h
    if RESET == "soft":
        v = h - s if ONE else h - threshold * s
    elif RESET == "hard":
        v = tl.where(s > 0, RESET_VALUE * 1.0, h)
    return v


@triton.jit
def in_window(
    u,
    low,
    high,
    CLOSED_LOW: tl.constexpr,
    CLOSED_HIGH: tl.constexpr,
):
    above = u > low
    if CLOSED_LOW:
        above = u >= low
    below = u < high
    if CLOSED_HIGH:
        below = u <= high
    return above & below


@triton.jit
def bump(distance, SURROGATE: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """A row of the table of surrogates: scale / width * f(distance / width)."""
    z = distance
    if WIDTH != 1.0:
        z = tl.div_rn(distance, WIDTH)
    if SURROGATE == "arctan":
        z = 3.141592653589793 * z
        f = tl.div_rn(1.0, 1.0 + z * z)
    elif SURROGATE == "fast_sigmoid":
        z = 1.0 + 2.0 * tl.abs(z)
        f = tl.div_rn(1.0, z * z)
    elif SURROGATE == "triangle":
        f = tl.maximum(1.0 - tl.abs(z), 0.0, propagate_nan=tl.PropagateNan.ALL)
    elif SURROGATE == "gaussian":
        f = tl.exp(-3.141592653589793 * (z * z))
    else:
        tl.static_assert(SURROGATE == "sigmoid")
        half = tl.div_rn(1.0, 1.0 + tl.exp(-(4.0 * z)))
        f = 4.0 * half * (1.0 - half)
    return (SCALE / WIDTH) * f


@triton.jit
def derivative(
    h,
    threshold,
    LEVELS: tl.constexpr,
    FIRST: tl.constexpr,
    SURROGATE: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    UNIT: tl.constexpr,
    ONE: tl.constexpr,
):
    """ds/dh: one bump for each level, in the reference's order of addition."""
    u = h
    if UNIT == "count" and not ONE:
        u = tl.div_rn(h, threshold)
    total = tl.zeros_like(h)
    half: tl.constexpr = WIDTH / 2
    for level in tl.static_range(1, LEVELS + 1):
        if SURROGATE != "rectangle":
            if UNIT == "count":
                total += bump(u - (level - 1 + FIRST), SURROGATE, WIDTH, SCALE)
            else:
                total += bump(u - threshold * (level - 1 + FIRST), SURROGATE, WIDTH, SCALE)
        else:
            if UNIT == "count":
                where = in_window(
                    u, level - 1 + FIRST - half, level - 1 + FIRST + half,
                    level > 1 or INCLUSIVE, level == LEVELS and INCLUSIVE,
                )  # fmt: skip
            else:
                centre = threshold * (level - 1 + FIRST)
                where = in_window(
                    u, centre - half, centre + half,
                    level > 1 or INCLUSIVE, level == LEVELS and INCLUSIVE,
                )  # fmt: skip
            total += where.to(tl.float32) * (SCALE / WIDTH)
    if UNIT == "count" and not ONE:
        total = tl.div_rn(total, threshold)
    return total


@triton.jit
def passes(
    h,
    threshold,
    LEVELS: tl.constexpr,
    FIRST: tl.constexpr,
    WIDTH: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    UNIT: tl.constexpr,
    ONE: tl.constexpr,
):
    """Where a gradient passes rectangles that tile one window (width 1, or one level)."""
    if UNIT == "count":
        u = h
        if not ONE:
            u = tl.div_rn(h, threshold)
        low: tl.constexpr = FIRST - WIDTH / 2
        high: tl.constexpr = LEVELS - 1 + FIRST + WIDTH / 2
        where = in_window(u, low, high, INCLUSIVE, INCLUSIVE)
    else:
        tl.static_assert(LEVELS == 1)
        centre = threshold * FIRST
        where = in_window(h, centre - WIDTH / 2, centre + WIDTH / 2, INCLUSIVE, INCLUSIVE)
    return where


@triton.jit
def alive_of(step, live):
    """Whether a timestep exists, as a block [1, 1]."""
    return step + tl.zeros([1, 1], tl.int32) < live


@triton.jit
def store_bytes(target, word, step, rows, inside, live, COUNT: tl.constexpr, SHORT: tl.constexpr):
    """Bits [ROWS, 8] of up to four timesteps, timestep j in byte j of a word, as rows of bytes from ``step`` on.

    One block [4, ROWS] of bytes: if its layout differs from that of the words, they move once for all timesteps.
    """
    packed = tl.sum(word, 1)[None, :]
    j = tl.arange(0, COUNT if COUNT < 3 else 4)[:, None]
    here = inside[None, :] & (j < COUNT)
    if SHORT:
        here = here & (step + j < live)
    place = tl.arange(0, word.shape[0])[None, :]
    byte = ((packed >> (8 * j)) & 255).to(tl.uint8)
    tl.store(target + (step + j) * rows + place, byte, mask=here)


@triton.jit
def load_bytes(
    source, step, rows, inside, live,
    ROWS: tl.constexpr, COUNT: tl.constexpr, SHORT: tl.constexpr,
):  # fmt: skip
    """The inverse of ``store_bytes``: words [ROWS, 1]."""
    place = tl.arange(0, ROWS)
    word = tl.zeros([ROWS], tl.int32)
    for j in tl.static_range(COUNT):
        here = inside
        if SHORT:
            here = inside & (step + j + tl.zeros([1], tl.int32) < live)
        byte = tl.load(source + (step + j) * rows + place, mask=here, other=0)
        word = word | (byte.to(tl.int32) << (8 * j))
    return word[:, None]
