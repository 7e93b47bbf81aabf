"""Bits and 4-bit counts: the one packed layout of Synfire.

Bits lie little-endian along the last axis (element j of a row is bit j % 8 of byte j // 8), counts of 0..15 two in a
byte, low half first. Each row is padded with zero bits to whole bytes, so [..., n] becomes uint8 [..., ceil(n / 8)] or
[..., ceil(n / 2)]. Nothing here has a gradient.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.packing import native, reference

__all__ = ["density", "pack_bits", "pack_counts", "popcount", "unpack_bits", "unpack_counts"]


def _triton(name: str) -> Callable[..., Any]:
    """A function of the Triton path; Triton is optional and imported at the first call."""

    def run(*arguments: Any) -> Any:
        return getattr(importlib.import_module("synfire.kernels.packing.triton"), name)(*arguments)

    return run


def _triton_refuses(*tensors: Tensor, **options: Any) -> str | None:
    return None if find_spec("triton") else 'Triton is absent: pip install "synfire[cuda]"'


def _dispatch(name: str) -> Dispatch:
    known = tuple(native.ELEMENTS)
    return Dispatch(
        name,
        Path("triton", _triton(name), ("cuda",), known, _triton_refuses),
        Path("native", getattr(native, name), ("cpu",), known, native.refuses),
        Path("reference", getattr(reference, name)),
    )


_pack_bits = _dispatch("pack_bits")
_unpack_bits = _dispatch("unpack_bits")
_pack_counts = _dispatch("pack_counts")
_unpack_counts = _dispatch("unpack_counts")
_popcount = _dispatch("popcount")
_count_nonzero = _dispatch("count_nonzero")


def _check_rows(x: Tensor, what: str) -> None:
    if x.ndim < 1:
        raise InputError(
            f"{what} works along the last axis, got a tensor without axes: unsqueeze it."
        )


def _check_packed(packed: Tensor, n: int, in_a_byte: int, what: str) -> None:
    _check_rows(packed, what)
    if packed.dtype != torch.uint8:
        raise InputError(f"{what} takes packed bytes, uint8, got {packed.dtype}.")
    if n < 0 or packed.shape[-1] != -(-n // in_a_byte):
        raise InputError(
            f"{what} expects {-(-n // in_a_byte)} bytes in a row for n={n} elements, got {packed.shape[-1]}: n is the "
            "length of the last axis before packing."
        )


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ConfigError(f"scale is what a count of one is worth, a positive number, got {scale}.")


def _refuse_gradient(x: Tensor, what: str) -> None:
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{what} has no gradient: pass x.detach(), or call it under torch.no_grad()."
        )


@torch.library.custom_op("synfire::pack_bits", mutates_args=())
def pack_bits_op(x: Tensor) -> Tensor:
    """Schema: [..., n] to uint8 [..., ceil(n / 8)]."""
    _check_rows(x, "pack_bits")
    packed: Tensor = _pack_bits.choose(x).run(x)
    return packed


@pack_bits_op.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return x.new_empty((*x.shape[:-1], (x.shape[-1] + 7) // 8), dtype=torch.uint8)


@torch.library.custom_op("synfire::pack_counts", mutates_args=())
def pack_counts_op(x: Tensor, scale: float, check: bool) -> Tensor:
    """Schema: [..., n] to uint8 [..., ceil(n / 2)]."""
    _check_rows(x, "pack_counts")
    _check_scale(scale)
    packed: Tensor
    packed, inside = _pack_counts.choose(x).run(x, scale)
    if check and not inside:
        low, high = x.float().aminmax()
        raise InputError(
            f"pack_counts holds counts of 0..15, got x / scale from {float(low) / scale:g} to {float(high) / scale:g}: "
            "give the scale that a count of one has, or keep the tensor unpacked."
        )
    return packed


@pack_counts_op.register_fake
def _(x, scale, check):  # type: ignore[no-untyped-def]
    return x.new_empty((*x.shape[:-1], (x.shape[-1] + 1) // 2), dtype=torch.uint8)


@torch.library.custom_op("synfire::unpack_bits", mutates_args=())
def unpack_bits_op(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    """Schema: uint8 [..., ceil(n / 8)] to dtype [..., n]."""
    _check_packed(packed, n, 8, "unpack_bits")
    out: Tensor = _unpack_bits.choose(packed).run(packed, n, dtype, scale)
    return out


@torch.library.custom_op("synfire::unpack_counts", mutates_args=())
def unpack_counts_op(packed: Tensor, n: int, dtype: torch.dtype, scale: float) -> Tensor:
    """Schema: uint8 [..., ceil(n / 2)] to dtype [..., n]."""
    _check_packed(packed, n, 2, "unpack_counts")
    out: Tensor = _unpack_counts.choose(packed).run(packed, n, dtype, scale)
    return out


@unpack_bits_op.register_fake
@unpack_counts_op.register_fake
def _(packed, n, dtype, scale):  # type: ignore[no-untyped-def]
    return packed.new_empty((*packed.shape[:-1], n), dtype=dtype)


@torch.library.custom_op("synfire::popcount", mutates_args=())
def popcount_op(packed: Tensor) -> Tensor:
    """Schema: uint8 [...] to int64 []."""
    if packed.dtype != torch.uint8:
        raise InputError(f"popcount takes packed bytes, uint8, got {packed.dtype}.")
    count: Tensor = _popcount.choose(packed).run(packed)
    return count


@torch.library.custom_op("synfire::count_nonzero", mutates_args=())
def count_nonzero_op(x: Tensor) -> Tensor:
    """Schema: [...] to int64 []."""
    count: Tensor = _count_nonzero.choose(x).run(x)
    return count


@popcount_op.register_fake
@count_nonzero_op.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return x.new_empty((), dtype=torch.int64)


def pack_bits(x: Tensor) -> Tensor:
    """One bit an element, set where it is not zero.

    Args:
        x: [..., n] of any layout; bool, uint8, float16, bfloat16 and float32 have fast paths.

    Returns:
        uint8 [..., ceil(n / 8)]; element j of a row is bit j % 8 of byte j // 8.

    Raises:
        InputError: x has no axis, or wants a gradient.

    Example:
        >>> pack_bits(torch.tensor([1.0, 0.0, 0.0, 2.0]))
        tensor([9], dtype=torch.uint8)
    """
    _refuse_gradient(x, "pack_bits")
    packed: Tensor = pack_bits_op(x)
    return packed


def unpack_bits(
    packed: Tensor, n: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Tensor:
    """The inverse of :func:`pack_bits`: bits * scale, [..., n].

    Equal bit for bit to ``(bits.to(float32) * scale).to(dtype)``.

    Raises:
        InputError: ``packed`` is not uint8, or its rows do not have ceil(n / 8) bytes.

    Example:
        >>> unpack_bits(torch.tensor([9], dtype=torch.uint8), 4, scale=0.5)
        tensor([0.5000, 0.0000, 0.0000, 0.5000])
    """
    out: Tensor = unpack_bits_op(packed, n, dtype, scale)
    return out


def pack_counts(x: Tensor, scale: float = 1.0, check: bool = True) -> Tensor:
    """Four bits an element: round(x / scale), ties to even.

    Args:
        x: [..., n] of any layout, counts times ``scale``; uint8, float16, bfloat16 and float32 have fast paths.
        scale: what a count of one is worth.
        check: raise where a count lies outside of 0..15; tensors on a GPU are never checked. Unchecked counts are
            clipped, and NaN becomes any count.

    Returns:
        uint8 [..., ceil(n / 2)]; of two neighbours the first lies in the low half.

    Raises:
        InputError: x has no axis, wants a gradient, or holds counts outside of 0..15.
        ConfigError: ``scale`` is not positive.

    Example:
        >>> pack_counts(torch.tensor([0.5, 1.0, 0.25]), scale=0.25)
        tensor([66,  1], dtype=torch.uint8)
    """
    _refuse_gradient(x, "pack_counts")
    packed: Tensor = pack_counts_op(x, scale, check)
    return packed


def unpack_counts(
    packed: Tensor, n: int, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Tensor:
    """The inverse of :func:`pack_counts`: counts * scale, [..., n].

    Equal bit for bit to ``(counts.to(float32) * scale).to(dtype)``.

    Raises:
        InputError: ``packed`` is not uint8, or its rows do not have ceil(n / 2) bytes.

    Example:
        >>> unpack_counts(torch.tensor([66, 1], dtype=torch.uint8), 3, scale=0.25)
        tensor([0.5000, 1.0000, 0.2500])
    """
    out: Tensor = unpack_counts_op(packed, n, dtype, scale)
    return out


def popcount(packed: Tensor) -> Tensor:
    """The number of set bits of a uint8 tensor, int64 [].

    Example:
        >>> int(popcount(pack_bits(torch.ones(3, 100))))
        300
    """
    count: Tensor = popcount_op(packed)
    return count


def density(x: Tensor) -> float:
    """The share of elements that are not zero, a Python float (on a GPU it waits for the tensor); 0 for no elements.

    Example:
        >>> density(torch.tensor([0.0, 1.0, 0.0, 3.0]))
        0.5
    """
    return int(count_nonzero_op(x.detach())) / x.numel() if x.numel() else 0.0
