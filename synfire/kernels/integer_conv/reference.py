"""Integer convolution on any device: one exact product for each place of the kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Rows (or columns) of the output."""
    return (size + 2 * padding - kernel) // stride + 1


def product(
    counts: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    multiply: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """counts uint8 [B, H, W, C] with weight int8 [O, k, k, C]: int32 [B, H', W', O].

    ``multiply`` takes [M, C] and [O, C] and is exact, so the sum over the k * k places is exact as well.
    """
    kernel = weight.shape[1]
    batch, *size, channels = counts.shape
    rows, columns = (output_size(n, kernel, stride, padding) for n in size)
    framed = functional.pad(counts, (0, 0, padding, padding, padding, padding))
    out = torch.zeros(
        batch * rows * columns, weight.shape[0], dtype=torch.int32, device=counts.device
    )
    for y in range(kernel):
        for x in range(kernel):
            seen = framed[:, y::stride, x::stride][:, :rows, :columns]
            out += multiply(seen.reshape(-1, channels), weight[:, y, x])
    return out.reshape(batch, rows, columns, weight.shape[0])
