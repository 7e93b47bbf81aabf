"""BatchNorm followed by a neuron, run as one operator: a pass over memory less in each direction, nothing more kept."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from synfire.core.errors import InputError
from synfire.core.tracing import is_tracing
from synfire.kernels.integrate_fire import neuron_dynamics
from synfire.kernels.norm_integrate_fire import norm_integrate_fire
from synfire.layers.packed_activations import consume
from synfire.neurons.spiking import SpikingNeuron

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def norm_neuron(x: Tensor, norm: nn.Module, neuron: nn.Module) -> Tensor:
    """``neuron(norm(x))``, as one operator where that is possible.

    It is for BatchNorm (not the synchronised one) with a neuron of constant decay and threshold, in float32, float16
    and bfloat16, from rest; a Stream, a trace for export, float64 and modules with hooks run the two modules one after
    the other. Both ways normalise with the same statistics and update the running ones alike; float rounding differs.

    Args:
        x: [T*B, C, ...].
        norm, neuron: modules; their parameters and buffers are used in place.

    Example:
        >>> from synfire.neurons import IntegerLIF
        >>> norm_neuron(torch.rand(4, 3, 5, 5), nn.BatchNorm2d(3), IntegerLIF(4)).shape
        torch.Size([4, 3, 5, 5])
    """
    fused = (
        type(norm) in _NORMS
        and isinstance(neuron, SpikingNeuron)
        and x.dtype != torch.float64
        and not is_tracing()
        and not _hooked(norm)
        and not _hooked(neuron)
        and not any(isinstance(value, Tensor) for value in neuron.parameters_now().values())
        and not neuron.streams()
    )
    if not fused:
        out: Tensor = neuron(norm(x))
        return out
    return _fused(x, norm, neuron)  # type: ignore[arg-type]


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _fused(x: Tensor, norm: nn.BatchNorm2d, neuron: SpikingNeuron) -> Tensor:
    norm._check_input_dim(x)
    of_batch = norm.training or norm.running_mean is None
    if of_batch and x.numel() <= x.shape[1]:
        raise InputError(
            f"batch statistics need more than one value a channel, got shape {tuple(x.shape)}: "
            "train with larger batches, or call norm.eval()."
        )
    constants = dict(neuron.constants)
    out, mean, variance = norm_integrate_fire(
        x,
        neuron.timesteps,
        neuron_dynamics(
            levels=neuron.levels,
            reset=neuron.reset,
            surrogate=neuron.surrogate,
            **{key: value for key, value in constants.items() if key not in ("decay", "threshold")},
        ),
        mean=None if of_batch else norm.running_mean,
        variance=None if of_batch else norm.running_var,
        weight=norm.weight,
        bias=norm.bias,
        eps=norm.eps,
        decay=constants.get("decay", 1.0),
        threshold=constants.get("threshold", 1.0),
        output_scale=neuron.scale,
        has_current=constants.get("current_decay") is not None,
    )
    if norm.training and norm.track_running_stats:
        _update(norm, mean, variance, x.numel() // x.shape[1])
    return out


@torch.no_grad()
def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, elements: int) -> None:
    """Running statistics, as BatchNorm keeps them: the variance unbiased."""
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share: float | Tensor = norm.momentum or 0.0
    if norm.momentum is None:
        share = 1.0 / norm.num_batches_tracked.to(norm.running_mean.dtype)
    unbiased = variance * (elements / (elements - 1))
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), share)


class NormNeuron(nn.Module):
    """:func:`norm_neuron` as a module, with the children ``norm`` and ``neuron``.

    Example:
        >>> from synfire.neurons import IntegerLIF
        >>> layer = NormNeuron(nn.BatchNorm2d(3), IntegerLIF(4))
        >>> layer(torch.rand(4, 3, 5, 5)).shape
        torch.Size([4, 3, 5, 5])
    """

    def __init__(self, norm: nn.Module, neuron: nn.Module) -> None:
        super().__init__()
        self.norm, self.neuron = norm, neuron

    def forward(self, x: Tensor) -> Tensor:
        return norm_neuron(x, self.norm, self.neuron)


class SpikingSequential(nn.Sequential):
    """A Sequential that runs every BatchNorm directly before a neuron as one operator with it.

    A BatchNorm may also end a Sequential inside (a :class:`ConvNorm`, say). Names of parameters are those of a plain
    Sequential.

    Example:
        >>> from synfire.layers import ConvNorm
        >>> from synfire.neurons import IntegerLIF
        >>> SpikingSequential(ConvNorm(1, 4), IntegerLIF(4))(torch.rand(2, 1, 6, 6)).shape
        torch.Size([2, 4, 6, 6])
    """

    def forward(self, input: Tensor) -> Tensor:
        if is_tracing():  # a graph names nodes after the modules that are called
            out: Tensor = super().forward(input)
            return out
        waiting: nn.Module | None = None
        emitter: SpikingNeuron | None = None
        for module in _leaves(self):
            if waiting is not None and isinstance(module, SpikingNeuron):
                input, waiting = norm_neuron(input, waiting, module), None
            else:
                if waiting is not None:
                    input = waiting(input)
                waiting = module if type(module) in _NORMS else None
                if waiting is None:
                    input = consume(module, input, emitter)
            emitter = module if isinstance(module, SpikingNeuron) else None
        return input if waiting is None else waiting(input)


def _leaves(chain: nn.Sequential) -> Iterator[nn.Module]:
    """The modules of a Sequential in order, those of plain Sequentials inside in their places."""
    for module in chain:
        if not isinstance(module, nn.Sequential) or _hooked(module):
            yield module
        elif type(module).forward in _FORWARDS:
            yield from _leaves(module)
        else:
            yield module


_FORWARDS = (nn.Sequential.forward, SpikingSequential.forward)


def fuse_norms(net: nn.Module) -> nn.Module:
    """``net`` with every plain ``nn.Sequential`` replaced by a :class:`SpikingSequential` of the same children.

    Parameters stay the same objects with the same names. Returns ``net`` itself, or what replaces it where it is a
    plain Sequential.

    Example:
        >>> from synfire.neurons import IntegerLIF
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), IntegerLIF(4))
        >>> type(fuse_norms(net)).__name__
        'SpikingSequential'
    """
    for name, child in net.named_children():
        fused = fuse_norms(child)
        if fused is not child:
            setattr(net, name, fused)
    if type(net) is not nn.Sequential:
        return net
    chain = SpikingSequential()
    chain.__dict__.update(net.__dict__)
    return chain
