"""Convolution and BatchNorm: what carries spikes to the next potential."""

from __future__ import annotations

from torch import nn


class ConvNorm(nn.Sequential):
    """Conv2d, then BatchNorm2d; ``padding`` keeps the size at stride 1.

    Example:
        >>> import torch
        >>> ConvNorm(3, 8, stride=2)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias),
            nn.BatchNorm2d(outputs),
        )
