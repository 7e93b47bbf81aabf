"""torch's own depthwise convolution and its weight gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def _padding(weight: Tensor) -> tuple[int, int]:
    return weight.shape[2] // 2, weight.shape[3] // 2


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[B, C, H, W] to the same shape."""
    out = functional.conv2d(x, weight, bias, padding=_padding(weight), groups=x.shape[1])
    return out.contiguous(memory_format=_layout(x))  # an operator's layout follows from its input


def weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight [C, 1, k, k']."""
    if not x.numel():
        return torch.zeros_like(weight)
    found: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], list(_padding(weight)), [1, 1], False, [0, 0], x.shape[1],
        [False, True, False],
    )[1]  # fmt: skip
    return found.contiguous()


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
