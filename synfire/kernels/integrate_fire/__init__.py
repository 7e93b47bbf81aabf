"""The operator behind every leaky neuron: ``synfire::integrate_fire``, its schema, fake form, gradient and dispatch.

It takes the folded tensor [T*B, ...] and the int ``timesteps``; nothing else reshapes time, so ``torch.export`` keeps a
dynamic batch. Equations: :mod:`synfire.kernels.integrate_fire.reference`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import native
from synfire.kernels.integrate_fire import reference
from synfire.kernels.integrate_fire.reference import RESETS, ROUNDINGS, Dynamics
from synfire.kernels.surrogates import Surrogate

UNITS = ("count", "membrane")
_ARCTAN = Surrogate("arctan")


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Membranes are float64 for float64 inputs, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_levels(levels: int) -> int:
    """The number of levels, if it is an int of at least 1."""
    if not isinstance(levels, int) or isinstance(levels, bool) or levels < 1:
        raise ConfigError(
            f"levels is the largest count of a timestep, an int of at least 1, got {levels!r}."
        )
    return levels


def _dynamics(
    levels: int,
    rounding: str,
    reset: str,
    reset_value: float,
    detach_reset: bool,
    input_gain: float,
    decay_input: bool,
    current_decay: float,
    surrogate: str,
    surrogate_width: float,
    surrogate_scale: float,
    inclusive: bool,
    unit: str,
) -> Dynamics:
    check_levels(levels)
    if rounding not in ROUNDINGS:
        raise ConfigError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}.")
    if reset not in RESETS:
        raise ConfigError(f"reset must be one of {', '.join(RESETS)}, got {reset!r}.")
    if unit not in UNITS:
        raise ConfigError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    if unit == "membrane" and levels > 1:
        raise ConfigError(
            f"unit='membrane' measures the distance to the one threshold of a binary neuron, got levels={levels}: "
            "use unit='count' (F.integer_lif)."
        )
    return Dynamics(
        levels=levels,
        rounding=rounding,
        reset=reset,
        reset_value=reset_value,
        detach_reset=detach_reset,
        input_gain=input_gain,
        decay_input=decay_input,
        current_decay=current_decay,
        surrogate=Surrogate(surrogate, surrogate_width, surrogate_scale),
        inclusive=inclusive,
        unit=unit,
    )


def _check(x: Tensor, v: Tensor | None, i: Tensor | None, timesteps: int) -> None:
    if not x.is_floating_point():
        raise InputError(
            f"a neuron takes a floating-point input, got {x.dtype}: convert with x.float()."
        )
    if x.ndim < 1:
        raise InputError("a neuron takes a folded tensor [T*B, ...], got a scalar.")
    if timesteps < 1:
        raise ConfigError(f"timesteps must be at least 1, got {timesteps}.")
    if x.shape[0] % timesteps != 0:
        raise InputError(
            f"the first axis of a folded tensor is T*B: expected a multiple of timesteps={timesteps}, "
            f"got {x.shape[0]}; fold with synfire.TimeFolded."
        )
    expected = (x.shape[0] // timesteps, *x.shape[1:])
    for state, name in ((v, "membrane"), (i, "current")):
        if state is not None and tuple(state.shape) != expected:
            raise InputError(
                f"the initial {name} must have shape {expected} like one timestep of the input, "
                f"got {tuple(state.shape)}."
            )


def _as_parameter(value: Tensor | None, constant: float, x: Tensor) -> Tensor:
    """A decay or threshold that broadcasts against a state [B, C, ...]: scalar, or one value a channel."""
    dtype = state_dtype(x.dtype)
    if value is None:  # a device tensor: a Python scalar divisor becomes a multiplication on CUDA
        return torch.full((), constant, dtype=dtype, device=x.device)
    value = value.to(dtype)
    if value.ndim == 0 or value.numel() == 1:
        return value.reshape(())
    if x.ndim < 2 or value.ndim != 1 or value.shape[0] != x.shape[1]:
        raise InputError(
            f"a learnable decay or threshold is a scalar or has one value a channel, "
            f"got shape {tuple(value.shape)} for an input {tuple(x.shape)}."
        )
    return value.reshape(-1, *[1] * (x.ndim - 2))


def _reduce_parameter(grad: Tensor, value: Tensor) -> Tensor:
    """Sum a state-shaped gradient to the shape of the learnable parameter."""
    if value.numel() == 1:
        return grad.sum().reshape(value.shape).to(value.dtype)
    return (
        grad.sum(dim=[d for d in range(grad.ndim) if d != 1]).reshape(value.shape).to(value.dtype)
    )


def _rest(x: Tensor, state: Tensor | None, timesteps: int) -> Tensor:
    dtype = state_dtype(x.dtype)
    if state is not None:
        return state.to(dtype)
    return x.new_zeros((x.shape[0] // timesteps, *x.shape[1:]), dtype=dtype)


@torch.library.custom_op("synfire::integrate_fire", mutates_args=())
def integrate_fire_op(
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor | None,
    threshold: Tensor | None,
    timesteps: int,
    decay_value: float,
    threshold_value: float,
    output_scale: float,
    levels: int,
    rounding: str,
    reset: str,
    reset_value: float,
    detach_reset: bool,
    input_gain: float,
    decay_input: bool,
    current_decay: float,
    has_current: bool,
    surrogate: str,
    surrogate_width: float,
    surrogate_scale: float,
    inclusive: bool,
    unit: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns counts * output_scale [T*B, ...], last membrane [B, ...], last current ([B, ...] or empty)."""
    _check(x, v, i, timesteps)
    dynamics = _dynamics(
        levels, rounding, reset, reset_value, detach_reset, input_gain, decay_input,
        current_decay, surrogate, surrogate_width, surrogate_scale, inclusive, unit,
    )  # fmt: skip
    beta = _as_parameter(decay, decay_value, x)
    theta = _as_parameter(threshold, threshold_value, x)
    steps = _unfold(x, timesteps)
    i0 = _rest(x, i, timesteps) if has_current else None
    if native.takes(steps):
        out, v_last, i_last = native.integrate_fire(
            steps, v, i0, beta, theta, dynamics, output_scale=output_scale
        )
    else:
        v0 = _rest(x, v, timesteps)
        counts, v_last, i_last, _ = reference.forward(
            steps.to(v0.dtype), v0, i0, beta, theta, dynamics
        )
        out = (counts if output_scale == 1.0 else counts * output_scale).to(x.dtype)
    return out.reshape(x.shape), v_last, x.new_empty(0) if i_last is None else i_last


