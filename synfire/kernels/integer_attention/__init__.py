"""Exact spike attention in linear order for deployed graphs: q (k^T v) of counts, in integers.

The float operator of training is ``synfire::spike_attention``; this one takes uint8 counts and returns the int32 sums
that its scale (folded into the next thresholds) would multiply. Nothing here has a gradient.

=============== ===================================================================
reference.py    two float64 products, exact below their bounds
triton.py       int8 products; the int32 memory in balanced digits of base 256
=============== ===================================================================
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.integer_attention import reference
from synfire.kernels.integer_neuron import NO_BOUND, without_triton

__all__ = ["integer_attention"]


def _check(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> None:
    if any(x.dtype != torch.uint8 for x in (q, k, v)):
        raise InputError(
            f"integer_attention takes counts uint8, got {q.dtype}, {k.dtype} and {v.dtype}; it has no gradient: train "
            "with spike_attention."
        )
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:-1] != k.shape[:-1]:
        raise InputError(
            "integer_attention takes q and k [..., N, d] and v [..., N, e], got "
            f"{list(q.shape)}, {list(k.shape)} and {list(v.shape)}."
        )
    if not 1 <= count_levels <= 255:
        raise ConfigError(
            f"count_levels is the largest count, 1..255 in a byte, got {count_levels}."
        )
    largest = reference.largest(q.shape[-2], q.shape[-1], count_levels)
    if largest > NO_BOUND:
        raise InputError(
            f"{q.shape[-2]} tokens with d={q.shape[-1]} and counts up to {count_levels} may reach {largest}, beyond "
            "int32: declare fewer count_levels, or split heads or tokens."
        )
    for x in (q, k, v):
        if x.device.type == "cpu" and x.numel() and int(x.max()) > count_levels:
            raise InputError(
                f"counts reach {int(x.max())}, declared were count_levels={count_levels}: declare the largest."
            )


def _triton(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    module = importlib.import_module("synfire.kernels.integer_attention.triton")
    out: Tensor = module.attention(q, k, v, count_levels)
    return out


def _triton_refuses(*tensors: Tensor, count_levels: int) -> str | None:
    if count_levels > 127:
        return f"tensor cores take counts up to 127, declared are {count_levels}"
    return without_triton()


def _dense(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    largest = reference.largest(q.shape[-2], q.shape[-1], count_levels)
    small = largest < reference.EXACT_IN_FLOAT32
    return reference.attention(q, k, v, torch.float32 if small else torch.float64)


def _reference(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    return reference.attention(q, k, v)


_dispatch = Dispatch(
    "integer_attention",
    Path("triton", _triton, ("cuda",), (), _triton_refuses),
    Path("dense", _dense, ("cpu",)),
    Path("reference", _reference),
)


@torch.library.custom_op("synfire::integer_attention", mutates_args=())
def integer_attention_op(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    """Schema: q, k uint8 [B, H, N, d], v uint8 [B, H, N, e] to int32 [B, H, N, e]."""
    _check(q, k, v, count_levels)
    options: dict[str, Any] = {"count_levels": count_levels}
    out: Tensor = _dispatch.choose(q, k, v, **options).run(q, k, v, **options)
    return out


@integer_attention_op.register_fake
def _(q, k, v, count_levels):  # type: ignore[no-untyped-def]
    return q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.int32)


def _four_axes(x: Tensor) -> Tensor:
    if x.ndim < 2:
        raise InputError(f"integer_attention takes [..., N, d], got shape {list(x.shape)}.")
    if x.ndim <= 4:
        return x[(None,) * (4 - x.ndim)]
    return x.flatten(0, -4)


def integer_attention(q: Tensor, k: Tensor, v: Tensor, count_levels: int) -> Tensor:
    """q (k^T v) over the last two axes, in integers.

    Args:
        q, k: counts uint8 [..., N, d].
        v: counts uint8 [..., N, e].
        count_levels: D, the largest count of the three; a declaration, checked on a CPU only.

    Returns:
        int32 [..., N, e], exact: at most d N D^3.

    Raises:
        InputError: dtypes or shapes do not fit, floats among them, since there is no gradient; or d N D^3 is beyond
            int32.

    Source: "Spike-driven Transformer V2/V3", attention with q (k^T v).

    Example:
        >>> counts = torch.tensor([[1, 2], [0, 3]], dtype=torch.uint8)
        >>> integer_attention(counts, counts, counts, 3)
        tensor([[ 5, 28],
                [ 6, 39]], dtype=torch.int32)
    """
    out: Tensor = integer_attention_op(_four_axes(q), _four_axes(k), _four_axes(v), count_levels)
    return out.reshape(*q.shape[:-1], v.shape[-1])
