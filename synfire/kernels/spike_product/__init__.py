"""Linear and convolution that keep the packed counts of their input for the weight gradient: explicit operators.

``synfire::spike_linear`` and ``synfire::spike_conv2d`` compute what torch's own do. Beside the output they return the
input in packed form (:mod:`synfire.kernels.spike_product.counts`), and the backward pass restores it from there, so
that no float tensor lives in between. Being operators of their own they do so under ``torch.compile`` too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.layout import dense_layout, flat, layout_of, shaped
from synfire.kernels.spike_product.counts import pack, packable, unpack

__all__ = ["spike_conv2d", "spike_conv2d_op", "spike_linear", "spike_linear_op"]


def _kept(x: Tensor, levels: int, scale: float, keep: bool) -> Tensor:
    """The packed counts of ``x`` in memory order; empty where nobody asks for them."""
    if not keep or not x.numel():
        return x.new_empty(0, dtype=torch.uint8)
    return pack(flat(x, 1, layout_of(x))[0], levels, scale)


def _kept_fake(x: Tensor, levels: int, keep: bool) -> Tensor:
    in_a_byte = 8 if levels == 1 else 2 if levels <= 15 else 1
    return x.new_empty((x.numel() + in_a_byte - 1) // in_a_byte if keep else 0, dtype=torch.uint8)


def _is_channels_last(x: Tensor) -> bool:
    return layout_of(x) != torch.contiguous_format


def _restored(
    packed: Tensor,
    shape: Sequence[int],
    layout: torch.memory_format,
    dtype: torch.dtype,
    levels: int,
    scale: float,
) -> Tensor:
    values = unpack(packed, levels, scale, math.prod(shape), dtype)
    return shaped(values, shape, layout)


def _nothing(like: Tensor) -> Tensor:
    return like.new_empty(0)


@torch.library.custom_op("synfire::spike_linear", mutates_args=())
def spike_linear_op(
    x: Tensor, weight: Tensor, bias: Tensor | None, levels: int, scale: float, keep: bool
) -> tuple[Tensor, Tensor]:
    """x weight^T + bias [..., out], and the packed counts of x [..., in] (empty without ``keep``)."""
    return functional.linear(x, weight, bias), _kept(x, levels, scale, keep)


@spike_linear_op.register_fake
def _(x, weight, bias, levels, scale, keep):  # type: ignore[no-untyped-def]
    return functional.linear(x, weight, bias), _kept_fake(x, levels, keep)


@torch.library.custom_op("synfire::spike_linear_backward", mutates_args=())
def spike_linear_backward_op(
    grad: Tensor,
    packed: Tensor,
    weight: Tensor,
    levels: int,
    scale: float,
    channels_last: bool,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; empty where not needed."""
    g_x, g_weight, g_bias = (_nothing(grad) for _ in range(3))
    rows = grad.reshape(-1, grad.shape[-1])
    if needs[0]:
        g_x = (rows @ weight).reshape(*grad.shape[:-1], weight.shape[1])
    if needs[1]:
        shape = (*grad.shape[:-1], weight.shape[1])
        layout = dense_layout(len(shape), channels_last)
        x = _restored(packed, shape, layout, grad.dtype, levels, scale)
        g_weight = rows.t() @ x.reshape(-1, weight.shape[1])
    if needs[2]:
        g_bias = rows.sum(0)
    return g_x, g_weight, g_bias


@spike_linear_backward_op.register_fake
def _(grad, packed, weight, levels, scale, channels_last, needs):  # type: ignore[no-untyped-def]
    return (
        grad.new_empty((*grad.shape[:-1], weight.shape[1])) if needs[0] else _nothing(grad),
        torch.empty_like(weight, memory_format=torch.contiguous_format)
        if needs[1]
        else _nothing(grad),
        grad.new_empty(grad.shape[-1]) if needs[2] else _nothing(grad),
    )


def _linear_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, _, ctx.levels, ctx.scale, _ = inputs
    ctx.channels_last = _is_channels_last(x)
    ctx.save_for_backward(output[1], weight)
    ctx.mark_non_differentiable(output[1])


def _linear_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    packed, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad[:3]
    grads = spike_linear_backward_op(
        grad, packed, weight, ctx.levels, ctx.scale, ctx.channels_last, needs
    )
    wanted = (g if need else None for g, need in zip(grads, needs, strict=True))
    return *wanted, None, None, None


spike_linear_op.register_autograd(_linear_backward, setup_context=_linear_context)


