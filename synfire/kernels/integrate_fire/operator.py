"""``synfire::integrate_fire`` as torch operators: schema, fake form, gradient; for training and for inference.

They take the folded tensor [T*B, ...] and the int ``timesteps``; nothing else reshapes time, so ``torch.export`` keeps
a dynamic batch. The constants travel as one string (:meth:`Dynamics.encode`). Results have the layout of ``x``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.eager import runs_eagerly
from synfire.kernels.integrate_fire.call import Channelwise
from synfire.kernels.integrate_fire.paths import path_for
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.layout import channel_stride, dense_layout, flat, layout_of, shaped
from synfire.kernels.native import in_large_pages


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Membranes are float64 for float64 inputs, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def state_shape(x: Tensor, timesteps: int) -> tuple[int, ...]:
    """[B, ...] of a folded [T*B, ...]."""
    return (x.shape[0] // timesteps, *x.shape[1:])


def check_input(x: Tensor, timesteps: int) -> None:
    """Raise unless ``x`` is a folded floating-point tensor of ``timesteps``."""
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


def flat_state(
    state: Tensor | None, x: Tensor, timesteps: int, layout: torch.memory_format, name: str
) -> Tensor | None:
    """A state or its gradient [B, ...] as [N] in the state's dtype."""
    if state is None:
        return None
    expected = state_shape(x, timesteps)
    if tuple(state.shape) != expected:
        raise InputError(
            f"the {name} must have shape {expected} like one timestep of the input, "
            f"got {tuple(state.shape)}."
        )
    if state.numel() == 0:
        return state.new_empty(0, dtype=state_dtype(x.dtype))
    return flat(state.to(state_dtype(x.dtype)), 1, layout)[0]