def _unfold(x: Tensor, timesteps: int) -> Tensor:
    return x.reshape(timesteps, x.shape[0] // timesteps, *x.shape[1:])


@integrate_fire_op.register_fake
def _(x, v, i, decay, threshold, timesteps, *constants):  # type: ignore[no-untyped-def]
    has_current = constants[11]
    state = x.new_empty((x.shape[0] // timesteps, *x.shape[1:]), dtype=state_dtype(x.dtype))
    current = torch.empty_like(state) if has_current else x.new_empty(0)
    return torch.empty_like(x, memory_format=torch.contiguous_format), state, current


@torch.library.custom_op("synfire::integrate_fire_backward", mutates_args=())
def integrate_fire_backward_op(
    grad_out: Tensor,
    grad_v: Tensor,
    grad_i: Tensor,
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor | None,
    threshold: Tensor | None,
    timesteps: int,
    decay_value: float,
    threshold_value: float,
    output_scale: float,
    levels: int,
    rounding: str,
    reset: str,
    reset_value: float,
    detach_reset: bool,
    input_gain: float,
    decay_input: bool,
    current_decay: float,
    has_current: bool,
    surrogate: str,
    surrogate_width: float,
    surrogate_scale: float,
    inclusive: bool,
    unit: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, v, i (or empty), decay and threshold (or empty)."""
    dynamics = _dynamics(
        levels, rounding, reset, reset_value, detach_reset, input_gain, decay_input,
        current_decay, surrogate, surrogate_width, surrogate_scale, inclusive, unit,
    )  # fmt: skip
    beta = _as_parameter(decay, decay_value, x)
    theta = _as_parameter(threshold, threshold_value, x)
    steps = _unfold(x, timesteps)
    i0 = _rest(x, i, timesteps) if has_current else None
    dtype, state = state_dtype(x.dtype), steps.shape[1:]
    grad_counts = _unfold(grad_out, timesteps).to(dtype)
    grad_v = grad_v.to(dtype).reshape(state)
    grad_current = grad_i.to(dtype).reshape(state) if has_current else None
    if native.takes(steps):
        wanted = decay is not None or threshold is not None
        g_x, g_v, g_i, g_decay, g_threshold = native.integrate_fire_backward(
            grad_counts,
            grad_v,
            grad_current,
            steps,
            v,
            i0,
            beta,
            theta,
            dynamics,
            output_scale=output_scale,
            parameters=wanted,
        )
    else:
        if output_scale != 1.0:
            grad_counts = grad_counts * output_scale
        v0 = _rest(x, v, timesteps)
        g_x, g_v, g_i, g_decay, g_threshold = reference.backward(
            grad_counts, grad_v, grad_current, steps.to(dtype), v0, i0, beta, theta, dynamics
        )
    return (
        g_x.to(x.dtype).reshape(x.shape),
        g_v,
        x.new_empty(0) if g_i is None else g_i,  # outputs may not alias: one empty tensor each
        x.new_empty(0) if g_decay is None or decay is None else _reduce_parameter(g_decay, decay),
        x.new_empty(0)
        if g_threshold is None or threshold is None
        else _reduce_parameter(g_threshold, threshold),
    )


@integrate_fire_backward_op.register_fake
def _(grad_out, grad_v, grad_i, x, v, i, decay, threshold, timesteps, *constants):  # type: ignore[no-untyped-def]
    has_current = constants[11]
    state = x.new_empty((x.shape[0] // timesteps, *x.shape[1:]), dtype=state_dtype(x.dtype))
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        state,
        torch.empty_like(state) if has_current else x.new_empty(0),
        x.new_empty(0) if decay is None else torch.empty_like(decay),
        x.new_empty(0) if threshold is None else torch.empty_like(threshold),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.constants = inputs[5:]


def _backward(ctx: Any, grad_out: Tensor, grad_v: Tensor, grad_i: Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors  # once: checkpointing hands them out a single time
    g_x, g_v, g_i, g_decay, g_threshold = integrate_fire_backward_op(
        grad_out, grad_v, grad_i, *saved, *ctx.constants
    )
    _, v, i, decay, threshold = saved
    return (
        g_x,
        None if v is None else g_v.to(v.dtype),
        None if i is None else g_i.to(i.dtype),
        None if decay is None else g_decay,
        None if threshold is None else g_threshold,
        *[None] * len(ctx.constants),
    )


integrate_fire_op.register_autograd(_backward, setup_context=_setup_context)


def integrate_fire(
    x: Tensor,
    timesteps: int,
    *,
    v: Tensor | None = None,
    i: Tensor | None = None,
    decay: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    output_scale: float = 1.0,
    levels: int = 1,
    rounding: str = "floor",
    reset: str = "soft",
    reset_value: float = 0.0,
    detach_reset: bool = True,
    input_gain: float = 1.0,
    decay_input: bool = False,
    current_decay: float | None = None,
    surrogate: Surrogate = _ARCTAN,
    inclusive: bool = True,
    unit: str = "membrane",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Integrate, fire and reset over T timesteps of a folded tensor.

    Args:
        x: input [T*B, ...], float16, bfloat16, float32 or float64.
        timesteps: T.
        v, i: membrane and current before the first timestep [B, ...] (None: at rest, zero).
        decay, threshold: constants, or learnable tensors (scalar, or one value for each index of axis 1).
        current_decay: with a number the input passes a leaky current first (two-state neuron).
        Other arguments: :class:`synfire.kernels.integrate_fire.reference.Dynamics`.

    Returns:
        counts * output_scale [T*B, ...] in x's dtype; last membrane and last current [B, ...] in float32
        (float64 for float64), the current None without ``current_decay``.
    """
    if not isinstance(threshold, Tensor) and not threshold > 0:
        raise ConfigError(f"a threshold must be positive, got {threshold}.")
    learnable_decay = isinstance(decay, Tensor)
    learnable_threshold = isinstance(threshold, Tensor)
    out, v_last, i_last = integrate_fire_op(
        x, v, i,
        decay if learnable_decay else None,
        threshold if learnable_threshold else None,
        timesteps,
        0.0 if learnable_decay else float(decay),
        0.0 if learnable_threshold else float(threshold),
        output_scale, levels, rounding, reset, reset_value, detach_reset, input_gain, decay_input,
        current_decay or 0.0, current_decay is not None,
        surrogate.name, surrogate.width, surrogate.scale, inclusive, unit,
    )  # fmt: skip
    return out, v_last, None if current_decay is None else i_last
