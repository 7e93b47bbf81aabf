"""Counts in the least memory that holds them: one bit (binary), four bits (up to 15 levels), or a byte (up to 255)."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.kernels.packing import pack_bits, pack_counts, unpack_bits, unpack_counts


def packable(dtype: torch.dtype, levels: int, scale: float) -> bool:
    """Whether counts * scale in ``dtype`` can be packed and restored bit for bit.

    float64 cannot: it is restored from float32. Nor can counts that ``dtype`` rounds by a quarter or more.
    """
    known = dtype in (torch.float32, torch.float16, torch.bfloat16)
    return known and 1 <= levels <= 255 and scale > 0 and levels * torch.finfo(dtype).eps <= 0.5


@torch.no_grad()
def pack(values: Tensor, levels: int, scale: float) -> Tensor:
    """counts * scale [N] to packed bytes.

    Example:
        >>> pack(torch.tensor([0.5, 1.0, 0.0]), levels=4, scale=0.25).tolist()
        [66, 0]
    """
    if levels == 1:
        return pack_bits(values)
    if levels <= 15:
        return pack_counts(values, scale, check=False)
    return (values.float() / scale).round_().to(torch.uint8)


@torch.no_grad()
def unpack(packed: Tensor, levels: int, scale: float, n: int, dtype: torch.dtype) -> Tensor:
    """The inverse of :func:`pack`: [n], equal bit for bit to ``(counts.float() * scale).to(dtype)``.

    Example:
        >>> unpack(pack(torch.tensor([0.5, 1.0, 0.0]), 4, 0.25), 4, 0.25, 3, torch.float32).tolist()
        [0.5, 1.0, 0.0]
    """
    if levels == 1:
        return unpack_bits(packed, n, dtype, scale)
    if levels <= 15:
        return unpack_counts(packed, n, dtype, scale)
    return packed.float().mul_(scale).to(dtype)
