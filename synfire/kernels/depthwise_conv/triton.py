"""The CUDA path, for channels last. Addresses are 64 bits wide where a tensor is; sums are float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from synfire.kernels.triton_launch import launch

_TILE = 8  # rows and columns of pixels of one program
_CHANNELS = 32
_PIXELS = 32  # of one step of a weight gradient
_PROGRAMS = 1024  # about as many work on a weight gradient


@triton.jit(do_not_specialize=["height", "width", "channels", "tiles_x"])
def _convolve(
    x, weight, bias, out, height, width, channels, tiles_x,
    KY: tl.constexpr, KX: tl.constexpr, HAS_BIAS: tl.constexpr,
    TILE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    place = tl.arange(0, TILE * TILE)
    row = (tile // tiles_x) * TILE + place // TILE
    column = (tile % tiles_x) * TILE + place % TILE
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    image = tl.program_id(2).to(tl.int64) * height * width * channels
    pixel = (row * width + column)[:, None] * channels + channel[None, :]
    total = tl.zeros((TILE * TILE, CHANNELS), tl.float32)
    for ky in tl.static_range(KY):
        y = row + (ky - KY // 2)
        inside_y = (y >= 0) & (y < height)
        for kx in tl.static_range(KX):
            at = column + (kx - KX // 2)
            inside = inside_y & (at >= 0) & (at < width)
            shift = ((ky - KY // 2) * width + (kx - KX // 2)) * channels
            value = tl.load(
                x + image + pixel + shift, mask=inside[:, None] & known[None, :], other=0.0
            )
            factor = tl.load(weight + (ky * KX + kx) * channels + channel, mask=known, other=0.0)
            total += value.to(tl.float32) * factor.to(tl.float32)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    written = (row < height) & (column < width)
    tl.store(
        out + image + pixel, total.to(out.dtype.element_ty), mask=written[:, None] & known[None, :]
    )


@triton.jit
def _add(total, grad, x, at, channels, shift, inside, known):
    value = tl.load(
        x + at + shift * channels, mask=inside[:, None] & known[None, :], other=0.0
    )  # fmt: skip
    return total + grad * value.to(tl.float32)


@triton.jit
def _store(partial, total, place, channels, channel, known):
    tl.store(partial + place * channels + channel, tl.sum(total, 0), mask=known)


@triton.jit(do_not_specialize=["pixels", "height", "width", "channels", "steps"])
def _weight_gradient(
    grad, x, partial, pixels, height, width, channels, steps,
    KY: tl.constexpr, KX: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Sums over ``steps`` blocks of pixels for one row of the kernel: partial [program, KY, KX, C]."""
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    ky = tl.program_id(1)
    known = channel < channels
    half: tl.constexpr = KX // 2
    nothing = tl.zeros((PIXELS, CHANNELS), tl.float32)
    t0, t1, t2, t3, t4, t5, t6 = nothing, nothing, nothing, nothing, nothing, nothing, nothing
    first = tl.program_id(2).to(tl.int64) * steps * PIXELS
    for step in range(steps):
        pixel = first + step * PIXELS + tl.arange(0, PIXELS)
        present = pixel < pixels
        column = (pixel % width).to(tl.int32)
        y = ((pixel // width) % height).to(tl.int32) + ky - KY // 2
        row_inside = present & (y >= 0) & (y < height)
        at = pixel[:, None] * channels + channel[None, :]
        g = tl.load(grad + at, mask=row_inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        above = at + (ky - KY // 2) * width * channels
        left = column - half
        t0 = _add(
            t0, g, x, above, channels, -half, row_inside & (left >= 0) & (left < width), known
        )
        if KX > 1:
            t1 = _add(
                t1, g, x, above, channels, 1 - half,
                row_inside & (left + 1 >= 0) & (left + 1 < width), known,
            )  # fmt: skip
            t2 = _add(
                t2, g, x, above, channels, 2 - half,
                row_inside & (left + 2 >= 0) & (left + 2 < width), known,
            )  # fmt: skip
        if KX > 3:
            t3 = _add(
                t3, g, x, above, channels, 3 - half,
                row_inside & (left + 3 >= 0) & (left + 3 < width), known,
            )  # fmt: skip
            t4 = _add(
                t4, g, x, above, channels, 4 - half,
                row_inside & (left + 4 >= 0) & (left + 4 < width), known,
            )  # fmt: skip
        if KX > 5:
            t5 = _add(
                t5, g, x, above, channels, 5 - half,
                row_inside & (left + 5 >= 0) & (left + 5 < width), known,
            )  # fmt: skip
            t6 = _add(
                t6, g, x, above, channels, 6 - half,
                row_inside & (left + 6 >= 0) & (left + 6 < width), known,
            )  # fmt: skip
    place = (tl.program_id(2).to(tl.int64) * KY + ky) * KX
    _store(partial, t0, place, channels, channel, known)
    if KX > 1:
        _store(partial, t1, place + 1, channels, channel, known)
        _store(partial, t2, place + 2, channels, channel, known)
    if KX > 3:
        _store(partial, t3, place + 3, channels, channel, known)
        _store(partial, t4, place + 4, channels, channel, known)
    if KX > 5:
        _store(partial, t5, place + 5, channels, channel, known)
        _store(partial, t6, place + 6, channels, channel, known)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[B, C, H, W], channels last, to the same."""
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    out = torch.empty_like(x)
    if not x.numel():
        return out
    ky, kx = weight.shape[2:]
    taps = weight.reshape(channels, ky * kx).t().contiguous()
    tiles_x = triton.cdiv(width, _TILE)
    grid = (tiles_x * triton.cdiv(height, _TILE), triton.cdiv(channels, _CHANNELS), batch)
    launch(
        _convolve, grid,
        (x, taps, out if bias is None else bias.contiguous(), out, height, width, channels, tiles_x),
        KY=ky, KX=kx, HAS_BIAS=bias is not None, TILE=_TILE, CHANNELS=_CHANNELS, num_warps=4,
    )  # fmt: skip
    return out


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight [C, 1, k, k'], in its dtype; the same sums in the same order at every call."""
    if not x.numel():
        return torch.zeros_like(weight)
    x = x.contiguous(memory_format=torch.channels_last)
    grad = grad.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    ky, kx = weight.shape[2:]
    pixels = batch * height * width
    blocks = triton.cdiv(channels, _CHANNELS)
    programs = max(1, min(_PROGRAMS // (blocks * ky), triton.cdiv(pixels, _PIXELS)))
    steps = triton.cdiv(triton.cdiv(pixels, _PIXELS), programs)
    partial = torch.empty((programs, ky, kx, channels), dtype=torch.float32, device=x.device)
    launch(
        _weight_gradient, (blocks, ky, programs),
        (grad, x, partial, pixels, height, width, channels, steps),
        KY=ky, KX=kx, PIXELS=_PIXELS, CHANNELS=_CHANNELS, num_warps=4,
    )  # fmt: skip
    return partial.sum(0).permute(2, 0, 1).reshape(weight.shape).to(weight.dtype)
