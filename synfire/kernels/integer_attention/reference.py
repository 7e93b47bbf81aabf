"""Integer spike attention on any device: q (k^T v) in floating point, exact below its bounds.

With counts up to D, the memory k^T v holds integers up to N D^2 and the result up to d N D^3. float64 is exact below
2**53, float32 below 2**24, in whatever order sums are taken.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT_IN_FLOAT32 = 1 << 24


def largest(tokens: int, keys: int, count_levels: int) -> int:
    """The largest number that can occur: d N D^3."""
    return max(1, keys) * tokens * count_levels**3


def attention(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """q, k uint8 [..., N, d], v uint8 [..., N, e] to int32 [..., N, e]."""
    memory = k.to(dtype).transpose(-1, -2) @ v.to(dtype)
    return (q.to(dtype) @ memory).to(torch.int32)
