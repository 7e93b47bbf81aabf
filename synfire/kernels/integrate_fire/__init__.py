"""The operator behind every leaky neuron: integrate, fire and reset over T timesteps.

=============== ==========================================================================
reference.py    the equations, on readable torch
call.py         what every path takes and gives: flat buffers
plain.py        the reference as a path; native.py and triton.py the compiled ones
paths.py        the choice between them (:func:`synfire.kernels.explain`)
operator.py     ``torch.library`` operators: schema, fake form, gradient
=============== ==========================================================================
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from synfire.core.emission import announce
from synfire.core.errors import ConfigError, InputError
from synfire.kernels.eager import runs_eagerly
from synfire.kernels.integrate_fire.call import FORMS
from synfire.kernels.integrate_fire.operator import (
    check_input,
    integrate_fire_backward_op,
    integrate_fire_into,
    integrate_fire_into_op,
    integrate_fire_op,
    run_integrate_fire,
    state_dtype,
)
from synfire.kernels.integrate_fire.plain import recordable
from synfire.kernels.integrate_fire.reference import UNITS, Dynamics, check_levels
from synfire.kernels.layout import layout_of
from synfire.kernels.surrogates import Surrogate

__all__ = [
    "UNITS",
    "check_levels",
    "fire",
    "integrate_fire",
    "integrate_fire_backward_op",
    "integrate_fire_into_op",
    "integrate_fire_op",
    "neuron_dynamics",
    "state_dtype",
]

_ARCTAN = Surrogate("arctan")


def neuron_dynamics(
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
) -> Dynamics:
    """The constants of a neuron, with the defaults of :func:`integrate_fire`."""
    if unit == "membrane" and levels > 1:
        raise ConfigError(
            "unit='membrane' measures the distance to the one threshold of a binary neuron, got "
            f"levels={levels}: use unit='count' (F.integer_lif)."
        )
    return Dynamics(
        levels, rounding, reset, reset_value, detach_reset, input_gain, decay_input,
        current_decay or 0.0, surrogate, inclusive, unit,
    )  # fmt: skip


def _constants(value: Tensor | float) -> tuple[Tensor | None, float]:
    return (value, 0.0) if isinstance(value, Tensor) else (None, float(value))


def _check_threshold(threshold: Tensor | float) -> None:
    if not isinstance(threshold, Tensor) and not threshold > 0:
        raise ConfigError(f"a threshold must be positive, got {threshold}.")


def asks_gradient(*values: Tensor | float | None) -> bool:
    """Whether autograd would want a gradient of any of these."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


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
    last_state: bool = True,
    record: bool | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Integrate, fire and reset over T timesteps of a folded tensor.

    Args:
        x: input [T*B, ...], float16, bfloat16, float32 or float64; contiguous or channels last, which results keep.
        timesteps: T.
        v, i: membrane and current before the first timestep [B, ...] (None: at rest, zero).
        decay, threshold: constants, or learnable tensors (scalar, or one value for each index of axis 1).
        current_decay: with a number the input passes a leaky current first (two-state neuron).
        last_state: whether the last membrane and current are wanted; without them less memory is written.
        record: what the backward pass keeps. True: one bit (hard reset: two) an element; possible for a rectangular
            surrogate with constant decay and threshold. False: the input, from which it recomputes. None: the record
            where possible.
        Other arguments: :class:`synfire.kernels.integrate_fire.reference.Dynamics`.

    Returns:
        counts * output_scale [T*B, ...] in x's dtype; last membrane and last current [B, ...] in float32
        (float64 for float64), None where not wanted, the current also without ``current_decay``.

    Raises:
        ConfigError, InputError: an argument that cannot work, or ``record=True`` where it is not possible.
    """
    _check_threshold(threshold)
    dynamics = neuron_dynamics(
        levels, rounding, reset, reset_value, detach_reset, input_gain, decay_input,
        current_decay, surrogate, inclusive, unit,
    )  # fmt: skip
    (decay_tensor, decay_value), (threshold_tensor, threshold_value) = map(
        _constants, (decay, threshold)
    )
    possible = decay_tensor is None and threshold_tensor is None and recordable(dynamics)
    if record and not possible:
        raise ConfigError(
            "a record replaces the input only for a rectangular surrogate with width 1 (or one level), constant decay "
            "and threshold, and no gradient through a hard reset: leave record=None."
        )
    if record is None:
        record = possible
    has_current = current_decay is not None
    training = asks_gradient(x, v, i, decay_tensor, threshold_tensor)
    out, v_last, i_last, _ = run_integrate_fire(
        training, x, v, i, decay_tensor, threshold_tensor, timesteps, decay_value, threshold_value,
        float(output_scale), dynamics.encode(), has_current,
        record and training, last_state,
    )  # fmt: skip
    return (
        announce(out, levels, output_scale),
        v_last if last_state else None,
        i_last if last_state and has_current else None,
    )


def fire(
    x: Tensor,
    timesteps: int,
    *,
    form: str = "uint8",
    out: Tensor | None = None,
    v: Tensor | None = None,
    i: Tensor | None = None,
    decay: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    output_scale: float = 1.0,
    last_state: bool = False,
    dynamics: Dynamics,
    has_current: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The inference form: counts as ``uint8``, packed ``bits`` or floats, into ``out`` if given.

    Args:
        x: input [T*B, ...].
        form: ``uint8`` counts (at most 255 levels); ``float``: counts * output_scale in x's dtype; ``bits`` of a binary
            neuron, uint8 [T*B, ..., ceil(n/8)], element j of a row of the last axis is bit j % 8 of byte j // 8.
        out: written and returned instead of a new tensor, in the layout of ``x`` (bits: contiguous).
        last_state: whether the last membrane and current [B, ...] are wanted.
        dynamics: :func:`neuron_dynamics`.
        has_current: whether the neuron has a current (its decay is in ``dynamics``).
        Other arguments: :func:`integrate_fire`.

    Raises:
        InputError: a gradient is asked for (counts carry none), or ``out`` does not fit.

    Example:
        >>> counts, _, _ = fire(torch.tensor([[0.4], [1.7]]), 1, dynamics=neuron_dynamics(4, "half_up", unit="count"))
        >>> counts.tolist(), counts.dtype
        ([[0], [2]], torch.uint8)
    """
    _check_threshold(threshold)
    check_input(x, timesteps)
    if asks_gradient(x, v, i, decay, threshold):
        raise InputError(
            "a gradient was asked through an inference form, expected none: use integrate_fire for training, "
            "or call this under torch.no_grad()."
        )
    (decay_tensor, decay_value), (threshold_tensor, threshold_value) = map(
        _constants, (decay, threshold)
    )
    _check_form(form, dynamics.levels)
    row = x.shape[-1]
    ragged = form == "bits" and row % 8 != 0  # rows end on whole bytes
    target = _target(x, form, None if ragged else out, ragged)
    run = integrate_fire_into if runs_eagerly(target, x, v, i) else integrate_fire_into_op
    v_last, i_last = run(
        target, x, v, i, decay_tensor, threshold_tensor, timesteps, decay_value,
        threshold_value, float(output_scale), dynamics.encode(), has_current,
        "uint8" if ragged else form, last_state,
    )  # fmt: skip
    if ragged:
        from synfire.kernels.packing import pack_bits

        bits = pack_bits(target)
        target = bits if out is None else out.copy_(bits)
    return target, v_last if last_state else None, i_last if last_state and has_current else None


def _check_form(form: str, levels: int) -> None:
    if form not in FORMS:
        raise ConfigError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    most = {"float": math.inf, "uint8": 255, "bits": 1}[form]
    if levels > most:
        raise ConfigError(
            f"form={form!r} holds counts up to {most}, the neuron has {levels} levels."
        )


def _target(x: Tensor, form: str, out: Tensor | None, ragged: bool) -> Tensor:
    """Where the counts go: ``out``, if it fits, or new memory."""
    shape, layout = tuple(x.shape), layout_of(x)
    if form == "bits" and not ragged:
        shape, layout = (*shape[:-1], shape[-1] // 8), torch.contiguous_format
    if ragged:
        layout = torch.contiguous_format
    dtype = x.dtype if form == "float" else torch.uint8
    if out is None:
        return torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout)
    fits = tuple(out.shape) == shape and out.dtype == dtype and out.device == x.device
    if not fits or not out.is_contiguous(memory_format=layout):
        raise InputError(
            f"out must be a {dtype} tensor {shape} on {x.device} in the layout of the input ({layout}), "
            f"got {out.dtype} {tuple(out.shape)} on {out.device}."
        )
    return out
