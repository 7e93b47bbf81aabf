"""Weights laid out for event-driven products, and what both products share: input forms, limits, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import native
from synfire.kernels.dispatch import Dispatch, Path
from synfire.kernels.packing import unpack_bits

KINDS = {torch.float32: 0, torch.int16: 1, torch.int8: 2}
Run = Callable[..., Tensor | None]
DONE, TOO_DENSE, NOT_COUNTS = range(3)
_BITS, _BYTES, _FLOATS = range(3)
_INPUTS = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
_EXACT = {torch.float32: 2.0**24, torch.float64: 2.0**53}


@dataclass(frozen=True, eq=False)
class EventWeight:
    """A weight for :func:`~synfire.kernels.event_linear.event_linear` or ``event_conv``; made by :meth:`pack`.

    Attributes:
        weight: [N, K], or [N, C / groups, height, width]; float32, int16 or int8, contiguous.
        slabs: uint8, the same weights in the order in which events read them; empty without compiled kernels.
        groups: 1, or the number of channels (depthwise).
        largest: the largest magnitude of an integer weight (0 for float32).
        reach: the largest sum of magnitudes of one output's weights: bounds its sums.
    """

    weight: Tensor
    slabs: Tensor
    groups: int
    largest: int
    reach: float

    @classmethod
    def pack(cls, weight: Tensor, groups: int = 1) -> EventWeight:
        """Lay a weight out; once a net, not once a call.

        Args:
            weight: [N, K] of a linear layer or [N, C / groups, height, width] of a convolution, on the CPU.
            groups: 1, or C with one output a channel (depthwise).

        Raises:
            InputError: another dtype, shape or device.
            ConfigError: ``groups`` is neither of the two.

        Example:
            >>> EventWeight.pack(torch.ones(3, 5, dtype=torch.int8)).weight.shape
            torch.Size([3, 5])
        """
        _check_weight(weight, groups)
        weight = weight.detach().contiguous()
        rows = weight.flatten(1).to(torch.float64).abs()
        largest = int(rows.max()) if rows.numel() and not weight.is_floating_point() else 0
        reach = float(rows.sum(1).max()) if rows.numel() else 0.0
        if native.absence():
            slabs = weight.new_empty(0, dtype=torch.uint8)
        elif groups > 1:
            wide = weight if weight.is_floating_point() else weight.to(torch.int32)
            slabs = wide.flatten(1).t().contiguous().view(torch.uint8)
        else:
            plan = plan_of(weight, largest)
            slabs = torch.empty(plan.bytes, dtype=torch.uint8)
            plan.pack(weight.data_ptr(), slabs.data_ptr())
        return cls(weight, slabs, groups, largest, reach)

    @property
    def out_dtype(self) -> torch.dtype:
        """Of the product: float32, or int32 of integer weights."""
        return torch.float32 if self.weight.is_floating_point() else torch.int32


def _check_weight(weight: Tensor, groups: int) -> None:
    if weight.dtype not in KINDS or weight.device.type != "cpu" or weight.ndim not in (2, 4):
        raise InputError(
            "an event weight is a CPU tensor [N, K] or [N, C / groups, height, width] of float32, int16 or int8, got "
            f"{str(weight.dtype).removeprefix('torch.')} {list(weight.shape)} on {weight.device.type}."
        )
    depthwise = weight.ndim == 4 and weight.shape[1] == 1 and groups == weight.shape[0]
    if groups != 1 and not depthwise:
        raise ConfigError(
            f"groups is 1, or the number of channels with one output each, got {groups} for a weight "
            f"{list(weight.shape)}: take the groups apart, or use the dense convolution."
        )


@lru_cache(maxsize=1024)
def _plan(kind: int, outputs: int, channels: int, height: int, width: int, largest: int) -> Any:
    module = native._extension()[0]
    assert module is not None
    return module.EventPlan(kind, outputs, channels, height, width, largest)


def plan_of(weight: Tensor, largest: int) -> Any:
    """The compiled plan of a weight's layout; plans are kept."""
    height, width = weight.shape[2:] if weight.ndim == 4 else (1, 1)
    return _plan(KINDS[weight.dtype], weight.shape[0], weight.shape[1], height, width, largest)


