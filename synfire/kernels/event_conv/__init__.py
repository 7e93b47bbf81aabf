"""A 2-d convolution that adds up the weights of the inputs that spike, for inference on the CPU.

y[b, n, i, j] = sum over c, u, v of x[b, c, i s + u - p, j s + v - p] w[n, c, u, v], where x holds counts (times a
scale). Any square or other kernel, stride and zero padding; all channels together or each by itself (depthwise).
"""

from __future__ import annotations

import torch
import torch.nn.functional as nn_functional
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import native
from synfire.kernels.dispatch import Dispatch
from synfire.kernels.event_conv import reference
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
    most_counts,
    paths,
    plan_of,
    refuse_other_values,
    values_of,
)

__all__ = ["EventWeight", "event_conv"]
Pair = tuple[int, int]


def _event(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
) -> Tensor | None:
    """The compiled sums over events, or None where x is denser than ``limit``."""
    pixels, form = as_spikes(x if packed else x.movedim(1, -1), packed)
    pixels = pixels.contiguous()
    batch, height, width, _ = pixels.shape
    w = weight.weight
    out_height, out_width = out_size((height, width), w, stride, padding)
    shape = (batch, out_height, out_width, w.shape[0])
    sums = torch.empty(shape, dtype=weight.out_dtype) if out is None else out.movedim(1, -1)
    (top, _), (left, _) = padding
    sizes = (batch, height, width, out_height, out_width, *stride, top, left)
    if weight.groups == 1:
        outcome, _ = plan_of(w, weight.largest).product(
            weight.slabs.data_ptr(), form, pixels.data_ptr(), scale, sizes, sums.data_ptr(), limit,
            threads,
        )  # fmt: skip
    else:
        outcome = _depthwise(pixels, form, weight, scale, sizes, sums, threads)
    if outcome == NOT_COUNTS:
        refuse_other_values(scale)
    if outcome != DONE:
        return None
    floats_as_they_are = weight.groups > 1 and x.is_floating_point()
    if scale != 1.0 and sums.dtype == torch.float32 and not floats_as_they_are:
        sums.mul_(scale)
    return sums.movedim(-1, 1) if out is None else out


def _depthwise(
    pixels: Tensor,
    form: int,
    weight: EventWeight,
    scale: float,
    sizes: tuple[int, ...],
    out: Tensor,
    threads: int,
) -> int:
    module = native._extension()[0]
    assert module is not None
    height, width = weight.weight.shape[2:]
    counts_only = module.event_depthwise(
        weight.slabs.data_ptr(), not weight.weight.is_floating_point(), height, width, form,
        pixels.data_ptr(), scale, weight.groups, sizes, out.data_ptr(), threads,
    )  # fmt: skip
    return DONE if counts_only else NOT_COUNTS


def _dense(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
) -> Tensor:
    """A dense convolution of torch, in a type in which integers are exact."""
    w = weight.weight
    integers = not w.is_floating_point()
    values = values_of(x, w.shape[1] * weight.groups, packed, scale, integers)
    values = values.movedim(-1, 1) if packed else values
    dtype = exact_dtype(weight, most_counts(x, packed, scale)) if integers else torch.float32
    (top, bottom), (left, right) = padding
    even = top == bottom and left == right
    values = values if even else nn_functional.pad(values, (left, right, top, bottom))
    values = values.to(dtype).contiguous(memory_format=torch.channels_last)
    sums = nn_functional.conv2d(
        values, w.to(dtype), None, stride, (top, left) if even else 0, groups=weight.groups
    )
    return sums.to(weight.out_dtype).contiguous(memory_format=torch.channels_last)


def _reference(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    limit: float,
    threads: int,
    out: Tensor | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
) -> Tensor:
    return reference.event_conv(x, weight, packed, scale, stride, padding)


DISPATCH = Dispatch("event_conv", *paths(_event, _dense, _reference))


def out_size(size: Pair, weight: Tensor, stride: Pair, padding: tuple[Pair, Pair]) -> Pair:
    """Height and width of the output."""
    rows, columns = (
        (length + low + high - kernel) // step + 1
        for length, kernel, step, (low, high) in zip(
            size, weight.shape[2:], stride, padding, strict=True
        )
    )
    return rows, columns


def _pairs(
    stride: int | Pair, padding: int | Pair | tuple[Pair, Pair]
) -> tuple[Pair, tuple[Pair, Pair]]:
    steps = (stride, stride) if isinstance(stride, int) else (int(stride[0]), int(stride[1]))
    both = (padding, padding) if isinstance(padding, int) else padding
    zeros = [(int(p), int(p)) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in both]
    if len(zeros) != 2 or min(steps) < 1 or min(min(pair) for pair in zeros) < 0:
        raise ConfigError(
            f"stride is at least 1 and padding at least 0, an int or one for height and width each, got {stride} and "
            f"{padding}."
        )
    return steps, (zeros[0], zeros[1])


