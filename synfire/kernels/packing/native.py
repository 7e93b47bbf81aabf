"""The compiled path: tensors in main memory; each function has the arguments and results of its reference."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from synfire.kernels.native import _extension, absence
from synfire.kernels.packing import reference

ELEMENTS = {
    torch.bool: 0,
    torch.uint8: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.float32: 3,
}


def refuses(*tensors: Tensor, **options: Any) -> str | None:
    """Why the compiled path cannot run, or None."""
    return absence()


def _module() -> Any:
    return _extension()[0]


def _rows(shape: torch.Size) -> int:
    return math.prod(shape[:-1])


def pack_bits(x: Tensor) -> Tensor:
    x, n = x.contiguous(), x.shape[-1]
    packed = x.new_empty((*x.shape[:-1], -(-n // 8)), dtype=torch.uint8)
    _module().pack_bits(
        x.data_ptr(),
        ELEMENTS[x.dtype],
        _rows(x.shape),
        n,
        packed.data_ptr(),
        torch.get_num_threads(),
    )
    return packed


def pack_counts(x: Tensor, scale: float) -> tuple[Tensor, bool]:
    x, n = x.contiguous(), x.shape[-1]
    packed = x.new_empty((*x.shape[:-1], -(-n // 2)), dtype=torch.uint8)
    inside = _module().pack_counts(
        x.data_ptr(),
        ELEMENTS[x.dtype],
        _rows(x.shape),
        n,
        scale,
        packed.data_ptr(),
        torch.get_num_threads(),
    )
    return packed, inside


@lru_cache(maxsize=64)
def _table(width: int, dtype: torch.dtype, scale: float) -> Tensor:
    """For each byte the values that it stands for, [256, 8 // width]."""
    each_byte = torch.arange(256, dtype=torch.uint8).unsqueeze(-1)
    return reference._values(each_byte, 8 // width, width, dtype, scale).contiguous()


def _unpack(packed: Tensor, n: int, width: int, dtype: torch.dtype, scale: float) -> Tensor:
    packed = packed.contiguous()
    out = packed.new_empty((*packed.shape[:-1], n), dtype=dtype)
    table = _table(width, dtype, scale)
    _module().unpack(
        packed.data_ptr(),
        _rows(packed.shape),
        n,
        8 // width,
        table.data_ptr(),
        dtype.itemsize,
        out.data_ptr(),
        torch.get_num_threads(),
    )
    return out


def unpack_bits(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    return _unpack(packed, n, 1, dtype, scale)


def unpack_counts(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    return _unpack(packed, n, 4, dtype, scale)


def popcount(packed: Tensor) -> Tensor:
    packed = packed.contiguous()
    return torch.tensor(
        _module().popcount(packed.data_ptr(), packed.numel(), torch.get_num_threads())
    )


def count_nonzero(x: Tensor) -> Tensor:
    x = x.contiguous()
    return torch.tensor(
        _module().count_nonzero(x.data_ptr(), ELEMENTS[x.dtype], x.numel(), torch.get_num_threads())
    )