@cache
def fast_products_of_bytes() -> bool:
    """Whether the processor multiplies bytes into 32-bit sums: dense int8 products are fast then."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(probe and probe())


def density_limit(weight_dtype: torch.dtype) -> float:
    """Events an input element, up to which an event-driven product is faster than the best dense one.

    Measured on one thread of an AVX-512 processor with products of bytes, and held for AVX2, where the dense product
    loses as much as sums of events do. Integers without fast products of bytes stand against a float32 product.
    """
    if weight_dtype == torch.int8:
        return 0.45 if fast_products_of_bytes() else 1.5
    return 0.4 if weight_dtype == torch.float32 else 0.7


def as_spikes(x: Tensor, packed: bool) -> tuple[Tensor, int]:
    """``x`` in a form that compiled kernels read, not yet contiguous, and that form."""
    if packed:
        return x, _BITS
    if x.dtype == torch.uint8:
        return x, _BYTES
    if x.dtype == torch.bool:
        return x.view(torch.uint8), _BYTES
    return (x if x.dtype == torch.float32 else x.float()), _FLOATS


def values_of(x: Tensor, n: int, packed: bool, scale: float, integers: bool) -> Tensor:
    """What the product multiplies, float32: counts for integer weights, else counts times ``scale``."""
    if packed:
        return unpack_bits(x, n, torch.float32, 1.0 if integers else scale)
    if not x.is_floating_point():
        counts = x.to(torch.float32)
        return counts if integers or scale == 1.0 else counts * scale
    return (x.to(torch.float32) / scale).round() if integers else x.to(torch.float32)


def exact_dtype(weight: EventWeight, most: float) -> torch.dtype:
    """The floating-point type in which a product of integers is exact, and fastest."""
    bound = weight.reach * most
    return torch.float32 if bound < _EXACT[torch.float32] else torch.float64


def check_input(x: Tensor, what: str, packed: bool) -> None:
    """Device and dtype, and that nobody asks for a gradient."""
    if x.device.type != "cpu":
        raise InputError(
            f"{what} runs on the CPU, the input is on {x.device.type}: use the integer products there."
        )
    if x.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{what} has no gradient: call it under torch.no_grad(), or use the layer that trains."
        )
    if x.dtype not in _INPUTS or (packed and x.dtype != torch.uint8):
        wanted = "packed bits, uint8" if packed else "counts: bool, uint8 or floating point"
        raise InputError(f"{what} takes {wanted}, got {str(x.dtype).removeprefix('torch.')}.")


def most_counts(x: Tensor, packed: bool, scale: float) -> int:
    """The largest count that ``x`` can hold: known for bits and booleans, else measured."""
    if packed or x.dtype == torch.bool or x.numel() == 0:
        return 1
    return int(torch.round(x.max() / scale)) if x.is_floating_point() else int(x.max())


def refuse_other_values(scale: float) -> None:
    raise InputError(
        f"an event-driven product takes counts of 0..255 times scale={scale:g}, and the input holds other values: "
        "give the scale of one count, or use the dense layer."
    )


def check_range(x: Tensor, weight: EventWeight, packed: bool, scale: float) -> None:
    """Refuse counts with which a sum of integers might not fit 32 bits; looks at them only where that is possible."""
    if weight.weight.is_floating_point() or weight.reach * 255 < 2**31:
        return
    most = most_counts(x, packed, scale)
    if weight.reach * most >= 2**31:
        raise InputError(
            f"sums of counts up to {most} with these weights can reach {weight.reach * most:.0f}, beyond int32: use "
            "smaller weights or float32."
        )


def check_out(out: Tensor, shape: tuple[int, ...], weight: EventWeight) -> None:
    """Refuse to write a result where it does not fit."""
    order = (
        torch.channels_last
        if len(shape) == 4 and weight.weight.ndim == 4
        else torch.contiguous_format
    )
    fits = tuple(out.shape) == shape and out.dtype == weight.out_dtype
    if not fits or not out.is_contiguous(memory_format=order):
        raise InputError(
            f"out must be what an earlier call returned: {weight.out_dtype} {list(shape)}, "
            f"{'channels last' if order == torch.channels_last else 'contiguous'}; got {out.dtype} {list(out.shape)}."
        )


def paths(event: Run, dense: Run, plain: Run) -> tuple[Path, Path, Path]:
    """The three implementations of an event-driven product, and when the first one stands back."""
    return (
        Path("event", event, refuses=lambda *_, **__: native.absence(), passes=_too_dense),
        Path("dense", dense),
        Path("reference", plain),
    )


def choose_and_run(
    dispatch: Dispatch,
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float | None,
    threads: int | None,
    out: Tensor | None,
    **geometry: Any,
) -> Tensor:
    """Run the path that is forced, or else by density; the event path measures it itself before it starts."""
    event, dense, _ = dispatch.paths
    threads = threads or torch.get_num_threads()
    run, bound = event.run, density_limit(weight.weight.dtype) if limit is None else limit
    if dispatch.forced() or not native.available():
        options = {"packed": packed, "scale": scale, "density_limit": limit}
        run, bound = dispatch.choose(x, weight=weight, **options).run, float("inf")
    found = run(x, weight, packed, scale, bound, threads, out, **geometry)
    if found is None:
        found = dense.run(x, weight, packed, scale, bound, threads, out, **geometry)
    result: Tensor = found if out is None or found is out else out.copy_(found)
    return result


def _too_dense(
    x: Tensor,
    *,
    weight: EventWeight,
    packed: bool = False,
    scale: float = 1.0,
    density_limit: float | None = None,
) -> str | None:
    limit = _limit_of(weight) if density_limit is None else density_limit
    density = measured_density(x, weight, packed, scale)
    return None if density <= limit else f"{density:.3f} events an element, limit {limit:g}"


def _limit_of(weight: EventWeight) -> float:
    return density_limit(weight.weight.dtype)


def measured_density(x: Tensor, weight: EventWeight, packed: bool, scale: float) -> float:
    """Events an element, estimated from some rows where there are many.

    ``x`` is [..., K] for a matrix, [B, C, H, W] (packed: [B, H, W, ceil(C / 8)]) for a convolution.
    """
    if weight.weight.ndim == 4 and not packed:
        x = x.movedim(1, -1)
    spikes, form = as_spikes(x.contiguous(), packed)
    channels = weight.weight.shape[1] if weight.groups == 1 else weight.groups
    pixels = math.prod(spikes.shape[:-1])
    module = native._extension()[0]
    assert module is not None
    outcome, density = module.event_density(form, spikes.data_ptr(), scale, pixels, channels)
    if outcome == NOT_COUNTS:
        refuse_other_values(scale)
    return float(density)
