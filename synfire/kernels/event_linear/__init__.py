"""A matrix product that adds up the weights of the inputs that spike, for inference on the CPU.

y[m, n] = sum over k of x[m, k] w[n, k], where x holds counts (times a scale): each event adds a row of weights. With
few events this beats the dense product; above a density it does not, and the dense product runs instead.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nn_functional
from torch import Tensor

from synfire.core.errors import InputError
from synfire.kernels.dispatch import Dispatch
from synfire.kernels.event_linear import reference
from synfire.kernels.event_weight import (
    DONE,
    NOT_COUNTS,
    EventWeight,
    as_spikes,
    check_input,
    check_out,
    check_range,
    choose_and_run,
    exact_dtype,
    fast_products_of_bytes,
    most_counts,
    paths,
    plan_of,
    refuse_other_values,
    values_of,
)

__all__ = ["EventWeight", "event_linear"]


def _event(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None = None,
) -> Tensor | None:
    """The compiled sums over events of x [M, K], or None where x is denser than ``limit``."""
    spikes, form = as_spikes(x, packed)
    rows = spikes.shape[0]
    if out is None:
        out = torch.empty((rows, weight.weight.shape[0]), dtype=weight.out_dtype)
    outcome, _ = plan_of(weight.weight, weight.largest).product(
        weight.slabs.data_ptr(), form, spikes.data_ptr(), scale, (rows, 1, 1, 1, 1, 1, 1, 0, 0),
        out.data_ptr(), limit, threads,
    )  # fmt: skip
    if outcome == NOT_COUNTS:
        refuse_other_values(scale)
    if outcome != DONE:
        return None
    return out if scale == 1.0 or out.dtype != torch.float32 else out.mul_(scale)


def _dense(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None = None,
) -> Tensor:
    """A dense product of torch, exact for integers."""
    w = weight.weight
    if w.is_floating_point():
        return nn_functional.linear(values_of(x, w.shape[1], packed, scale, False), w)
    counts = values_of(x, w.shape[1], packed, scale, True)
    most = most_counts(x, packed, scale)
    if w.dtype == torch.int8 and most < 128 and fast_products_of_bytes() and x.numel():
        return torch._int_mm(counts.to(torch.int8), w.t())
    dtype = exact_dtype(weight, most)
    return nn_functional.linear(counts.to(dtype), w.to(dtype)).to(torch.int32)


def _reference(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None = None,
) -> Tensor:
    return reference.event_linear(x, weight, packed, scale)


DISPATCH = Dispatch("event_linear", *paths(_event, _dense, _reference))


def _run(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float | None,
    threads: int | None,
    out: Tensor | None = None,
) -> Tensor:
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).contiguous()
    check_range(rows, weight, packed, scale)
    shape = (*x.shape[:-1], weight.weight.shape[0])
    if out is not None:
        check_out(out, shape, weight)
        out = out.view(rows.shape[0], shape[-1])
    return choose_and_run(DISPATCH, rows, weight, packed, scale, limit, threads, out).view(shape)


@torch.library.custom_op("synfire::event_linear", mutates_args=())
def event_linear_op(
    x: Tensor,
    weight: Tensor,
    slabs: Tensor,
    largest: int,
    reach: float,
    packed: bool,
    scale: float,
    density_limit: float | None,
    threads: int | None,
) -> Tensor:
    """Schema of :func:`event_linear`, with an EventWeight in its parts."""
    return _run(
        x, EventWeight(weight, slabs, 1, largest, reach), packed, scale, density_limit, threads
    )


@event_linear_op.register_fake
def _(x, weight, slabs, largest, reach, packed, scale, density_limit, threads):  # type: ignore[no-untyped-def]
    dtype = torch.float32 if weight.is_floating_point() else torch.int32
    return x.new_empty((*x.shape[:-1], weight.shape[0]), dtype=dtype)


def event_linear(
    x: Tensor,
    weight: EventWeight,
    *,
    packed: bool = False,
    scale: float = 1.0,
    density_limit: float | None = None,
    threads: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The product of spikes or counts with a weight: y[..., n] = sum over k of x[..., k] w[n, k].

    Args:
        x: [..., K] on the CPU: counts of 0..255 as bool or uint8, or counts times ``scale`` in floating point; with
            ``packed`` bits of :func:`synfire.kernels.packing.pack_bits`, [..., ceil(K / 8)].
        weight: ``EventWeight.pack`` of [N, K].
        packed: whether ``x`` holds packed bits.
        scale: what a count of one is worth.
        density_limit: events an element (the sum of counts over the number of elements) above which the dense product
            runs; None: what was measured for the type of the weight. ``synfire.kernels.use("event")``, ``"dense"`` and
            ``"reference"`` force a path; ``explain("event_linear", x, weight=weight)`` tells the density.
        threads: at most; None: torch's number. Results do not depend on it.
        out: the result of an earlier call, to be written again: fresh memory costs as much as sums of few events.

    Returns:
        [..., N]: float32 for float32 weights, summed in the order of k; for int8 and int16 weights the exact int32 sum
        of *counts* times weights, without ``scale``.

    Raises:
        InputError: a wrong dtype, shape or device; values that are no counts; sums that might not fit int32; a wish
            for a gradient.

    Example:
        >>> weight = EventWeight.pack(torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int8))
        >>> event_linear(torch.tensor([[1, 0, 2]], dtype=torch.uint8), weight)
        tensor([[ 7, 16]], dtype=torch.int32)
    """
    check_input(x, "event_linear", packed)
    columns = weight.weight.shape[1]
    expected = -(-columns // 8) if packed else columns
    if weight.weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != expected:
        raise InputError(
            f"event_linear with a weight {list(weight.weight.shape)} takes inputs [..., {expected}], got "
            f"{list(x.shape)}{'' if weight.weight.ndim == 2 else ': a convolution goes to event_conv'}."
        )
    if type(x) is Tensor and not torch.compiler.is_compiling():  # an operator's call costs 20 us
        return _run(x, weight, packed, scale, density_limit, threads, out)
    result: Tensor = event_linear_op(
        x, weight.weight, weight.slabs, weight.largest, weight.reach, packed, scale, density_limit,
        threads,
    )  # fmt: skip
    return result if out is None else out.copy_(result)
