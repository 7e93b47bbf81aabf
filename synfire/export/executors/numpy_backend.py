"""Array operations in numpy alone: the executor that runs where torch is not installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synfire.core.errors import GraphError

Array = NDArray[Any]


class NumpyBackend:
    """The operations that the interpreter needs, on arrays [B, ...] of one floating-point type."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def array(self, value: Any) -> Array:
        value = np.asarray(value)
        return value.astype(self.dtype) if value.dtype.kind == "f" else value

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, self.dtype)

    def stack(self, values: list[Array]) -> Array:
        return np.stack(values)

    def sum(self, value: Array, axis: int) -> Array:
        total: Array = value.sum(axis)
        return total

    def concat(self, values: list[Array], axis: int) -> Array:
        return np.concatenate(values, axis)

    def clip(self, value: Array, low: float, high: float) -> Array:
        return np.clip(value, low, high)

    def quantise(self, clipped: Array, rounding: str) -> Array:
        if rounding == "half_up":
            below_half = np.nextafter(self.dtype.type(0.5), self.dtype.type(0))
            return np.floor(clipped + below_half)  # with 1/2 a number just below it would round up
        return np.rint(clipped) if rounding == "half_even" else np.floor(clipped)

    def cast(self, value: Array) -> Array:
        return value.astype(self.dtype)

    def where(self, condition: Array, a: Any, b: Any) -> Array:
        return np.where(condition, np.asarray(a, self.dtype), b)

    def matmul(self, a: Array, b: Array) -> Array:
        product: Array = np.matmul(a, b)
        return product

    def swap_last(self, value: Array) -> Array:
        return np.swapaxes(value, -1, -2)

    def linear(self, x: Array, weight: Array) -> Array:
        product: Array = x @ weight.T
        return product

    def conv(
        self,
        x: Array,
        weight: Array,
        stride: list[int],
        padding: list[list[int]],
        dilation: list[int],
        groups: int,
    ) -> Array:
        """Cross-correlation over any number of spatial axes, by windows and one matrix product a group."""
        windows = _windows(_pad(x, padding), list(weight.shape[2:]), stride, dilation)
        batch, channels, *out = windows.shape[: 2 + len(stride)]
        taps = math.prod(weight.shape[2:])
        columns = np.moveaxis(windows, 1, 1 + len(stride)).reshape(
            batch, math.prod(out), groups, channels // groups * taps
        )
        kernels = weight.reshape(groups, weight.shape[0] // groups, -1)
        product = np.einsum("bpgk,gok->bgop", columns, kernels, optimize=True)
        return product.reshape(batch, weight.shape[0], *out)

    def sparse_conv(self, x: Array, weight: Array, pairs: Array, rows: int) -> Array:
        out = np.zeros((*x.shape[:-2], rows, weight.shape[2]), self.dtype)
        for offset in range(weight.shape[0]):
            chosen = pairs[pairs[:, 0] == offset]
            update = x[..., chosen[:, 1], :] @ weight[offset]
            place: Any = (..., chosen[:, 2], slice(None))
            np.add.at(out, place, update)
        return out

    def pool(
        self,
        x: Array,
        kind: str,
        kernel: list[int],
        stride: list[int],
        padding: list[list[int]],
        divisor: float | None = None,
    ) -> Array:
        fill = -np.inf if kind == "max" else 0.0
        windows = _windows(_pad(x, padding, fill), kernel, stride, [1] * len(kernel))
        axes = tuple(range(-len(kernel), 0))
        if kind == "max":
            return windows.max(axes)
        total: Array = windows.sum(axes)
        return total if divisor is None else total / self.dtype.type(divisor)

    def upsample(self, x: Array, factor: list[int]) -> Array:
        for axis, times in enumerate(factor, start=2):
            x = np.repeat(x, times, axis)
        return x

    def reshape(self, x: Array, attrs: dict[str, Any]) -> Array:
        kind = attrs["kind"]
        if kind == "view":
            return x.reshape(x.shape[0], *attrs["shape"])
        if kind == "permute":
            return x.transpose(0, *(axis + 1 for axis in attrs["axes"]))
        if kind == "slice":
            index = [slice(None)] * x.ndim
            index[attrs["axis"] + 1] = slice(attrs["start"], attrs["stop"])
            return x[tuple(index)]
        return _pad(x, attrs["padding"])

    def activation(self, x: Array, kind: str) -> Array:
        if kind not in _ACTIVATIONS:
            raise GraphError(
                f"the numpy executor has no activation {kind!r}: run the graph on torch."
            )
        return _ACTIVATIONS[kind](x).astype(self.dtype)

    def layer_norm(self, x: Array, axes: int, epsilon: float) -> Array:
        over = tuple(range(-axes, 0))
        centred = x - x.mean(over, keepdims=True)
        normed: Array = centred / np.sqrt((centred**2).mean(over, keepdims=True) + epsilon)
        return normed.astype(self.dtype)

    def softmax(self, x: Array, axis: int) -> Array:
        powers = np.exp(x - x.max(axis + 1, keepdims=True))
        share: Array = powers / powers.sum(axis + 1, keepdims=True)
        return share

    def user_step(
        self, step: Any, x: Array, state: dict[str, Array], parameters: dict[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """A step function written for torch runs on torch, between two conversions."""
        import torch

        with torch.no_grad():
            spikes, new_state = step(
                torch.from_numpy(np.ascontiguousarray(x)),
                {key: torch.from_numpy(value) for key, value in state.items()},
                **{key: torch.from_numpy(value) for key, value in parameters.items()},
            )
        return spikes.numpy(), {key: value.numpy() for key, value in new_state.items()}


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[float])(x)


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
}


def _pad(x: Array, padding: list[list[int]], fill: float = 0.0) -> Array:
    """Pad the last axes; negative amounts crop."""
    widths = [[0, 0]] * (x.ndim - len(padding)) + [[max(a, 0), max(b, 0)] for a, b in padding]
    if any(a or b for a, b in widths):
        x = np.pad(x, widths, constant_values=fill)
    crops = [slice(None)] * (x.ndim - len(padding))
    crops += [slice(max(-a, 0), -max(-b, 0) or None) for a, b in padding]
    return x[tuple(crops)]


def _windows(x: Array, kernel: list[int], stride: list[int], dilation: list[int]) -> Array:
    """[B, C, out..., kernel...] as a view of the padded input."""
    axes = tuple(range(2, 2 + len(kernel)))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axes)
    steps = [slice(None), slice(None), *(slice(None, None, s) for s in stride)]
    taps = [slice(None, None, d) for d in dilation]
    return windows[tuple(steps + taps)]
