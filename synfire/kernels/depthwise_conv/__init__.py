r"""Depthwise convolutions that keep the size, channels last: y[b, p, c] = sum_d w[c, d] x[b, p + d, c].

Every backbone has them between two neurons, and torch's own are no match for the rest: cuDNN's half-precision kernels
for channels last stop at small sizes, and what runs instead turns the tensors over and back. These read each tensor in
the layout that it has, add in float32 whatever the dtype, and sum weight gradients in a fixed order.

============ =====================================================================
reference.py torch's convolution with one group a channel
triton.py    tiles of pixels and channels; a weight gradient in two stages of sums
============ =====================================================================
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import InputError
from synfire.kernels.depthwise_conv import reference
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.eager import runs_eagerly

__all__ = ["depthwise_conv2d"]

LARGEST = 7
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def _triton(name: str) -> Callable[..., Any]:
    """A function of the Triton path; Triton is optional and imported at the first call."""

    def run(*arguments: Any) -> Any:
        module = importlib.import_module("synfire.kernels.depthwise_conv.triton")
        return getattr(module, name)(*arguments)

    return run


def _refuses(*tensors: Tensor, **options: Any) -> str | None:
    return None if find_spec("triton") else 'Triton is absent: pip install "synfire[cuda]"'


def _passes(x: Tensor, weight: Tensor, **options: Any) -> str | None:
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return "torch's kernels are for tensors that are not channels last"
    if max(weight.shape[2:]) > LARGEST:
        return f"it holds kernels up to {LARGEST} x {LARGEST}"
    return None


def _dispatch(name: str, function: str) -> Dispatch:
    return Dispatch(
        name,
        Path("triton", _triton(function), ("cuda",), _FLOATS, _refuses, _passes),
        Path("reference", getattr(reference, function)),
    )


_convolve = _dispatch("depthwise_conv2d", "convolve")
_of_weight = _dispatch("depthwise_conv2d_weight_gradient", "weight_gradient")


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = _convolve.choose(x, weight).run(x, weight, bias)
    return out


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, of_x: bool, of_weight: bool, of_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    grad = grad.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    g_x, g_weight, g_bias = (grad.new_empty(0) for _ in range(3))
    if of_x:  # the same sum with the kernel turned by half a circle
        g_x = _forward(grad, weight.flip(2, 3), None)
    if of_weight:
        g_weight = _of_weight.choose(x, weight).run(grad, x, weight)
    if of_bias:
        g_bias = grad.sum((0, 2, 3))
    return g_x, g_weight, g_bias


depthwise_conv2d_op = torch.library.custom_op("synfire::depthwise_conv2d", mutates_args=())(
    _forward
)
depthwise_conv2d_backward_op = torch.library.custom_op(
    "synfire::depthwise_conv2d_backward", mutates_args=()
)(_backward)


@depthwise_conv2d_op.register_fake
def _(x, weight, bias):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)


@depthwise_conv2d_backward_op.register_fake
def _(grad, x, weight, of_x, of_weight, of_bias):  # type: ignore[no-untyped-def]
    return (
        torch.empty_like(x) if of_x else grad.new_empty(0),
        torch.empty_like(weight, memory_format=torch.contiguous_format)
        if of_weight
        else grad.new_empty(0),
        grad.new_empty(x.shape[1] if of_bias else 0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias = inputs
    ctx.has_bias, ctx.eager = bias is not None, False
    ctx.save_for_backward(x, weight)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    needs = *ctx.needs_input_grad[:2], ctx.has_bias and ctx.needs_input_grad[2]
    run: Any = depthwise_conv2d_backward_op
    if ctx.eager and not torch.is_grad_enabled():
        run = _backward
    found = run(grad, x, weight, *needs)
    g_x, g_weight, g_bias = (g if need else None for g, need in zip(found, needs, strict=True))
    return g_x, g_weight, g_bias


depthwise_conv2d_op.register_autograd(_gradients, setup_context=_setup)


class _DepthwiseConv(torch.autograd.Function):
    """The same without torch's operator dispatch."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = _forward(*inputs)
        _setup(ctx, inputs, output)
        ctx.eager = True
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _gradients(ctx, grads[0])


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv2d(x, weight, bias, padding=k // 2, groups=C)`` for odd kernels and stride 1.

    Args:
        x: [B, C, H, W], any float dtype; channels last on CUDA takes the Triton path.
        weight: [C, 1, k, k'], k and k' odd.
        bias: [C], or None.

    Returns:
        [B, C, H, W] in the layout of ``x``; sums are float32 in the Triton path. Under autocast the arguments are cast
        as those of a convolution are.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> x = torch.eye(3).reshape(1, 1, 3, 3)
        >>> depthwise_conv2d(x, torch.ones(1, 1, 3, 3))[0, 0].tolist()
        [[2.0, 2.0, 1.0], [2.0, 3.0, 2.0], [1.0, 2.0, 2.0]]
    """
    shape = tuple(weight.shape)
    if x.ndim != 4 or len(shape) != 4 or shape[:2] != (x.shape[1], 1):
        raise InputError(
            "depthwise_conv2d takes x [B, C, H, W] and a weight [C, 1, k, k], got "
            f"{tuple(x.shape)} and {shape}."
        )
    if not shape[2] % 2 or not shape[3] % 2:
        raise InputError(
            f"a kernel that keeps the size has odd sides, got {shape[2:]}: use torch's conv2d."
        )
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    out: Tensor
    if not runs_eagerly(x, weight, bias):
        out = depthwise_conv2d_op(x, weight, bias)
    elif torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (x, weight, bias)
    ):
        out = _DepthwiseConv.apply(x, weight, bias)
    else:
        out = _forward(x, weight, bias)
    return out
