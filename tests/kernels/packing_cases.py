"""Tensors to pack, shared by the tests of all paths, and what they become when done by hand."""

from __future__ import annotations

import torch
from torch import Tensor

SHAPES = [(1,), (63,), (100,), (4097,), (64,), (3, 8), (5, 7), (2, 3, 130), (0,), (0, 5), (4, 0)]
DTYPES = [torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32]
WIDE = [*DTYPES, torch.float64, torch.int32]


def spikes(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Mostly zeros of both signs where there are two."""
    draw = torch.Generator().manual_seed(sum(shape))
    chosen = torch.rand(shape, generator=draw) < 0.3
    values = torch.rand(shape, generator=draw) * 9 + 1
    zeros = torch.zeros(shape) if not dtype.is_floating_point else torch.zeros(shape) * -1
    return torch.where(chosen, values, zeros).to(dtype)


def counts(shape: tuple[int, ...], dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    drawn = torch.randint(0, 16, shape, generator=draw)
    return (drawn * scale).to(dtype) if dtype != torch.bool else drawn > 7


def bits_by_hand(x: Tensor) -> list[list[int]]:
    rows = x.reshape(-1, x.shape[-1]).tolist() if x.numel() else [[]] * x.shape[:-1].numel()
    return [
        [
            sum((value != 0) << j for j, value in enumerate(row[k : k + 8]))
            for k in range(0, len(row), 8)
        ]
        for row in rows
    ]


def counts_by_hand(x: Tensor, scale: float) -> list[list[int]]:
    rows = x.reshape(-1, x.shape[-1]).tolist() if x.numel() else [[]] * x.shape[:-1].numel()
    quarters = [[round(value / scale) for value in row] + [0] for row in rows]
    return [[row[k] + 16 * row[k + 1] for k in range(0, len(row) - 1, 2)] for row in quarters]


def as_rows(packed: Tensor) -> list[list[int]]:
    return packed.reshape(packed.shape[:-1].numel(), packed.shape[-1]).tolist()
