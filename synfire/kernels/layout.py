"""Dense layouts that element-wise operators keep: contiguous and channels last, as flat rows in memory order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def layout_of(x: Tensor) -> torch.memory_format:
    """The layout in which an operator works on ``x`` and returns its results.

    Example:
        >>> layout_of(torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last))
        torch.channels_last
    """
    if x.is_contiguous() or x.ndim not in _CHANNELS_LAST:
        return torch.contiguous_format
    last = _CHANNELS_LAST[x.ndim]
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format


def dense_layout(ndim: int, channels_last: bool) -> torch.memory_format:
    """Contiguous, or channels last for tensors of ``ndim`` axes."""
    return _CHANNELS_LAST[ndim] if channels_last else torch.contiguous_format


def flat(x: Tensor, rows: int, layout: torch.memory_format) -> Tensor:
    """[rows * B, ...] to [rows, N] in memory order; a view wherever ``x`` has the layout."""
    x = x.contiguous(memory_format=layout)
    if layout != torch.contiguous_format:
        x = x.movedim(1, -1)
    return x.reshape(rows, math.prod(x.shape) // rows)


def shaped(flat_x: Tensor, shape: Sequence[int], layout: torch.memory_format) -> Tensor:
    """The inverse of :func:`flat`: a view of ``shape`` in ``layout``."""
    if layout == torch.contiguous_format:
        return flat_x.reshape(tuple(shape))
    batch, channels, *inner = shape
    return flat_x.reshape(batch, *inner, channels).movedim(-1, 1)


def channel_stride(shape: Sequence[int], layout: torch.memory_format) -> int:
    """How many neighbours in memory share a channel (axis 1)."""
    return 1 if layout != torch.contiguous_format else max(1, math.prod(shape[2:]))
