"""Functional neurons: [T, B, ...] and state in, output and state out; nothing is kept.

A state is a dict of tensors [B, ...] (``v`` the membrane after the reset, ``i`` the synaptic current); None is rest.
Running two halves of a sequence one after the other, with the state handed over, equals running it at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.core.time import State
from synfire.kernels.integrate_fire import check_levels, integrate_fire
from synfire.kernels.spike_product import spike_conv2d, spike_linear
from synfire.kernels.surrogates import Surrogate, as_surrogate

__all__ = ["cuba_lif", "if_", "integer_lif", "lif", "spike", "spike_conv2d", "spike_linear"]


def _run(
    x: Tensor,
    state: State | None,
    surrogate: str | Surrogate,
    options: dict[str, Any],
    **own: Any,
) -> tuple[Tensor, State]:
    if x.ndim < 2:
        raise InputError(f"expected a timed input [T, B, ...], got shape {tuple(x.shape)}.")
    if x.shape[0] == 0:
        raise InputError("expected at least one timestep [T, B, ...], got T = 0.")
    state = state or {}
    known = ("v", "i") if own.get("current_decay") is not None else ("v",)
    if unknown := sorted(set(state) - set(known)):
        raise InputError(
            f"a state of this neuron holds {' and '.join(known)}, got {unknown[0]!r}: hand over the state that "
            "an earlier call returned, or None for rest."
        )
    out, v, i = integrate_fire(
        x.flatten(0, 1),
        x.shape[0],
        v=state.get("v"),
        i=state.get("i"),
        surrogate=as_surrogate(surrogate),
        **own,
        **options,
    )
    assert v is not None
    return out.reshape(x.shape), {"v": v} if i is None else {"v": v, "i": i}


def if_(
    x: Tensor,
    state: State | None = None,
    *,
    threshold: Tensor | float = 1.0,
    reset: str = "soft",
    surrogate: str | Surrogate = "arctan",
    **options: Any,
) -> tuple[Tensor, State]:
    """Integrate and fire (:class:`synfire.neurons.IF`): [T, B, ...] to spikes and last state.

    Example:
        >>> spikes, state = if_(torch.full((3, 1), 0.5))
        >>> spikes.flatten().tolist(), state["v"].tolist()
        ([0.0, 1.0, 0.0], [0.5])
    """
    return _run(x, state, surrogate, options, threshold=threshold, reset=reset, decay=1.0)


def lif(
    x: Tensor,
    state: State | None = None,
    *,
    decay: Tensor | float = 0.5,
    threshold: Tensor | float = 1.0,
    reset: str = "soft",
    surrogate: str | Surrogate = "arctan",
    **options: Any,
) -> tuple[Tensor, State]:
    """Leaky integrate and fire (:class:`synfire.neurons.LIF`); decay and threshold may be learnable tensors.

    Example:
        >>> spikes, state = lif(torch.full((3, 1), 0.8), decay=0.5)
        >>> spikes.flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    return _run(x, state, surrogate, options, decay=decay, threshold=threshold, reset=reset)


def cuba_lif(
    x: Tensor,
    state: State | None = None,
    *,
    current_decay: float = 0.5,
    decay: Tensor | float = 0.5,
    threshold: Tensor | float = 1.0,
    reset: str = "hard",
    surrogate: str | Surrogate = "arctan",
    **options: Any,
) -> tuple[Tensor, State]:
    """Current-based LIF (:class:`synfire.neurons.CubaLIF`); the state has ``v`` and ``i``.

    Example:
        >>> cuba_lif(torch.ones(2, 1), current_decay=0.5)[1]["i"].tolist()
        [1.5]
    """
    return _run(
        x,
        state,
        surrogate,
        options,
        current_decay=current_decay,
        decay=decay,
        threshold=threshold,
        reset=reset,
    )


def integer_lif(
    x: Tensor,
    state: State | None = None,
    *,
    levels: int = 4,
    decay: Tensor | float = 0.25,
    threshold: Tensor | float = 1.0,
    normalize: bool = True,
    rounding: str = "half_up",
    window: str = "inclusive",
    reset: str = "soft",
    surrogate: str | Surrogate = "rectangle",
    **options: Any,
) -> tuple[Tensor, State]:
    """Integer counts times 1/levels, or the counts themselves without ``normalize``
    (:class:`synfire.neurons.IntegerLIF`).

    Example:
        >>> x = torch.tensor([5.2, 0.1, 2.9]).reshape(3, 1)
        >>> integer_lif(x, levels=4, decay=0.25, normalize=False)[0].flatten().tolist()
        [4.0, 0.0, 3.0]
    """
    if window not in ("inclusive", "exclusive"):
        raise ConfigError(f"window must be inclusive or exclusive, got {window!r}.")
    return _run(
        x,
        state,
        surrogate,
        options,
        levels=levels,
        decay=decay,
        threshold=threshold,
        rounding=rounding,
        reset=reset,
        output_scale=1 / check_levels(levels) if normalize else 1.0,
        inclusive=window == "inclusive",
        unit="count",
    )


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(distance), None


def spike(distance: Tensor, surrogate: str | Surrogate = "arctan") -> Tensor:
    """1 where ``distance`` >= 0, else 0, with a surrogate gradient: for step functions of one's own.

    Example:
        >>> x = torch.zeros(1, requires_grad=True)
        >>> spike(x, "triangle").backward(); x.grad.item()
        1.0
    """
    spikes: Tensor = _Spike.apply(distance, as_surrogate(surrogate))
    return spikes