def _run(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    stride: Pair,
    padding: tuple[Pair, Pair],
    limit: float | None,
    threads: int | None,
    out: Tensor | None = None,
) -> Tensor:
    check_range(x, weight, packed, scale)
    limit = float("inf") if weight.groups > 1 and limit is None else limit
    return choose_and_run(
        DISPATCH, x, weight, packed, scale, limit, threads, out, stride=stride, padding=padding
    )


@torch.library.custom_op("synfire::event_conv", mutates_args=())
def event_conv_op(
    x: Tensor,
    weight: Tensor,
    slabs: Tensor,
    groups: int,
    largest: int,
    reach: float,
    packed: bool,
    scale: float,
    stride: list[int],
    padding: list[int],
    density_limit: float | None,
    threads: int | None,
) -> Tensor:
    """Schema of :func:`event_conv`, with an EventWeight in its parts; padding is top, bottom, left, right."""
    parts = EventWeight(weight, slabs, groups, largest, reach)
    top, bottom, left, right = padding
    out = _run(
        x, parts, packed, scale, (stride[0], stride[1]), ((top, bottom), (left, right)),
        density_limit, threads,
    )  # fmt: skip
    return out.contiguous(memory_format=torch.channels_last)


@event_conv_op.register_fake
def _(x, weight, slabs, groups, largest, reach, packed, scale, stride, padding, limit, threads):  # type: ignore[no-untyped-def]
    size = x.shape[1:3] if packed else x.shape[2:]
    top, bottom, left, right = padding
    rows, columns = (
        (length + low + high - kernel) // step + 1
        for length, kernel, step, low, high in zip(
            size, weight.shape[2:], stride, (top, left), (bottom, right), strict=True
        )
    )
    dtype = torch.float32 if weight.is_floating_point() else torch.int32
    shape = (x.shape[0], weight.shape[0], rows, columns)
    return x.new_empty(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def event_conv(
    x: Tensor,
    weight: EventWeight,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | tuple[Pair, Pair] = 0,
    packed: bool = False,
    scale: float = 1.0,
    density_limit: float | None = None,
    threads: int | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The convolution (cross-correlation) of spikes or counts with a weight.

    Args:
        x: [B, C, H, W] on the CPU, any memory format, channels last is the fast one: counts of 0..255 as bool or
            uint8, or counts times ``scale`` in floating point; with ``packed`` bits of
            :func:`synfire.kernels.packing.pack_bits`, [B, H, W, ceil(C / 8)].
        weight: ``EventWeight.pack`` of [N, C, height, width], or of [C, 1, height, width] with ``groups=C``.
        stride: one, or one for height and width each.
        padding: zeros around the input: one number, one for height and width each, or ((top, bottom), (left, right)).
        packed, scale, density_limit, threads, out: as in :func:`synfire.kernels.event_linear.event_linear`; a depthwise
            convolution multiplies whole pixels at any density and never goes dense by itself.

    Returns:
        [B, N, H', W'] in channels-last memory: float32 for float32 weights, summed in the order height, width,
        channel of the kernel; for int8 and int16 weights the exact int32 sum of *counts* times weights.

    Raises:
        InputError: a wrong dtype, shape or device; values that are no counts; sums that might not fit int32; a wish
            for a gradient.
        ConfigError: a stride or padding that cannot be.

    Example:
        >>> weight = EventWeight.pack(torch.ones(1, 2, 3, 3))
        >>> event_conv(torch.ones(1, 2, 4, 4, dtype=torch.uint8), weight, padding=1)[0, 0, 0]
        tensor([ 8., 12., 12.,  8.])
    """
    check_input(x, "event_conv", packed)
    steps, zeros = _pairs(stride, padding)
    w = weight.weight
    channels = w.shape[1] * weight.groups
    expected = -(-channels // 8) if packed else channels
    if w.ndim != 4 or x.ndim != 4 or x.shape[-1 if packed else 1] != expected:
        where = f"[B, H, W, {expected}]" if packed else f"[B, {expected}, H, W]"
        raise InputError(
            f"event_conv with a weight {list(w.shape)} takes inputs {where}, got {list(x.shape)}"
            f"{'' if w.ndim == 4 else ': a matrix goes to event_linear'}."
        )
    size = x.shape[1:3] if packed else x.shape[2:]
    out_shape = (x.shape[0], w.shape[0], *out_size((size[0], size[1]), w, steps, zeros))
    if min(out_shape[2:]) < 1:
        raise InputError(
            f"a kernel of {w.shape[2]} x {w.shape[3]} does not fit an image of {size[0]} x {size[1]} with padding "
            f"{padding}."
        )
    if out is not None:
        check_out(out, out_shape, weight)
    if type(x) is Tensor and not torch.compiler.is_compiling():  # an operator's call costs 20 us
        return _run(x, weight, packed, scale, steps, zeros, density_limit, threads, out)
    result: Tensor = event_conv_op(
        x, w, weight.slabs, weight.groups, weight.largest, weight.reach, packed, scale,
        list(steps), [*zeros[0], *zeros[1]], density_limit, threads,
    )  # fmt: skip
    return result if out is None else out.copy_(result)