def current_or_rest(
    i: Tensor | None, x: Tensor, timesteps: int, layout: torch.memory_format, has_current: bool
) -> Tensor | None:
    """The initial current [N]: given, zero, or None where the neuron has none."""
    if not has_current:
        return None
    given = flat_state(i, x, timesteps, layout, "initial current")
    if given is not None:
        return given
    return x.new_zeros(x.numel() // timesteps, dtype=state_dtype(x.dtype))


@lru_cache(maxsize=256)
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((1,), value, dtype=dtype, device=device)


def as_channelwise(
    value: Tensor | None, constant: float, x: Tensor, layout: torch.memory_format
) -> Channelwise:
    """A decay or threshold: a constant, a scalar tensor, or one value a channel (axis 1)."""
    dtype = state_dtype(x.dtype)
    if value is None:  # a device tensor: a Python scalar divisor becomes a multiplication on CUDA
        return Channelwise(_constant(constant, dtype, x.device), 1, constant)
    value = value.detach().to(dtype)
    if value.numel() == 1:
        return Channelwise(value.reshape(1))
    if x.ndim < 2 or value.ndim != 1 or value.shape[0] != x.shape[1]:
        raise InputError(
            f"a learnable decay or threshold is a scalar or has one value a channel, "
            f"got shape {tuple(value.shape)} for an input {tuple(x.shape)}."
        )
    return Channelwise(value.contiguous(), channel_stride(x.shape, layout))


def _reduced(grad: Tensor | None, value: Tensor | None, inner: int) -> Tensor:
    """Sum a gradient [N] to the shape of the learnable parameter; empty where there is none."""
    if value is None:
        return torch.empty(0)
    assert grad is not None
    if value.numel() == 1:
        return grad.sum().reshape(value.shape).to(value.dtype)
    return grad.reshape(-1, value.numel(), inner).sum((0, 2)).reshape(value.shape).to(value.dtype)


def restored(
    state: Tensor | None, x: Tensor, timesteps: int, layout: torch.memory_format
) -> Tensor:
    """A state [N] as [B, ...]; empty where there is none."""
    if state is None:
        return x.new_empty(0, dtype=state_dtype(x.dtype))
    return shaped(state, state_shape(x, timesteps), layout)


def integrate_fire_forward(
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor | None,
    threshold: Tensor | None,
    timesteps: int,
    decay_value: float,
    threshold_value: float,
    output_scale: float,
    dynamics: str,
    has_current: bool,
    record: bool,
    last_state: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """counts * output_scale [T*B, ...], last membrane and current [B, ...], packed record; empty where not wanted."""
    check_input(x, timesteps)
    layout = layout_of(x)
    rows = flat(x, timesteps, layout)
    out = in_large_pages(
        fake_like(x)
    )  # not what the path makes: a view as output could not be changed in place
    constants = Dynamics.decode(dynamics)
    fired = path_for(rows, constants).forward(
        rows,
        flat_state(v, x, timesteps, layout, "initial membrane"),
        current_or_rest(i, x, timesteps, layout, has_current),
        as_channelwise(decay, decay_value, x, layout),
        as_channelwise(threshold, threshold_value, x, layout),
        constants,
        output_scale=output_scale,
        record=record,
        last_state=last_state,
        out=flat(out, timesteps, layout),
    )
    return (
        out,
        restored(fired.v, x, timesteps, layout),
        restored(fired.i, x, timesteps, layout),
        x.new_empty(0, dtype=torch.uint8) if fired.record is None else fired.record,
    )


integrate_fire_op = torch.library.custom_op("synfire::integrate_fire", mutates_args=())(
    integrate_fire_forward
)


def record_shape(
    dynamics: Dynamics, timesteps: int, elements: int | torch.SymInt
) -> tuple[int, int, Any]:
    """[planes, T, ceil(N/8)]."""
    return (2 if dynamics.reset == "hard" else 1), timesteps, (elements + 7) // 8


def fake_states(
    x: Tensor, timesteps: int, wanted: bool, has_current: bool
) -> tuple[Tensor, Tensor]:
    """Shapes of the last membrane and current."""
    dtype = state_dtype(x.dtype)
    state = x.new_empty(state_shape(x, timesteps), dtype=dtype)
    state = state.contiguous(memory_format=layout_of(x))
    none = x.new_empty(0, dtype=dtype)
    return (
        state if wanted else none,
        torch.empty_like(state) if wanted and has_current else torch.empty_like(none),
    )


def fake_like(x: Tensor) -> Tensor:
    """A result with the shape and layout of ``x``."""
    return torch.empty_like(x, memory_format=layout_of(x))


@integrate_fire_op.register_fake
def _(  # type: ignore[no-untyped-def]
    x, v, i, decay, threshold, timesteps, decay_value, threshold_value, output_scale, dynamics,
    has_current, record, last_state,
):  # fmt: skip
    none = x.new_empty(0, dtype=torch.uint8)
    if record:
        shape = record_shape(Dynamics.decode(dynamics), timesteps, x.numel() // timesteps)
        none = x.new_empty(shape, dtype=torch.uint8)
    return fake_like(x), *fake_states(x, timesteps, last_state, has_current), none


def integrate_fire_backward(
    grad_out: Tensor,
    grad_v: Tensor | None,
    grad_i: Tensor | None,
    x: Tensor | None,
    record: Tensor | None,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor | None,
    threshold: Tensor | None,
    timesteps: int,
    decay_value: float,
    threshold_value: float,
    output_scale: float,
    dynamics: str,
    has_current: bool,
    channels_last: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, v, i, decay and threshold; empty where there is no such input.

    ``channels_last`` is the layout of the forward pass: a record lies in its order, whatever that of the gradient is.
    """
    like = grad_out
    layout = dense_layout(like.ndim, channels_last)
    beta = as_channelwise(decay, decay_value, like, layout)
    theta = as_channelwise(threshold, threshold_value, like, layout)
    rows = flat(grad_out, timesteps, layout)
    constants = Dynamics.decode(dynamics)
    grads = path_for(rows, constants).backward(
        rows,
        flat_state(grad_v, like, timesteps, layout, "gradient of the membrane"),
        flat_state(grad_i, like, timesteps, layout, "gradient of the current"),
        None if x is None else flat(x, timesteps, layout),
        record,
        flat_state(v, like, timesteps, layout, "initial membrane"),
        current_or_rest(i, like, timesteps, layout, has_current),
        beta,
        theta,
        constants,
        output_scale=output_scale,
        parameters=decay is not None or threshold is not None,
    )
    return (
        shaped(grads.x, like.shape, layout),
        restored(None if v is None else grads.v, like, timesteps, layout),
        restored(None if i is None else grads.i, like, timesteps, layout),
        _reduced(grads.decay, decay, beta.inner),
        _reduced(grads.threshold, threshold, theta.inner),
    )


integrate_fire_backward_op = torch.library.custom_op(
    "synfire::integrate_fire_backward", mutates_args=()
)(integrate_fire_backward)


@integrate_fire_backward_op.register_fake
def _(  # type: ignore[no-untyped-def]
    grad_out, grad_v, grad_i, x, record, v, i, decay, threshold, timesteps, decay_value,
    threshold_value, output_scale, dynamics, has_current, channels_last,
):  # fmt: skip
    like = grad_out.contiguous(memory_format=dense_layout(grad_out.ndim, channels_last))
    g_v, g_i = fake_states(like, timesteps, True, True)
    none = like.new_empty(0, dtype=state_dtype(like.dtype))
    return (
        torch.empty_like(like),
        torch.empty_like(none) if v is None else g_v,
        torch.empty_like(none) if i is None else g_i,
        torch.empty(0) if decay is None else torch.empty_like(decay),
        torch.empty(0) if threshold is None else torch.empty_like(threshold),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, v, i, decay, threshold, *constants, record, last_state = inputs
    ctx.save_for_backward(*((None, output[3]) if record else (x, None)), v, i, decay, threshold)
    ctx.mark_non_differentiable(output[3])
    ctx.constants, ctx.last_state = constants, last_state
    ctx.channels_last = layout_of(x) != torch.contiguous_format
    ctx.eager = False


def _backward(
    ctx: Any, grad_out: Tensor, grad_v: Tensor, grad_i: Tensor, grad_record: Tensor
) -> tuple[Any, ...]:
    saved = ctx.saved_tensors  # once: checkpointing hands them out a single time
    *_, has_current = ctx.constants
    states = (
        grad_v if ctx.last_state else None,
        grad_i if ctx.last_state and has_current else None,
    )
    run: Any = integrate_fire_backward_op
    if ctx.eager and not torch.is_grad_enabled():  # else a second derivative: let torch refuse it
        run = integrate_fire_backward
    g_x, g_v, g_i, g_decay, g_threshold = run(
        grad_out, *states, *saved, *ctx.constants, ctx.channels_last
    )
    _, _, v, i, decay, threshold = saved
    return (
        g_x,
        None if v is None else g_v.to(v.dtype),
        None if i is None else g_i.to(i.dtype),
        None if decay is None else g_decay,
        None if threshold is None else g_threshold,
        *[None] * (len(ctx.constants) + 2),
    )


integrate_fire_op.register_autograd(_backward, setup_context=_setup_context)


class IntegrateFire(torch.autograd.Function):
    """The same forward and backward pass without torch's operator dispatch."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = integrate_fire_forward(*inputs)
        _setup_context(ctx, inputs, output)
        ctx.eager = True
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        return _backward(ctx, *grads)


def run_integrate_fire(training: bool, *inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``integrate_fire_op(*inputs)``, past the dispatch where nobody watches it."""
    if not runs_eagerly(*inputs[:5]):
        return integrate_fire_op(*inputs)
    run: Any = IntegrateFire.apply if training else integrate_fire_forward
    output: tuple[Tensor, Tensor, Tensor, Tensor] = run(*inputs)
    return output


def integrate_fire_into(
    out: Tensor,
    x: Tensor,
    v: Tensor | None,
    i: Tensor | None,
    decay: Tensor | None,
    threshold: Tensor | None,
    timesteps: int,
    decay_value: float,
    threshold_value: float,
    output_scale: float,
    dynamics: str,
    has_current: bool,
    form: str,
    last_state: bool,
) -> tuple[Tensor, Tensor]:
    """Inference: writes ``out`` in a form; last membrane and current, or empty. Has no gradient."""
    check_input(x, timesteps)
    layout = torch.contiguous_format if form == "bits" else layout_of(x)
    rows = flat(x, timesteps, layout)
    target = out.reshape(timesteps, -1) if form == "bits" else flat(out, timesteps, layout)
    constants = Dynamics.decode(dynamics)
    fired = path_for(rows, constants).forward(
        rows,
        flat_state(v, x, timesteps, layout, "initial membrane"),
        current_or_rest(i, x, timesteps, layout, has_current),
        as_channelwise(decay, decay_value, x, layout),
        as_channelwise(threshold, threshold_value, x, layout),
        constants,
        output_scale=output_scale,
        form=form,
        last_state=last_state,
        out=target,
    )
    return restored(fired.v, x, timesteps, layout), restored(fired.i, x, timesteps, layout)


integrate_fire_into_op = torch.library.custom_op(
    "synfire::integrate_fire_into", mutates_args={"out"}
)(integrate_fire_into)


@integrate_fire_into_op.register_fake
def _(  # type: ignore[no-untyped-def]
    out, x, v, i, decay, threshold, timesteps, decay_value, threshold_value, output_scale, dynamics,
    has_current, form, last_state,
):  # fmt: skip
    return fake_states(x, timesteps, last_state, has_current)
