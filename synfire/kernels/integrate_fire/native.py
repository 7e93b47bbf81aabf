"""The compiled CPU path: the contract of :mod:`synfire.kernels.integrate_fire.call` in C++.

float32, float16 and bfloat16 inputs with float32 membranes. Results equal those of plain.py bit for bit; only slopes of
the sigmoid and the Gaussian, which need ``exp``, and sums over channels may differ in the last places. All results
are the same for any number of threads (torch's number; small inputs use one).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synfire.core.errors import InputError
from synfire.kernels.integrate_fire.call import Affine, Channelwise, Epilogue, Fired, Gradients
from synfire.kernels.integrate_fire.plain import norm_affine as norm_affine
from synfire.kernels.integrate_fire.plain import norm_epilogue as norm_epilogue
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.native import extension, in_large_pages

if TYPE_CHECKING:
    from synfire.kernels.native import _native

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_NONE = (0, 1, 1)


@lru_cache(maxsize=256)
def compiled(dynamics: Dynamics) -> _native.Dynamics:
    """The constants as the extension holds them."""
    surrogate = dynamics.surrogate
    made: _native.Dynamics = extension().Dynamics(
        dynamics.levels,
        dynamics.rounding,
        dynamics.reset,
        dynamics.reset_value,
        dynamics.detach_reset,
        dynamics.input_gain,
        dynamics.decay_input,
        dynamics.current_decay,
        surrogate.name,
        surrogate.width,
        surrogate.scale,
        dynamics.inclusive,
        dynamics.unit,
    )
    return made


class _Addresses:
    """Addresses of checked buffers; holds on to copies that had to be made, for as long as it lives."""

    def __init__(self) -> None:
        self._held: list[Tensor] = []

    def of(self, buffer: Tensor | None, size: int, name: str, *dtypes: torch.dtype) -> int:
        """The address of a buffer of ``size`` values, 0 for None."""
        if buffer is None:
            return 0
        known = dtypes or (torch.float32,)
        if buffer.numel() != size or buffer.dtype not in known or buffer.device.type != "cpu":
            expected = " or ".join(str(dtype) for dtype in known)
            raise InputError(
                f"{name} must hold {size} values of {expected} in main memory, "
                f"got {buffer.numel()} of {buffer.dtype} on {buffer.device}."
            )
        if not buffer.is_contiguous():
            buffer = buffer.contiguous()
            self._held.append(buffer)
        return buffer.data_ptr()

    def over(self, constant: Channelwise | None, elements: int, name: str) -> tuple[int, int, int]:
        """A channelwise constant as (address, channels, inner)."""
        if constant is None:
            return _NONE
        channels = constant.values.shape[0]
        if channels != 1 and elements % (channels * constant.inner) != 0:
            raise InputError(
                f"{name} has {channels} channels of {constant.inner} neighbours each, "
                f"which do not fill a state of {elements} elements."
            )
        return self.of(constant.values, channels, name), channels, constant.inner


def _row_of_bits(elements: int) -> int:
    return (elements + 7) // 8


def forward(
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine | None = None,
    output_scale: float = 1.0,
    form: str = "float",
    record: bool = False,
    last_state: bool = True,
    out: Tensor | None = None,
) -> Fired:
    """x [T, N] to :class:`Fired`. ``out`` is written where given."""
    steps, elements = x.shape
    row = _row_of_bits(elements) if form == "bits" else elements
    dtype = x.dtype if form == "float" else torch.uint8
    target = in_large_pages(x.new_empty((steps, row), dtype=dtype)) if out is None else out
    if not target.is_contiguous():
        raise InputError("out must be contiguous: the counts are written in place.")
    state = (elements,)
    v_last = x.new_empty(state, dtype=torch.float32) if last_state else None
    i_last = None if v_last is None or i is None else torch.empty_like(v_last)
    planes = None
    if record:
        count = 2 if dynamics.reset == "hard" else 1
        planes = x.new_empty((count, steps, _row_of_bits(elements)), dtype=torch.uint8)
    buffers = _Addresses()
    extension().integrate_fire_forward(
        compiled(dynamics),
        steps,
        elements,
        _name(x),
        buffers.of(x, steps * elements, "x", *DTYPES),
        buffers.of(v, elements, "the initial membrane"),
        buffers.of(i, elements, "the initial current"),
        buffers.over(decay, elements, "decay"),
        buffers.over(threshold, elements, "threshold"),
        *_affine(buffers, affine, elements),
        output_scale,
        form,
        buffers.of(target, steps * row, "out", dtype),
        0 if planes is None else planes.data_ptr(),
        0 if v_last is None else v_last.data_ptr(),
        0 if i_last is None else i_last.data_ptr(),
        torch.get_num_threads(),
    )
    return Fired(target, v_last, i_last, planes)


def _name(x: Tensor) -> str:
    if x.dtype not in DTYPES:
        raise InputError(
            f"the compiled kernels take {', '.join(DTYPES.values())}, got {x.dtype}: use the reference path."
        )
    return DTYPES[x.dtype]


def _affine(
    buffers: _Addresses, affine: Affine | None, elements: int
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    if affine is None:
        return _NONE, _NONE
    return (
        buffers.over(affine.scale, elements, "the affine scale"),
        buffers.over(affine.shift, elements, "the affine shift"),
    )


def backward(
    grad: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor | None,
    record: Tensor | None,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine | None = None,
    output_scale: float = 1.0,
    parameters: bool = False,
    epilogue: Epilogue | None = None,
) -> Gradients:
    """Gradients of a forward pass that kept ``x`` or ``record``; ``i`` tells whether there is a current."""
    elements = grad.shape[1]
    grads = Gradients(
        in_large_pages(torch.empty_like(grad, memory_format=torch.contiguous_format)),
        None if v is None else torch.empty_like(v),
        None if i is None else torch.empty_like(i),
        *(_states(grad, 2) if parameters and record is None else (None, None)),
    )
    results = (grads.x, grads.v, grads.i, grads.decay, grads.threshold)
    buffers = _Addresses()
    parts = (
        (None,) * 4
        if epilogue is None
        else (epilogue.gain, epilogue.slope, epilogue.centre, epilogue.offset)
    )
    extension().integrate_fire_backward(
        *_arguments(buffers, grad, grad_v, grad_i, x, record, v, i, decay, threshold, dynamics, affine),
        output_scale,
        tuple(buffers.over(part, elements, "the epilogue") for part in parts),
        tuple(0 if result is None else result.data_ptr() for result in results),
        torch.get_num_threads(),
    )  # fmt: skip
    return grads


def _states(grad: Tensor, count: int) -> tuple[Tensor, ...]:
    return tuple(grad.new_empty(grad.shape[1:], dtype=torch.float32) for _ in range(count))


def _arguments(
    buffers: _Addresses,
    grad: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor | None,
    record: Tensor | None,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    affine: Affine | None,
) -> tuple[object, ...]:
    """What both backward passes hand over."""
    steps, elements = grad.shape
    if x is None and record is None:
        raise InputError("a backward pass needs the input or the record, got neither.")
    planes = 2 if dynamics.reset == "hard" else 1
    inputs = (
        buffers.of(grad, steps * elements, "the gradient", *DTYPES),
        buffers.of(grad_v, elements, "the gradient of the membrane"),
        buffers.of(grad_i, elements, "the gradient of the current"),
        buffers.of(x, steps * elements, "x", *DTYPES),
        buffers.of(record, planes * steps * _row_of_bits(elements), "the record", torch.uint8),
        buffers.of(v, elements, "the initial membrane"),
        buffers.of(i, elements, "the initial current"),
    )
    return (
        compiled(dynamics),
        steps,
        elements,
        _name(grad),
        _name(grad if x is None else x),
        i is not None,
        inputs,
        buffers.over(decay, elements, "decay"),
        buffers.over(threshold, elements, "threshold"),
        *_affine(buffers, affine, elements),
    )


def moments(x: Tensor, channels: int, inner: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of x (flat, [..., channels, inner] in memory), in float32."""
    mean, variance = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    elements, buffers = x.numel(), _Addresses()
    if elements % (channels * inner) != 0:
        raise InputError(
            f"{elements} values are not whole rows of {channels} channels of {inner} neighbours."
        )
    extension().moments(
        elements,
        channels,
        inner,
        _name(x),
        buffers.of(x, elements, "x", *DTYPES),
        mean.data_ptr(),
        variance.data_ptr(),
        torch.get_num_threads(),
    )
    return mean, variance


def backward_sums(
    grad: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Channelwise,
    threshold: Channelwise,
    dynamics: Dynamics,
    *,
    affine: Affine,
    output_scale: float,
    mean: Channelwise,
) -> tuple[Tensor, Tensor]:
    """Sum of g_u and of g_u * (x - mean) for each channel of ``mean``, g_u the gradient of the affine output."""
    elements, buffers = grad.shape[1], _Addresses()
    sums, products = (torch.empty_like(mean.values) for _ in range(2))
    extension().integrate_fire_backward_sums(
        *_arguments(buffers, grad, grad_v, grad_i, x, None, v, i, decay, threshold, dynamics, affine),
        output_scale,
        buffers.over(mean, elements, "the mean"),
        sums.data_ptr(),
        products.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    return sums, products
