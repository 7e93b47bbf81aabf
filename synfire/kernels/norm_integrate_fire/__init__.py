r"""BatchNorm and neuron as one operator, ``synfire::norm_integrate_fire``: what every backbone runs between products.

    u = x * scale + shift,   scale = weight / sqrt(variance + eps),   shift = bias - mean * scale
    y = counts(u) * output_scale                                      (integrate_fire/reference.py)

with the batch's mean and variance, or fixed ones. The normalised tensor u is never written: a forward pass reads x
once for the statistics and once for the counts, a backward pass reads x and the gradient twice; what is kept for it is
x alone, which BatchNorm keeps anyway. Gradients, with g the one of u, r = 1 / sqrt(variance + eps), n elements a
channel, S1 = sum g, S2 = sum g (x - mean):

    g_weight = r S2,  g_bias = S1,  g_x = weight r (g - S1 / n - (x - mean) r^2 S2 / n)      (batch statistics)
                                    g_x = scale g                                            (fixed statistics)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from synfire.core.emission import announce
from synfire.core.errors import ConfigError, InputError
from synfire.kernels.eager import runs_eagerly
from synfire.kernels.integrate_fire import asks_gradient
from synfire.kernels.integrate_fire.call import Channelwise
from synfire.kernels.integrate_fire.operator import (
    as_channelwise,
    check_input,
    current_or_rest,
    fake_like,
    state_dtype,
)
from synfire.kernels.integrate_fire.paths import path_for
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.layout import channel_stride, flat, layout_of, shaped
from synfire.kernels.native import in_large_pages


def _check(x: Tensor, timesteps: int, given: dict[str, Tensor | None]) -> None:
    check_input(x, timesteps)
    if x.ndim < 2:
        raise InputError(
            f"a BatchNorm needs channels on axis 1, got an input of shape {tuple(x.shape)}."
        )
    for name, value in given.items():
        if value is not None and tuple(value.shape) != (x.shape[1],):
            raise InputError(
                f"{name} must have one value for each of the {x.shape[1]} channels, got shape {tuple(value.shape)}."
            )


def _wide(value: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if value is None else value.detach().to(dtype).contiguous()


def norm_integrate_fire_forward(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    timesteps: int,
    decay: float,
    threshold: float,
    output_scale: float,
    dynamics: str,
    has_current: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """counts * output_scale [T*B, C, ...], and the mean and (biased) variance [C] that were used.

    Without ``mean`` and ``variance`` those of the batch are taken, and gradients pass through them.
    """
    _check(x, timesteps, {"mean": mean, "variance": variance, "weight": weight, "bias": bias})
    dtype, layout = state_dtype(x.dtype), layout_of(x)
    inner = channel_stride(x.shape, layout)
    rows = flat(x, timesteps, layout)
    constants = Dynamics.decode(dynamics)
    path = path_for(rows, constants)
    if mean is None or variance is None:
        used_mean, used_variance = path.moments(rows, x.shape[1], inner)
    else:  # an output may not alias an input
        used_mean, used_variance = mean.to(dtype, copy=True), variance.to(dtype, copy=True)
    out = in_large_pages(
        fake_like(x)
    )  # not what the path makes: a view as output could not be changed in place
    path.forward(
        rows,
        None,
        current_or_rest(None, x, timesteps, layout, has_current),
        as_channelwise(None, decay, x, layout),
        as_channelwise(None, threshold, x, layout),
        constants,
        affine=path.norm_affine(
            used_mean, used_variance, _wide(weight, dtype), _wide(bias, dtype), eps, inner
        ),
        output_scale=output_scale,
        last_state=False,
        out=flat(out, timesteps, layout),
    )
    return out, used_mean, used_variance


norm_integrate_fire_op = torch.library.custom_op("synfire::norm_integrate_fire", mutates_args=())(
    norm_integrate_fire_forward
)


@norm_integrate_fire_op.register_fake
def _(x, mean, variance, weight, bias, *constants):  # type: ignore[no-untyped-def]
    statistic = x.new_empty(x.shape[1], dtype=state_dtype(x.dtype))
    return fake_like(x), statistic, torch.empty_like(statistic)


def norm_integrate_fire_backward(
    grad_out: Tensor,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    of_batch: bool,
    eps: float,
    timesteps: int,
    decay: float,
    threshold: float,
    output_scale: float,
    dynamics: str,
    has_current: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias (the last two [C] whether or not there are any)."""
    dtype, layout = state_dtype(x.dtype), layout_of(x)
    inner = channel_stride(x.shape, layout)
    rows, grads = flat(x, timesteps, layout), flat(grad_out, timesteps, layout)
    constants = Dynamics.decode(dynamics)
    path = path_for(rows, constants)
    affine = path.norm_affine(mean, variance, _wide(weight, dtype), _wide(bias, dtype), eps, inner)
    neuron = (
        None,
        current_or_rest(None, x, timesteps, layout, has_current),
        as_channelwise(None, decay, x, layout),
        as_channelwise(None, threshold, x, layout),
        constants,
    )
    first, second = path.backward_sums(
        grads, None, None, rows, *neuron,
        affine=affine, output_scale=output_scale, mean=Channelwise(mean, inner),
    )  # fmt: skip
    each = max(1, x.numel() // max(1, x.shape[1]))
    grad_weight, epilogue = path.norm_epilogue(first, second, mean, variance, affine, eps, each)
    result = path.backward(
        grads, None, None, rows, None, *neuron,
        affine=affine, output_scale=output_scale, epilogue=epilogue if of_batch else None,
    )  # fmt: skip
    return shaped(result.x, x.shape, layout), grad_weight, first


norm_integrate_fire_backward_op = torch.library.custom_op(
    "synfire::norm_integrate_fire_backward", mutates_args=()
)(norm_integrate_fire_backward)


@norm_integrate_fire_backward_op.register_fake
def _(grad_out, x, mean, variance, weight, bias, *constants):  # type: ignore[no-untyped-def]
    return fake_like(x), torch.empty_like(mean), torch.empty_like(mean)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, mean, _, weight, bias, *ctx.constants = inputs
    _, used_mean, used_variance = output
    ctx.of_batch, ctx.eager = mean is None, False
    ctx.save_for_backward(x, used_mean, used_variance, weight, bias)
    ctx.mark_non_differentiable(used_mean, used_variance)


def _backward(ctx: Any, grad_out: Tensor, *_: Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    run: Any = norm_integrate_fire_backward_op
    if ctx.eager and not torch.is_grad_enabled():  # else a second derivative: let torch refuse it
        run = norm_integrate_fire_backward
    g_x, g_weight, g_bias = run(grad_out, *saved, ctx.of_batch, *ctx.constants)
    *_, weight, bias = saved
    return (
        g_x,
        None,
        None,
        None if weight is None else g_weight.to(weight.dtype),
        None if bias is None else g_bias.to(bias.dtype),
        *[None] * len(ctx.constants),
    )


norm_integrate_fire_op.register_autograd(_backward, setup_context=_setup_context)


class NormIntegrateFire(torch.autograd.Function):
    """The same forward and backward pass without torch's operator dispatch."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        output = norm_integrate_fire_forward(*inputs)
        _setup_context(ctx, inputs, output)
        ctx.eager = True
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        return _backward(ctx, *grads)


def norm_integrate_fire(
    x: Tensor,
    timesteps: int,
    dynamics: Dynamics,
    *,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    decay: float = 1.0,
    threshold: float = 1.0,
    output_scale: float = 1.0,
    has_current: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel (axis 1), then integrate, fire and reset over T timesteps from rest.

    Args:
        x: input [T*B, C, ...]; float16 and bfloat16 are normalised in float32.
        timesteps: T.
        dynamics: constants of the neuron (:func:`synfire.kernels.integrate_fire.neuron_dynamics`).
        mean, variance: fixed statistics [C]; None takes those of the batch (variance biased).
        weight, bias: of the BatchNorm [C], or None.
        eps: added to the variance.
        decay, threshold: of the neuron.
        output_scale: worth of one count.
        has_current: whether the neuron has a current.

    Returns:
        counts * output_scale, like x; the mean and variance [C] that were used, without gradients.

    Raises:
        ConfigError, InputError: a shape or value that cannot work.

    Example:
        >>> from synfire.kernels.integrate_fire import neuron_dynamics
        >>> x = torch.tensor([[-3.0], [0.0], [3.0]])
        >>> norm_integrate_fire(x, 1, neuron_dynamics(4, "half_up", unit="count"), threshold=0.5)[0].flatten().tolist()
        [0.0, 0.0, 2.0]
    """
    if not threshold > 0:
        raise ConfigError(f"a threshold must be positive, got {threshold}.")
    if (mean is None) != (variance is None):
        raise ConfigError("fixed statistics are both, mean and variance: give the missing one too.")
    if asks_gradient(mean, variance):
        raise ConfigError(
            "fixed statistics are constants: hand over mean.detach() and variance.detach()."
        )
    run: Any = norm_integrate_fire_op
    if runs_eagerly(x, mean, variance, weight, bias):
        training = asks_gradient(x, weight, bias)
        run = NormIntegrateFire.apply if training else norm_integrate_fire_forward
    out, used_mean, used_variance = run(
        x, mean, variance, weight, bias, float(eps), timesteps, float(decay), float(threshold),
        float(output_scale), dynamics.encode(), has_current,
    )  # fmt: skip
    return announce(out, dynamics.levels, output_scale), used_mean, used_variance
