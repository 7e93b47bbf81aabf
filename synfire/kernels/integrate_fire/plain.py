"""The reference path: the contract of :mod:`synfire.kernels.integrate_fire.call` on the equations of reference.py."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.kernels.integrate_fire import reference
from synfire.kernels.integrate_fire.call import (
    Affine,
    Channelwise,
    Epilogue,
    Fired,
    Gradients,
    packed,
    unpacked,
)
from synfire.kernels.integrate_fire.reference import Dynamics


def recordable(dynamics: Dynamics) -> bool:
    """Whether one bit (two with hard reset) an element and timestep is all that a backward pass needs.

    True for rectangles that do not overlap, unless gradients go through a hard reset. Gradients of learnable decays
    and thresholds need membranes, so those recompute.
    """
    surrogate = dynamics.surrogate
    tiles = surrogate.name == "rectangle" and (dynamics.levels == 1 or surrogate.width == 1.0)
    return tiles and (dynamics.reset != "hard" or dynamics.detach_reset)


def _drive(x: Tensor, affine: Affine | None) -> Tensor:
    if affine is None:
        return x
    elements = x.shape[-1]
    return x * affine.scale.over(elements) + affine.shift.over(elements)


def _rest(x: Tensor, state: Tensor | None) -> Tensor:
    return x.new_zeros(x.shape[1:]) if state is None else state


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


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
    elements = x.shape[1]
    beta, theta = decay.over(elements), threshold.over(elements)
    u = _drive(_wide(x), affine)
    counts, v_last, i_last, charged = reference.forward(u, _rest(u, v), i, beta, theta, dynamics)
    if form == "float":
        result = (counts if output_scale == 1.0 else counts * output_scale).to(x.dtype)
    else:
        result = counts.to(torch.uint8) if form == "uint8" else packed(counts > 0)
    planes = None
    if record:
        passes = reference.count_derivative(charged, theta, dynamics) != 0
        fired = [counts > 0] if dynamics.reset == "hard" else []
        planes = torch.stack([packed(plane) for plane in (passes, *fired)])
    return Fired(
        result if out is None else out.copy_(result),
        v_last if last_state else None,
        i_last if last_state else None,
        planes,
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
    beta, theta = decay.over(elements), threshold.over(elements)
    g = _wide(grad)
    g = g if output_scale == 1.0 else g * output_scale
    g_v = _rest(g, grad_v)
    g_i = None if i is None else _rest(g, grad_i)
    g_decay = g_threshold = None
    if record is None:
        assert x is not None
        u = _drive(_wide(x), affine)
        g_u, g_v, g_i, g_decay, g_threshold = reference.backward(
            g, g_v, g_i, u, _rest(u, v), i, beta, theta, dynamics
        )
    else:
        planes = unpacked(record, elements)
        g_u, g_v, g_i = reference.backward_of_record(g, g_v, g_i, planes, beta, theta, dynamics)
    if epilogue is not None:
        assert x is not None
        gain, slope, centre, offset = (
            part.over(elements)
            for part in (epilogue.gain, epilogue.slope, epilogue.centre, epilogue.offset)
        )
        g_u = gain * g_u + (slope * (_wide(x) - centre) + offset)
    elif affine is not None:
        g_u = g_u * affine.scale.over(elements)
    return Gradients(
        g_u.to(grad.dtype),
        None if v is None else g_v,
        None if i is None else g_i,
        g_decay if parameters else None,
        g_threshold if parameters else None,
    )


def moments(x: Tensor, channels: int, inner: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of x (flat, [..., channels, inner] in memory), in the state's dtype."""
    variance, mean = torch.var_mean(_wide(x).reshape(-1, channels, inner), (0, 2), correction=0)
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
    elements = grad.shape[1]
    ones = Channelwise(torch.ones_like(mean.values), mean.inner)
    zeros = Channelwise(torch.zeros_like(mean.values), mean.inner)
    wide = backward(
        _wide(grad), grad_v, grad_i, x, None, v, i, decay, threshold, dynamics,
        affine=affine, output_scale=output_scale, epilogue=Epilogue(ones, zeros, zeros, zeros),
    )  # fmt: skip
    centred = _wide(x) - mean.over(elements)
    shape = (-1, mean.values.shape[0], mean.inner)
    return wide.x.reshape(shape).sum((0, 2)), (wide.x * centred).reshape(shape).sum((0, 2))


def norm_affine(
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    inner: int,
) -> Affine:
    """What a BatchNorm with these statistics [C] does to its input; all in the state's dtype."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    return Affine(Channelwise(scale, inner), Channelwise(shift, inner))


def norm_epilogue(
    first: Tensor,
    second: Tensor,
    mean: Tensor,
    variance: Tensor,
    affine: Affine,
    eps: float,
    each: int,
) -> tuple[Tensor, Epilogue]:
    """Gradient of the weight [C], and how that of x follows, of a BatchNorm over ``each`` elements a channel.

    ``first`` and ``second`` are the results of ``backward_sums``.
    """
    rstd = (variance + eps).rsqrt()
    scale, inner = affine.scale, affine.scale.inner
    slope, offset = -scale.values * rstd * rstd * second / each, -scale.values * first / each
    parts = (Channelwise(part, inner) for part in (slope, mean, offset))
    return second * rstd, Epilogue(scale, *parts)
