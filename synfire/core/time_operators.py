"""Operators of the time axis: the only places besides neurons that know how T is folded into the batch.

Each takes or gives the folded tensor and an int ``timesteps``, so that ``torch.export`` never sees a reshape of time.
Results are contiguous whatever the input's layout, as the fake forms promise to compilers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("synfire::repeat_time", mutates_args=())
def repeat_time(x: Tensor, timesteps: int) -> Tensor:
    """Show a static input at each timestep: [B, ...] to [T*B, ...]."""
    return torch.cat([x.contiguous()] * timesteps)


@repeat_time.register_fake
def _(x, timesteps):  # type: ignore[no-untyped-def]
    return x.new_empty((timesteps * x.shape[0], *x.shape[1:]))


@torch.library.custom_op("synfire::sum_time", mutates_args=())
def sum_time(x: Tensor, timesteps: int) -> Tensor:
    """Sum over time: [T*B, ...] to [B, ...]."""
    return x.reshape(timesteps, x.shape[0] // timesteps, *x.shape[1:]).sum(0).contiguous()


@sum_time.register_fake
def _(x, timesteps):  # type: ignore[no-untyped-def]
    return x.new_empty((x.shape[0] // timesteps, *x.shape[1:]))


@torch.library.custom_op("synfire::last_time", mutates_args=())
def last_time(x: Tensor, timesteps: int) -> Tensor:
    """The last timestep: [T*B, ...] to [B, ...]."""
    batch = x.shape[0] // timesteps
    return x[x.shape[0] - batch :].clone(memory_format=torch.contiguous_format)


@last_time.register_fake
def _(x, timesteps):  # type: ignore[no-untyped-def]
    return x.new_empty((x.shape[0] // timesteps, *x.shape[1:]))


@torch.library.custom_op("synfire::last_time_backward", mutates_args=())
def _last_time_backward(grad: Tensor, timesteps: int) -> Tensor:
    silent = grad.new_zeros(((timesteps - 1) * grad.shape[0], *grad.shape[1:]))
    return torch.cat([silent, grad.contiguous()])


@_last_time_backward.register_fake
def _(grad, timesteps):  # type: ignore[no-untyped-def]
    return grad.new_empty((timesteps * grad.shape[0], *grad.shape[1:]))


def _keep_timesteps(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.timesteps = inputs[1]


repeat_time.register_autograd(
    lambda ctx, grad: (sum_time(grad, ctx.timesteps), None), setup_context=_keep_timesteps
)
sum_time.register_autograd(
    lambda ctx, grad: (repeat_time(grad, ctx.timesteps), None), setup_context=_keep_timesteps
)
last_time.register_autograd(
    lambda ctx, grad: (_last_time_backward(grad, ctx.timesteps), None),
    setup_context=_keep_timesteps,
)


def mean_time(x: Tensor, timesteps: int) -> Tensor:
    """Mean over time: [T*B, ...] to [B, ...]."""
    return sum_time(x, timesteps) / timesteps
