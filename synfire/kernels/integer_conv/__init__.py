"""Exact integer convolutions for deployed graphs, channels last: counts times 8-bit weights, with or without neurons.

Counts are uint8 [B, H, W, C], weights int8 [O, k, k, C] (a torch weight's ``permute(0, 2, 3, 1)``), sums int32. Square
kernels of any size, stride, zero padding, one group. Nothing here has a gradient.

============ =====================================================================
reference.py one exact product for each place of the kernel
triton.py    implicit products of int8 tiles with the neuron in the epilogue
============ =====================================================================
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integer_conv import reference
from synfire.kernels.integer_conv.reference import output_size
from synfire.kernels.integer_linear import check_bytes, check_sums
from synfire.kernels.integer_linear.reference import product, product_in_float32
from synfire.kernels.integer_neuron import (
    NO_BOUND,
    IntegerNeuron,
    check_int32,
    check_layer,
    fire_rows,
    split,
    without_triton,
)

__all__ = ["IntegerNeuron", "integer_conv2d", "integer_conv2d_fire"]


def _check(
    counts: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, levels: int
) -> tuple[int, int]:
    """Rows and columns of the output of arguments that fit."""
    check_bytes(counts, weight, "integer_conv2d")
    channels, shape = counts.shape[-1:], tuple(weight.shape)
    if counts.ndim != 4 or weight.ndim != 4 or shape[1] != shape[2] or shape[3:] != channels:
        raise InputError(
            "integer_conv2d takes counts [B, H, W, C] and weights [O, k, k, C], got "
            f"{list(counts.shape)} and {list(shape)}: move channels last (permute(0, 2, 3, 1))."
        )
    if stride < 1 or padding < 0:
        raise ConfigError(f"stride is at least 1 and padding at least 0, got {stride}, {padding}.")
    height, width = (output_size(n, shape[1], stride, padding) for n in counts.shape[1:3])
    if height < 1 or width < 1 or weight.numel() == 0:
        raise InputError(
            f"a kernel {list(shape)} leaves nothing of counts {list(counts.shape)} with padding={padding}: expected at "
            "least one place and one channel."
        )
    check_sums(counts, weight[0].numel(), levels)
    check_int32(bias, "a bias", shape[:1])
    return height, width


def _dense(
    multiply: Callable[[Tensor, Tensor], Tensor],
    tensors: tuple[Tensor, Tensor, Tensor | None],
    stride: int,
    padding: int,
) -> Tensor:
    counts, weight, bias = tensors
    sums = reference.product(counts, weight, stride, padding, multiply)
    return sums if bias is None else sums + bias


def _reference(*tensors: Any, stride: int, padding: int, count_levels: int) -> Tensor:
    return _dense(product, tensors, stride, padding)


def _float32(*tensors: Any, stride: int, padding: int, count_levels: int) -> Tensor:
    multiply = partial(product_in_float32, count_levels=count_levels)
    return _dense(multiply, tensors, stride, padding)


def _tiles(*given: Any, **options: Any) -> tuple[Tensor, Tensor]:
    module = importlib.import_module("synfire.kernels.integer_conv.triton")
    result: tuple[Tensor, Tensor] = module.run(*given, **options)
    return result


def _int8(*tensors: Any, **options: Any) -> Tensor:
    return _tiles(*tensors, **options)[0]


def _triton_refuses(*tensors: Tensor, **options: Any) -> str | None:
    return without_triton()


_product = Dispatch(
    "integer_conv2d",
    Path("triton", _int8, ("cuda",), (), _triton_refuses),
    Path("float32", _float32, ("cpu",)),
    Path("reference", _reference),
)


@torch.library.custom_op("synfire::integer_conv2d", mutates_args=())
def integer_conv2d_op(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    count_levels: int,
) -> Tensor:
    """Schema: counts uint8 [B, H, W, C], weights int8 [O, k, k, C], bias int32 [O] to int32 [B, H', W', O]."""
    _check(counts, weight, bias, stride, padding, count_levels)
    options = {"stride": stride, "padding": padding, "count_levels": count_levels}
    out: Tensor = _product.choose(counts, weight, **options).run(counts, weight, bias, **options)
    return out


def _shape(counts: Tensor, weight: Tensor, stride: int, padding: int) -> tuple[Any, ...]:
    height, width = (output_size(n, weight.shape[1], stride, padding) for n in counts.shape[1:3])
    return counts.shape[0], height, width, weight.shape[0]


@integer_conv2d_op.register_fake
def _(counts, weight, bias, stride, padding, count_levels):  # type: ignore[no-untyped-def]
    return counts.new_empty(_shape(counts, weight, stride, padding), dtype=torch.int32)


def _fused_with(
    convolve: Callable[..., Tensor], *tensors: Any, stride: int, padding: int, **options: Any
) -> tuple[Tensor, Tensor]:
    """A convolution, then the reference of the neuron; its places are rows of their own."""
    levels = options["count_levels"]
    sums = convolve(*tensors, stride=stride, padding=padding, count_levels=levels)
    channels, v = sums.shape[-1], options["v"]
    out, last = fire_rows(
        sums.reshape(-1, channels), options["threshold"], options["threshold_value"],
        None if v is None else v.reshape(-1, channels), options["timesteps"], options["neuron"],
    )  # fmt: skip
    batch = sums.shape[0] // options["timesteps"]
    state = last.reshape(batch, *sums.shape[1:]) if options["keep_state"] else last.new_empty(0)
    return out.reshape(sums.shape), state


_fused = Dispatch(
    "integer_conv2d_fire",
    Path("triton", _tiles, ("cuda",), (), _triton_refuses),
    Path("float32", partial(_fused_with, _float32), ("cpu",)),
    Path("reference", partial(_fused_with, _reference)),
)


@torch.library.custom_op("synfire::integer_conv2d_fire", mutates_args=())
def integer_conv2d_fire_op(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    threshold: Tensor | None,
    threshold_value: int,
    v: Tensor | None,
    stride: int,
    padding: int,
    timesteps: int,
    count_levels: int,
    bound: int,
    levels: int,
    rounding: str,
    reset: str,
    dv: int,
    keep_state: bool,
) -> tuple[Tensor, Tensor]:
    """Schema: counts uint8 [T*B, H, W, C] to uint8 [T*B, H', W', O], last membrane int32 [B, H', W', O] (or empty)."""
    height, width = _check(counts, weight, bias, stride, padding, count_levels)
    columns = weight.shape[0]
    check_layer(counts.shape[0], columns, bias, threshold, threshold_value, None, timesteps, levels)
    state = (counts.shape[0] // timesteps, height, width, columns)
    check_int32(v, "the initial membrane", state)
    options = {
        "stride": stride, "padding": padding, "count_levels": count_levels,
        "neuron": IntegerNeuron(levels, rounding, reset, dv),
        "threshold": threshold, "threshold_value": threshold_value, "bound": bound,
        "v": v, "timesteps": timesteps, "keep_state": keep_state,
    }  # fmt: skip
    out, last = _fused.choose(counts, weight, **options).run(counts, weight, bias, **options)
    return out, last


@integer_conv2d_fire_op.register_fake
def _(counts, weight, bias, threshold, value, v, stride, padding, timesteps, *constants):  # type: ignore[no-untyped-def]
    shape = _shape(counts, weight, stride, padding)
    last = (shape[0] // timesteps, *shape[1:]) if constants[-1] else (0,)
    return counts.new_empty(shape), counts.new_empty(last, dtype=torch.int32)


def integer_conv2d(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    count_levels: int = 127,
) -> Tensor:
    """Cross-correlation in integers, channels last.

    Args:
        counts: uint8 [B, H, W, C].
        weight: int8 [O, k, k, C].
        bias: int32 [O], added modulo 2**32.
        stride, padding: the same along both axes; the frame is zero.
        count_levels: the largest count; a declaration, checked on a CPU only. Up to 127 costs least.

    Returns:
        int32 [B, H', W', O], H' = (H + 2 padding - k) // stride + 1, exact.

    Raises:
        InputError: dtypes or shapes do not fit, floats among them, since there is no gradient; sums may leave int32.
        ConfigError: a stride or padding that cannot work.

    Example:
        >>> counts = torch.ones(1, 3, 3, 2, dtype=torch.uint8)
        >>> integer_conv2d(counts, torch.ones(1, 3, 3, 2, dtype=torch.int8), padding=1)[0, :, :, 0]
        tensor([[ 8, 12,  8],
                [12, 18, 12],
                [ 8, 12,  8]], dtype=torch.int32)
    """
    out: Tensor = integer_conv2d_op(counts, weight, bias, stride, padding, count_levels)
    return out


def integer_conv2d_fire(
    counts: Tensor,
    weight: Tensor,
    threshold: Tensor | int,
    neuron: IntegerNeuron,
    *,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    v: Tensor | None = None,
    timesteps: int = 1,
    count_levels: int = 127,
    bound: int = NO_BOUND,
    keep_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """A convolution and its integer neuron: counts in, counts out, no sums in memory.

    Args:
        counts: uint8 [T*B, H, W, C].
        weight, bias, stride, padding, count_levels: as :func:`integer_conv2d`.
        threshold, neuron, timesteps, bound, keep_state: as
            :func:`synfire.kernels.integer_linear.integer_linear_fire`.
        v: membrane before the first timestep, int32 [B, H', W', O]; None is rest.

    Returns:
        counts uint8 [T*B, H', W', O]; last membrane int32 [B, H', W', O], or None.

    Raises:
        InputError, ConfigError: as those two do.

    Example:
        >>> counts = torch.ones(1, 3, 3, 2, dtype=torch.uint8)
        >>> weight = torch.ones(1, 3, 3, 2, dtype=torch.int8)
        >>> integer_conv2d_fire(counts, weight, 6, IntegerNeuron(4), padding=1)[0][0, :, :, 0]
        tensor([[1, 2, 1],
                [2, 3, 2],
                [1, 2, 1]], dtype=torch.uint8)
    """
    tensor, value = split(threshold, weight.shape[0])
    out, last = integer_conv2d_fire_op(
        counts, weight, bias, tensor, value, v, stride, padding, timesteps, count_levels, bound,
        neuron.levels, neuron.rounding, neuron.reset, neuron.dv, keep_state,
    )  # fmt: skip
    return out, last if keep_state else None
