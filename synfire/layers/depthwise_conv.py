"""A depthwise convolution that keeps the size, on the fastest path for its layout."""

from __future__ import annotations

from torch import Tensor, nn

from synfire.core.tracing import is_tracing
from synfire.kernels.depthwise_conv import depthwise_conv2d


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d(C, C, k, padding=k // 2, groups=C)``, run by :func:`synfire.kernels.depthwise_conv.depthwise_conv2d`.

    Parameters have the names and shapes of torch's module; a graph sees an ordinary convolution.

    Args:
        channels: C.
        kernel: odd side of the kernel.
        bias: whether a bias is added.

    Example:
        >>> import torch
        >>> DepthwiseConv2d(4, 3)(torch.rand(2, 4, 6, 6)).shape
        torch.Size([2, 4, 6, 6])
    """

    def __init__(self, channels: int, kernel: int, bias: bool = False) -> None:
        super().__init__(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        if is_tracing() or input.device.type != "cuda":
            return super().forward(input)
        return depthwise_conv2d(input, self.weight, self.bias)
