"""Exact integer products for deployed graphs: counts times 8-bit weights, and the neuron in the same kernel.

Counts are uint8, weights int8, sums int32: the numbers that a fixed-point chip computes. On CUDA they run on the int8
tensor cores; on a CPU in float32, which holds them exactly as well. Nothing here has a gradient.

================ ============================================================================
reference.py     float64 and float32 products, exact below their bounds
triton.py        tiles of int8 with the neuron in the epilogue, and lists of blocks with spikes
triton_fp8.py    the same product on fp8 tensor cores, for small counts and small weights
triton_hopper.py the fused layer with copies, products and neurons at the same time
tuning.py        which tile or design a shape takes
================ ============================================================================
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integer_linear import reference
from synfire.kernels.integer_linear.reference import LARGEST_WEIGHT
from synfire.kernels.integer_linear.tuning import design_for
from synfire.kernels.integer_neuron import (
    NO_BOUND,
    IntegerNeuron,
    bound_of,
    check_int32,
    check_layer,
    fire_rows,
    split,
    without_triton,
)

__all__ = ["NO_BOUND", "IntegerNeuron", "bound_of", "integer_linear", "integer_linear_fire"]


def check_bytes(counts: Tensor, weight: Tensor, what: str) -> None:
    """Counts are uint8 and weights int8, or one sentence."""
    if counts.dtype != torch.uint8 or weight.dtype != torch.int8:
        raise InputError(
            f"{what} takes counts uint8 and weights int8, got {counts.dtype} and {weight.dtype}; it has no gradient: "
            "train with float layers and IntegerLIF, and quantise."
        )


def check_sums(counts: Tensor, fan_in: int, count_levels: int) -> None:
    """Sums fit int32 and counts are what was declared; values on a GPU are not looked at."""
    if not 1 <= count_levels <= 255:
        raise ConfigError(
            f"count_levels is the largest count, 1..255 in a byte, got {count_levels}."
        )
    if fan_in * count_levels * LARGEST_WEIGHT > NO_BOUND:
        raise InputError(
            f"sums over a fan-in of {fan_in} with counts up to {count_levels} may leave int32: declare fewer "
            "count_levels, or split the layer."
        )
    if counts.device.type == "cpu" and counts.numel() and int(counts.max()) > count_levels:
        raise InputError(
            f"counts reach {int(counts.max())}, declared were count_levels={count_levels}: declare the largest."
        )


def _check(counts: Tensor, weight: Tensor, bias: Tensor | None, count_levels: int) -> None:
    check_bytes(counts, weight, "integer_linear")
    if counts.ndim != 2 or weight.ndim != 2 or counts.shape[1] != weight.shape[1]:
        raise InputError(
            f"integer_linear takes counts [M, K] and weights [N, K], got {list(counts.shape)} and {list(weight.shape)}."
        )
    check_sums(counts, counts.shape[1], count_levels)
    check_int32(bias, "a bias", (weight.shape[0],))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"synfire.kernels.integer_linear.{name}")


def _plus(sums: Tensor, bias: Tensor | None) -> Tensor:
    return sums if bias is None else sums + bias


def _reference(counts: Tensor, weight: Tensor, bias: Tensor | None, **levels: int) -> Tensor:
    return _plus(reference.product(counts, weight), bias)


def _float32(counts: Tensor, weight: Tensor, bias: Tensor | None, **levels: int) -> Tensor:
    sums = reference.product_in_float32(counts, weight, levels["count_levels"])
    return _plus(sums, bias)


def _int8(counts: Tensor, weight: Tensor, bias: Tensor | None, **levels: int) -> Tensor:
    out: Tensor = _module("triton").run(counts, weight, bias, levels["count_levels"])[0]
    return out


def _fp8(counts: Tensor, weight: Tensor, bias: Tensor | None, **levels: int) -> Tensor:
    return _plus(_module("triton_fp8").product(counts, weight, **levels), bias)


def _fp8_refuses(counts: Tensor, weight: Tensor, **levels: int) -> str | None:
    return without_triton() or reference.fp8_refuses(counts.shape[1], **levels)


def _triton_refuses(*tensors: Tensor, **options: Any) -> str | None:
    return without_triton()


_product = Dispatch(
    "integer_linear",
    Path("triton", _int8, ("cuda",), (), _triton_refuses),
    Path("fp8", _fp8, ("cuda",), (), _fp8_refuses),
    Path("float32", _float32, ("cpu",)),
    Path("reference", _reference),
)


@torch.library.custom_op("synfire::integer_linear", mutates_args=())
def integer_linear_op(
    counts: Tensor, weight: Tensor, bias: Tensor | None, count_levels: int, weight_levels: int
) -> Tensor:
    """Schema: counts uint8 [M, K], weights int8 [N, K], bias int32 [N] to int32 [M, N]."""
    _check(counts, weight, bias, count_levels)
    levels = {"count_levels": count_levels, "weight_levels": weight_levels}
    out: Tensor = _product.choose(counts, weight, **levels).run(counts, weight, bias, **levels)
    return out


@integer_linear_op.register_fake
def _(counts, weight, bias, count_levels, weight_levels):  # type: ignore[no-untyped-def]
    return counts.new_empty((counts.shape[0], weight.shape[0]), dtype=torch.int32)


def _fused_with(
    product: Any, counts: Tensor, weight: Tensor, bias: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """A product, then the reference of the neuron."""
    sums = product(counts, weight, bias, count_levels=options["count_levels"])
    fired = (options[key] for key in ("threshold", "threshold_value", "v", "timesteps", "neuron"))
    out, last = fire_rows(sums, *fired)
    return out, last if options["keep_state"] else last.new_empty(0)


def _fused_reference(*tensors: Any, **options: Any) -> tuple[Tensor, Tensor]:
    return _fused_with(_reference, *tensors, **options)


def _fused_float32(*tensors: Any, **options: Any) -> tuple[Tensor, Tensor]:
    return _fused_with(_float32, *tensors, **options)


def _fused_int8(
    counts: Tensor, weight: Tensor, bias: Tensor | None, *, count_levels: int, **options: Any
) -> tuple[Tensor, Tensor]:
    stateless = options["timesteps"] == 1 and options["v"] is None and not options["keep_state"]
    design = design_for(counts, weight) if stateless and count_levels <= 127 else None
    result: tuple[Tensor, Tensor]
    if design is not None:
        keys = ("neuron", "threshold", "threshold_value", "bound")
        layer = {key: options[key] for key in keys}
        out = _module("triton_hopper").linear_fire(counts, weight, bias, design=design, **layer)
        result = out, out.new_empty(0, dtype=torch.int32)
    else:
        result = _module("triton").run(counts, weight, bias, count_levels, **options)
    return result


_fused = Dispatch(
    "integer_linear_fire",
    Path("triton", _fused_int8, ("cuda",), (), _triton_refuses),
    Path("float32", _fused_float32, ("cpu",)),
    Path("reference", _fused_reference),
)


@torch.library.custom_op("synfire::integer_linear_fire", mutates_args=())
def integer_linear_fire_op(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    threshold: Tensor | None,
    threshold_value: int,
    v: Tensor | None,
    timesteps: int,
    count_levels: int,
    bound: int,
    levels: int,
    rounding: str,
    reset: str,
    dv: int,
    keep_state: bool,
) -> tuple[Tensor, Tensor]:
    """Schema: counts uint8 [T*B, K] to counts uint8 [T*B, N] and the last membrane int32 [B, N] (or empty)."""
    _check(counts, weight, bias, count_levels)
    check_layer(
        counts.shape[0], weight.shape[0], bias, threshold, threshold_value, v, timesteps, levels
    )
    options = {
        "neuron": IntegerNeuron(levels, rounding, reset, dv),
        "threshold": threshold, "threshold_value": threshold_value, "bound": bound,
        "v": v, "timesteps": timesteps, "count_levels": count_levels, "keep_state": keep_state,
    }  # fmt: skip
    out, last = _fused.choose(counts, weight, **options).run(counts, weight, bias, **options)
    return out, last


@integer_linear_fire_op.register_fake
def _(counts, weight, bias, threshold, threshold_value, v, timesteps, *constants):  # type: ignore[no-untyped-def]
    rows, columns, keep_state = counts.shape[0], weight.shape[0], constants[-1]
    last = (rows // timesteps, columns) if keep_state else (0,)
    return counts.new_empty((rows, columns)), counts.new_empty(last, dtype=torch.int32)


def as_rows(x: Tensor, what: str) -> Tensor:
    """[..., N] as [M, N]."""
    if x.ndim < 1:
        raise InputError(f"{what} has a last axis of channels, got a scalar.")
    return x.reshape(x.shape[:-1].numel(), x.shape[-1])


def integer_linear(
    counts: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    count_levels: int = 127,
    weight_levels: int = LARGEST_WEIGHT,
) -> Tensor:
    """counts weight^T + bias in integers.

    Args:
        counts: uint8 [..., K].
        weight: int8 [N, K], row-major as a linear layer stores it.
        bias: int32 [N], added modulo 2**32.
        count_levels: the largest count; a declaration, checked on a CPU only. Up to 127 costs least.
        weight_levels: the largest absolute weight, likewise; only the fp8 path makes use of it.

    Returns:
        int32 [..., N], exact.

    Raises:
        InputError: dtypes or shapes do not fit, floats among them, since there is no gradient; sums may leave int32.

    Example:
        >>> counts = torch.tensor([[3, 0, 1]], dtype=torch.uint8)
        >>> integer_linear(counts, torch.tensor([[5, 7, -2]], dtype=torch.int8))
        tensor([[13]], dtype=torch.int32)
    """
    rows = as_rows(counts, "integer_linear")
    out: Tensor = integer_linear_op(rows, weight, bias, count_levels, weight_levels)
    return out.reshape(*counts.shape[:-1], weight.shape[0])


def integer_linear_fire(
    counts: Tensor,
    weight: Tensor,
    threshold: Tensor | int,
    neuron: IntegerNeuron,
    *,
    bias: Tensor | None = None,
    v: Tensor | None = None,
    timesteps: int = 1,
    count_levels: int = 127,
    bound: int = NO_BOUND,
    keep_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """A linear layer and its integer neuron: counts in, counts out, no sums in memory.

    Args:
        counts: uint8 [T*B, ..., K].
        weight: int8 [N, K].
        threshold: int32 [N], or one integer; a power of two is fastest.
        neuron: :class:`~synfire.kernels.integer_neuron.reference.IntegerNeuron`.
        bias: int32 [N].
        v: membrane before the first timestep, int32 [B, ..., N]; None is rest.
        timesteps: T.
        count_levels: the largest count of the input; a declaration, checked on a CPU only.
        bound: a promise about tensors (:func:`bound_of`): neither a bias nor (levels + 1) * threshold exceeds it. From
            2**19 down the division in the neuron needs no correction.
        keep_state: return the last membrane.

    Returns:
        counts uint8 [T*B, ..., N]; last membrane int32 [B, ..., N], or None.

    Raises:
        InputError, ConfigError: as :func:`integer_linear` and
            :func:`~synfire.kernels.integer_neuron.integer_fire` do.

    Example:
        >>> counts = torch.tensor([[3, 0, 1]], dtype=torch.uint8)
        >>> weight = torch.tensor([[5, 7, -2]], dtype=torch.int8)
        >>> integer_linear_fire(counts, weight, 4, IntegerNeuron(levels=4))[0]
        tensor([[3]], dtype=torch.uint8)
    """
    rows, columns = as_rows(counts, "integer_linear_fire"), weight.shape[0]
    state = (counts.shape[0] // max(timesteps, 1), *counts.shape[1:-1], columns)
    check_int32(v, "the initial membrane", state)
    tensor, value = split(threshold, columns)
    out, last = integer_linear_fire_op(
        rows, weight, bias, tensor, value, None if v is None else as_rows(v, "a membrane"),
        timesteps, count_levels, bound, neuron.levels, neuron.rounding, neuron.reset, neuron.dv,
        keep_state,
    )  # fmt: skip
    shaped = out.reshape(*counts.shape[:-1], columns)
    return shaped, last.reshape(state) if keep_state else None
