"""Array operations in torch, on the CPU or a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn_functional
from torch import Tensor

from synfire.core.errors import GraphError
from synfire.kernels.integrate_fire.reference import BELOW_HALF

_CONVOLUTIONS = {1: nn_functional.conv1d, 2: nn_functional.conv2d, 3: nn_functional.conv3d}
_MAX_POOLS = {
    1: nn_functional.max_pool1d,
    2: nn_functional.max_pool2d,
    3: nn_functional.max_pool3d,
}
_ACTIVATIONS = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": nn_functional.silu,
    "tanh": torch.tanh,
    "gelu": nn_functional.gelu,
}
no_grad = torch.no_grad


class TorchBackend:
    """The operations that the interpreter needs, on tensors [B, ...] of one floating-point type and device."""

    def __init__(self, dtype: np.dtype[Any], device: torch.device) -> None:
        self.dtype = torch.float64 if dtype == np.float64 else torch.float32
        self.device = device

    def array(self, value: Any) -> Tensor:
        tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self.device, dtype)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def stack(self, values: list[Tensor]) -> Tensor:
        return torch.stack(values)

    def sum(self, value: Tensor, axis: int) -> Tensor:
        return value.sum(axis)

    def concat(self, values: list[Tensor], axis: int) -> Tensor:
        return torch.cat(values, axis)

    def clip(self, value: Tensor, low: float, high: float) -> Tensor:
        return value.clamp(low, high)

    def quantise(self, clipped: Tensor, rounding: str) -> Tensor:
        if rounding == "half_up":
            return (clipped + BELOW_HALF[clipped.dtype]).floor()
        return clipped.round() if rounding == "half_even" else clipped.floor()

    def cast(self, value: Tensor) -> Tensor:
        return value.to(self.dtype)

    def where(self, condition: Tensor, a: Any, b: Any) -> Tensor:
        return torch.where(condition, torch.as_tensor(a, dtype=self.dtype, device=self.device), b)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return a @ b

    def swap_last(self, value: Tensor) -> Tensor:
        return value.transpose(-1, -2)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return nn_functional.linear(x, weight)

    def conv(
        self,
        x: Tensor,
        weight: Tensor,
        stride: list[int],
        padding: list[list[int]],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        x, even = _even_padding(x, padding)
        convolve: Any = _CONVOLUTIONS[len(stride)]
        out: Tensor = convolve(x, weight, None, stride, even, dilation, groups)
        return out

    def sparse_conv(self, x: Tensor, weight: Tensor, pairs: Any, rows: int) -> Tensor:
        out = self.zeros((*x.shape[:-2], rows, weight.shape[2]))
        for offset in range(weight.shape[0]):
            chosen = torch.from_numpy(pairs[pairs[:, 0] == offset]).to(self.device)
            update = x[..., chosen[:, 1], :] @ weight[offset]
            out = out.index_add(out.ndim - 2, chosen[:, 2], update)
        return out

    def pool(
        self,
        x: Tensor,
        kind: str,
        kernel: list[int],
        stride: list[int],
        padding: list[list[int]],
        divisor: float | None = None,
    ) -> Tensor:
        rank = len(kernel)
        if kind == "max":
            max_pool: Any = _MAX_POOLS[rank]
            x = _pad(x, padding, float("-inf")) if any(map(any, padding)) else x
            out: Tensor = max_pool(x, kernel, stride)
            return out
        total = _sum_pool(_pad(x, padding), kernel, stride)
        return total if divisor is None else total / divisor

    def upsample(self, x: Tensor, factor: list[int]) -> Tensor:
        for axis, times in enumerate(factor, start=2):
            x = x.repeat_interleave(times, axis)
        return x

    def reshape(self, x: Tensor, attrs: dict[str, Any]) -> Tensor:
        kind = attrs["kind"]
        if kind == "view":
            return x.reshape(x.shape[0], *attrs["shape"])
        if kind == "permute":
            return x.permute(0, *(axis + 1 for axis in attrs["axes"]))
        if kind == "slice":
            return x.narrow(attrs["axis"] + 1, attrs["start"], attrs["stop"] - attrs["start"])
        return _pad(x, attrs["padding"])

    def activation(self, x: Tensor, kind: str) -> Tensor:
        if kind not in _ACTIVATIONS:
            raise GraphError(f"unknown activation {kind!r}; known: {', '.join(_ACTIVATIONS)}.")
        function: Any = _ACTIVATIONS[kind]
        out: Tensor = function(x)
        return out

    def layer_norm(self, x: Tensor, axes: int, epsilon: float) -> Tensor:
        return nn_functional.layer_norm(x, x.shape[-axes:], eps=epsilon)

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        return x.softmax(axis + 1)

    def user_step(
        self, step: Any, x: Tensor, state: dict[str, Tensor], parameters: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        spikes, new_state = step(x, state, **parameters)
        return spikes, new_state


def _sum_pool(x: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
    if len(kernel) == 1:
        return _sum_pool(x.unsqueeze(-2), [1, *kernel], [1, *stride]).squeeze(-2)
    pool: Any = nn_functional.avg_pool2d if len(kernel) == 2 else nn_functional.avg_pool3d
    total: Tensor = pool(x, kernel, stride, divisor_override=1)
    return total


def _pad(x: Tensor, padding: list[list[int]], fill: float = 0.0) -> Tensor:
    flat = [amount for pair in reversed(padding) for amount in pair]
    return nn_functional.pad(x, flat, value=fill) if any(flat) else x


def _even_padding(x: Tensor, padding: list[list[int]]) -> tuple[Tensor, list[int]]:
    """Leave symmetric padding to the convolution, which needs no copy for it."""
    if all(low == high and low >= 0 for low, high in padding):
        return x, [low for low, _ in padding]
    return _pad(x, padding), [0] * len(padding)
