"""What packing means, in plain torch on any device.

Bits lie little-endian along the last axis: element j of a row is bit j % 8 of byte j // 8. Counts of 0..15 lie two in
a byte, the first in the low half. Each row is padded with zero bits to whole bytes.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 15  # the largest count in four bits


def _fields(x: Tensor, width: int) -> Tensor:
    """Rows of uint8 values below 2**width, 8 // width of them joined in a byte."""
    in_a_byte = 8 // width
    missing = -x.shape[-1] % in_a_byte
    fields = torch.nn.functional.pad(x, (0, missing)).unflatten(-1, (-1, in_a_byte))
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=x.device)
    return (fields << shifts).sum(-1, dtype=torch.uint8)


def _values(packed: Tensor, n: int, width: int, dtype: torch.dtype, scale: float) -> Tensor:
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=packed.device)
    fields = (packed.unsqueeze(-1) >> shifts) & (2**width - 1)
    return (fields.flatten(-2)[..., :n].to(torch.float32) * scale).to(dtype)


def pack_bits(x: Tensor) -> Tensor:
    """[..., n] to uint8 [..., ceil(n / 8)]: set where x is not zero."""
    return _fields((x != 0).to(torch.uint8), 1)


def unpack_bits(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    """uint8 [..., ceil(n / 8)] to bits * scale [..., n]."""
    return _values(packed, n, 1, dtype, scale)


def pack_counts(x: Tensor, scale: float) -> tuple[Tensor, bool]:
    """[..., n] to uint8 [..., ceil(n / 2)] of round(x / scale), and whether all lay within 0..15."""
    counts = (x.to(torch.float32) / scale).round()
    inside = bool(((counts >= 0) & (counts <= MOST)).all()) if x.device.type == "cpu" else True
    return _fields(counts.nan_to_num().clamp(0, MOST).to(torch.uint8), 4), inside


def unpack_counts(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    """uint8 [..., ceil(n / 2)] to counts * scale [..., n]."""
    return _values(packed, n, 4, dtype, scale)


def popcount(packed: Tensor) -> Tensor:
    """The number of set bits of a uint8 tensor, int64 []."""
    pairs = packed - ((packed >> 1) & 0x55)
    halves = (pairs & 0x33) + ((pairs >> 2) & 0x33)
    return ((halves + (halves >> 4)) & 0x0F).sum(dtype=torch.int64)


def count_nonzero(x: Tensor) -> Tensor:
    """The number of elements that are not zero, int64 []."""
    return torch.count_nonzero(x)
