"""The CUDA path. One program does a block of bytes of the packed form; addresses are 64 bits wide."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BYTES = 512  # of the packed form in one program
_HALF_WAY = tl.constexpr(12582912.0)  # 1.5 * 2**23: a float32 sum with it has no fraction bits


@triton.jit
def _elements(bytes_in_all, n, bytes_in_row, BLOCK: tl.constexpr, PER: tl.constexpr):
    """Bytes of this program, and places and mask of the PER elements of each."""
    byte = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    column = (byte % bytes_in_row)[:, None] * PER + tl.arange(0, PER)[None, :]
    place = (byte // bytes_in_row)[:, None] * n + column
    present = byte < bytes_in_all
    return byte, present, place, present[:, None] & (column < n)


@triton.jit
def _pack(
    x, packed, bytes_in_all, n, bytes_in_row, scale, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    PER: tl.constexpr = 8 // WIDTH
    byte, present, place, mask = _elements(bytes_in_all, n, bytes_in_row, BLOCK, PER)
    value = tl.load(x + place, mask=mask, other=0)
    if WIDTH == 1:
        field = (value.to(tl.float32) != 0).to(tl.int32)
    else:
        quotient = tl.div_rn(value.to(tl.float32), tl.zeros_like(value).to(tl.float32) + scale)
        bounded = tl.minimum(tl.maximum(quotient, 0.0), 15.0)
        field = ((bounded + _HALF_WAY) - _HALF_WAY).to(tl.int32)
    shifted = field << (tl.arange(0, PER) * WIDTH)[None, :]
    tl.store(packed + byte, tl.sum(shifted, 1).to(tl.uint8), mask=present)


@triton.jit
def _unpack(
    packed, out, bytes_in_all, n, bytes_in_row, scale, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    PER: tl.constexpr = 8 // WIDTH
    byte, present, place, mask = _elements(bytes_in_all, n, bytes_in_row, BLOCK, PER)
    whole = tl.load(packed + byte, mask=present, other=0).to(tl.int32)
    field = (whole[:, None] >> (tl.arange(0, PER) * WIDTH)[None, :]) & ((1 << WIDTH) - 1)
    value = field.to(tl.float32) * scale
    tl.store(out + place, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _count(x, partial, elements, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Set bits, or elements that are not zero, of each block."""
    program = tl.program_id(0).to(tl.int64)
    place = program * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + place, mask=place < elements, other=0)
    if BITS:
        bits = value.to(tl.int32)
        bits = bits - ((bits >> 1) & 0x55)
        bits = (bits & 0x33) + ((bits >> 2) & 0x33)
        found = (bits + (bits >> 4)) & 0x0F
    else:
        found = (value.to(tl.float32) != 0).to(tl.int32)
    tl.store(partial + program, tl.sum(found, 0))


def _launch_pack(x: Tensor, width: int, scale: float) -> Tensor:
    per = 8 // width
    x, n = x.contiguous(), x.shape[-1]
    packed = x.new_empty((*x.shape[:-1], -(-n // per)), dtype=torch.uint8)
    source = x.view(torch.uint8) if x.dtype == torch.bool else x
    if packed.numel():
        grid = (triton.cdiv(packed.numel(), BYTES),)
        _pack[grid](
            source, packed, packed.numel(), n, packed.shape[-1], scale, WIDTH=width, BLOCK=BYTES
        )
    return packed


def _launch_unpack(packed: Tensor, n: int, width: int, dtype: torch.dtype, scale: float) -> Tensor:
    packed = packed.contiguous()
    out = packed.new_empty((*packed.shape[:-1], n), dtype=dtype)
    if out.numel():
        grid = (triton.cdiv(packed.numel(), BYTES),)
        _unpack[grid](
            packed, out, packed.numel(), n, packed.shape[-1], scale, WIDTH=width, BLOCK=BYTES
        )
    return out


def pack_bits(x: Tensor) -> Tensor:
    return _launch_pack(x, 1, 1.0)


def pack_counts(x: Tensor, scale: float) -> tuple[Tensor, bool]:
    return _launch_pack(x, 4, scale), True


def unpack_bits(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    return _launch_unpack(packed, n, 1, dtype, scale)


def unpack_counts(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    return _launch_unpack(packed, n, 4, dtype, scale)


def _total(x: Tensor, bits: bool) -> Tensor:
    x = x.contiguous()
    blocks = triton.cdiv(x.numel(), 4096)
    partial = x.new_zeros(blocks, dtype=torch.int32)
    if blocks:
        source = x.view(torch.uint8) if x.dtype == torch.bool else x
        _count[(blocks,)](source, partial, x.numel(), BITS=bits, BLOCK=4096)
    return partial.sum(dtype=torch.int64)


def popcount(packed: Tensor) -> Tensor:
    return _total(packed, bits=True)


def count_nonzero(x: Tensor) -> Tensor:
    return _total(x, bits=False)