@torch.library.custom_op("synfire::spike_conv2d", mutates_args=())
def spike_conv2d_op(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    levels: int,
    scale: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """torch's conv2d of x [B, C, H, W], and the packed counts of x (empty without ``keep``)."""
    out = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return out, _kept(x, levels, scale, keep)


@spike_conv2d_op.register_fake
def _(x, weight, bias, stride, padding, dilation, groups, levels, scale, keep):  # type: ignore[no-untyped-def]
    out = functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return out, _kept_fake(x, levels, keep)


def _conv2d_grads(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, needs
    )
    g_x, g_weight, g_bias = (_nothing(grad) if part is None else part for part in found)
    return g_x, g_weight, g_bias


@torch.library.custom_op("synfire::spike_conv2d_backward", mutates_args=())
def spike_conv2d_backward_op(
    grad: Tensor,
    packed: Tensor,
    weight: Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    levels: int,
    scale: float,
    channels_last: bool,
    needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (of this ``shape``), weight and bias; empty where not needed."""
    layout = dense_layout(4, channels_last)
    if needs[1]:
        x = _restored(packed, shape, layout, grad.dtype, levels, scale)
    else:  # only its shape is looked at
        x = shaped(grad.new_empty(1).expand(math.prod(shape)), shape, layout)
    return _conv2d_grads(grad, x, weight, stride, padding, dilation, groups, needs)


@spike_conv2d_backward_op.register_fake
def _(  # type: ignore[no-untyped-def]
    grad, packed, weight, shape, stride, padding, dilation, groups, levels, scale, channels_last,
    needs,
):  # fmt: skip
    layout = dense_layout(4, channels_last)
    x = grad.new_empty(shape).contiguous(memory_format=layout)
    return _conv2d_grads(grad, x, weight, stride, padding, dilation, groups, needs)


def _conv2d_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, weight, _, *ctx.geometry, ctx.levels, ctx.scale, _ = inputs
    ctx.shape, ctx.channels_last = x.shape, _is_channels_last(x)
    ctx.save_for_backward(output[1], weight)
    ctx.mark_non_differentiable(output[1])


def _conv2d_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    packed, weight = ctx.saved_tensors
    needs = ctx.needs_input_grad[:3]
    grads = spike_conv2d_backward_op(
        grad, packed, weight, ctx.shape, *ctx.geometry, ctx.levels, ctx.scale, ctx.channels_last,
        needs,
    )  # fmt: skip
    wanted = (g if need else None for g, need in zip(grads, needs, strict=True))
    return *wanted, *[None] * 7


spike_conv2d_op.register_autograd(_conv2d_backward, setup_context=_conv2d_context)


def _check(x: Tensor, weight: Tensor, levels: int, scale: float, features: int) -> None:
    if not packable(x.dtype, levels, scale):
        raise ConfigError(
            f"counts up to {levels} times {scale} in {x.dtype} cannot be packed: expected 1 to 255 levels that the "
            "dtype tells apart, a positive scale, and float32, float16 or bfloat16; use torch.nn.functional instead."
        )
    if x.shape[1 if weight.ndim == 4 else -1] != features:
        raise InputError(
            f"the weight {tuple(weight.shape)} takes {features} features, got an input of shape {tuple(x.shape)}."
        )


def _cast(x: Tensor, *others: Tensor | None) -> list[Tensor | None]:
    """What autocast would do with the arguments of a product."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return [x, *others]
    dtype = torch.get_autocast_dtype(device)
    return [None if each is None else each.to(dtype) for each in (x, *others)]


def _keep(weight: Tensor) -> bool:
    return torch.is_grad_enabled() and weight.requires_grad


def spike_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, levels: int = 1, scale: float = 1.0
) -> Tensor:
    """``torch.nn.functional.linear`` for what a neuron emitted: for the weight gradient it keeps packed counts.

    Args:
        x: counts in 0..levels times ``scale`` [..., in]; float32, float16 or bfloat16. That is not checked: other
            values give a wrong weight gradient (the output and the other gradients are right).
        weight: [out, in].
        bias: [out], or None.
        levels: the largest count: 1 keeps one bit an element, up to 15 four bits, up to 255 a byte.
        scale: worth of one count (``neuron.scale``).

    Returns:
        [..., out], with gradients equal to those of ``linear`` up to the order of sums.

    Raises:
        ConfigError, InputError: counts that cannot be packed, shapes that do not fit.

    Example:
        >>> spikes = torch.tensor([[0.0, 0.5], [1.0, 0.5]])
        >>> spike_linear(spikes, torch.ones(1, 2), levels=2, scale=0.5).tolist()
        [[0.5], [1.5]]
    """
    x, weight, bias = _cast(x, weight, bias)  # type: ignore[assignment]
    _check(x, weight, levels, scale, weight.shape[1])
    out: Tensor = spike_linear_op(x, weight, bias, levels, float(scale), _keep(weight))[0]
    return out


def _pair(value: int | Sequence[int], name: str) -> list[int]:
    pair = [value, value] if isinstance(value, int) else list(value)
    if len(pair) != 2 or not all(isinstance(each, int) for each in pair):
        raise ConfigError(f"{name} must be an int or two ints, got {value!r}.")
    return pair


def spike_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    levels: int = 1,
    scale: float = 1.0,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d`` for what a neuron emitted: for the weight gradient it keeps packed counts.

    Args:
        x: counts in 0..levels times ``scale`` [B, C, H, W]; see :func:`spike_linear`.
        weight: [out, C / groups, kernel, kernel].
        bias: [out], or None.
        levels, scale: see :func:`spike_linear`.
        stride, padding, dilation, groups: see ``torch.nn.functional.conv2d``; numbers only.

    Returns:
        [B, out, H', W'], with gradients equal to those of ``conv2d``.

    Raises:
        ConfigError, InputError: counts that cannot be packed, shapes that do not fit.

    Example:
        >>> spikes = torch.eye(4).reshape(1, 1, 4, 4)
        >>> spike_conv2d(spikes, torch.ones(1, 1, 3, 3), padding=1)[0, 0, 0].tolist()
        [2.0, 2.0, 1.0, 0.0]
    """
    if x.ndim != 4 or weight.ndim != 4:
        raise InputError(
            f"expected an input [B, C, H, W] and a weight of four axes, got {tuple(x.shape)} and {tuple(weight.shape)}."
        )
    x, weight, bias = _cast(x, weight, bias)  # type: ignore[assignment]
    _check(x, weight, levels, scale, weight.shape[1] * groups)
    geometry = (_pair(stride, "stride"), _pair(padding, "padding"), _pair(dilation, "dilation"))
    out: Tensor = spike_conv2d_op(
        x, weight, bias, *geometry, groups, levels, float(scale), _keep(weight)
    )[0]
    return out
