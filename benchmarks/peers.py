"""The neurons of other libraries, on the fastest path that each documents, and the equations as one would write them.

Every function gives a callable [T, B, ...] to spikes or counts of the same shape, starting from rest at each call.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

Net = Callable[[Tensor], Tensor]
DECAY = 0.5
LEVELS = 4
INTEGER_DECAY = 0.25


class Arctan(torch.autograd.Function):
    """A step whose derivative is 1 / (1 + (pi d)^2)."""

    @staticmethod
    def forward(ctx, distance):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (distance,) = ctx.saved_tensors
        return grad / (1 + (torch.pi * distance) ** 2)


class SuperSpike(torch.autograd.Function):
    """A step whose derivative is 1 / (1 + |d|)^2."""

    @staticmethod
    def forward(ctx, distance):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (distance,) = ctx.saved_tensors
        return grad / (1 + distance.abs()) ** 2


class RoundedCount(torch.autograd.Function):
    """round(clip(h, 0, LEVELS)), straight through inside of [0, LEVELS]."""

    @staticmethod
    def forward(ctx, h):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(h)
        return h.clamp(0, LEVELS).round()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (h,) = ctx.saved_tensors
        return grad * ((h >= 0) & (h <= LEVELS))


def lif_loop(x: Tensor) -> Tensor:
    """LIF with hard reset, membrane in float32; ``unbind``, since indexing has a quadratic backward."""
    v = torch.zeros_like(x[0], dtype=torch.float32)
    spikes = []
    for x_t in x.unbind(0):
        h = DECAY * v + (1 - DECAY) * x_t.float()
        s = Arctan.apply(h - 1)
        v = h * (1 - s.detach())
        spikes.append(s.to(x.dtype))
    return torch.stack(spikes)


def norse_loop(x: Tensor) -> Tensor:
    """The same with norse's surrogate and gradients through the reset."""
    v = torch.zeros_like(x[0], dtype=torch.float32)
    spikes = []
    for x_t in x.unbind(0):
        h = DECAY * v + (1 - DECAY) * x_t.float()
        s = SuperSpike.apply(h - 1)
        v = h * (1 - s)
        spikes.append(s.to(x.dtype))
    return torch.stack(spikes)


def integer_loop(x: Tensor) -> Tensor:
    """Integer LIF: counts up to LEVELS, soft reset without gradient."""
    v = torch.zeros_like(x[0], dtype=torch.float32)
    counts = []
    for x_t in x.unbind(0):
        h = INTEGER_DECAY * v + x_t.float()
        s = RoundedCount.apply(h)
        v = h - s.detach()
        counts.append(s.to(x.dtype))
    return torch.stack(counts)


def _kept_from_rest(module: Any) -> Net:
    """A spikingjelly module that forgets its membrane after every call."""
    from spikingjelly.activation_based import functional

    def run(x: Tensor) -> Tensor:
        out = module(x)
        functional.reset_net(module)
        return out

    return run


def spikingjelly_lif() -> Any:
    """``LIFNode``, several steps at once; on CUDA it takes its fused kernels by itself."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=2.0, surrogate_function=surrogate.ATan(alpha=2.0), detach_reset=True, step_mode="m"
    )


def spikingjelly_integer() -> Any:
    """``ILIFNode``."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.ILIFNode(
        surrogate_function=surrogate.MultiLevelSpikeCount(LEVELS),
        detach_reset=True,
        step_mode="m",
    )


def _spikingjelly_lif_float32_state(x: Tensor) -> Tensor:
    """The functional form, which lets a half-precision input have a float32 membrane and so its fused kernel."""
    from spikingjelly.activation_based import functional, surrogate

    v = torch.zeros_like(x[0], dtype=torch.float32)
    atan = surrogate.ATan(alpha=2.0)
    return functional.neuron.lif_multi_step(x, v, 2.0, True, 1.0, 0.0, atan, True)[0]


def _spikingjelly_integer_float32_state(x: Tensor) -> Tensor:
    from spikingjelly.activation_based import functional, surrogate

    v = torch.zeros_like(x[0], dtype=torch.float32)
    counts = surrogate.MultiLevelSpikeCount(LEVELS)
    return functional.neuron.ilif_multi_step(x, v, 4 / 3, 1.0, counts, True)[0]


def with_precision(model: Any, dtype: torch.dtype) -> Any:
    """A spikingjelly model whose neurons keep their state in ``dtype``, through its precision settings."""
    from spikingjelly.activation_based.precision import prepare_model_for_precision

    name = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    config = {"mode": name, "neuron_storage": name}
    return prepare_model_for_precision(model.cuda(), "cuda", config).model


def spikingjelly_forms(dtype: torch.dtype, device: str) -> dict[str, Net]:
    """LIF in every documented way: the module, and for half precision the two that keep the fused kernels."""
    if not find_spec("spikingjelly"):
        return {}
    forms = {"spikingjelly LIFNode": _kept_from_rest(spikingjelly_lif())}
    if device == "cuda" and dtype != torch.float32:
        forms["spikingjelly lif_multi_step, float32 state"] = _spikingjelly_lif_float32_state
        forms["spikingjelly LIFNode, precision settings"] = _kept_from_rest(
            with_precision(spikingjelly_lif(), dtype)
        )
    return forms


def spikingjelly_integer_forms(dtype: torch.dtype, device: str) -> dict[str, Net]:
    """The same for I-LIF, which has no precision settings."""
    if not find_spec("spikingjelly"):
        return {}
    forms = {"spikingjelly ILIFNode": _kept_from_rest(spikingjelly_integer())}
    if device == "cuda" and dtype != torch.float32:
        forms["spikingjelly ilif_multi_step, float32 state"] = _spikingjelly_integer_float32_state
    return forms


def spikingjelly_kernels() -> str:
    """Which implementation its neurons have on this GPU, and why not the others."""
    if not find_spec("spikingjelly"):
        return "absent"
    from spikingjelly.activation_based import functional

    device = torch.device("cuda")
    return "; ".join(
        f"{name}: {functional.neuron.neuron_implementation(name, device)}"
        for name in ("lif", "ilif")
    )


def snntorch_lif() -> Net:
    """``Leaky`` with reset to zero; it does not scale its input, so the input is halved here."""
    import snntorch
    from snntorch import surrogate

    cell = snntorch.Leaky(
        beta=DECAY, spike_grad=surrogate.atan(alpha=2.0), reset_mechanism="zero", threshold=1.0
    )

    def run(x: Tensor) -> Tensor:
        mem = torch.zeros_like(x[0])
        spikes = []
        for x_t in (x * (1 - DECAY)).unbind(0):
            s, mem = cell(x_t, mem)
            spikes.append(s)
        return torch.stack(spikes)

    return run


def norse_lif() -> Net:
    """``LIFBoxCell``: the LIF of norse without a synaptic current."""
    import norse.torch as norse

    parameters = norse.LIFBoxParameters(tau_mem_inv=torch.as_tensor(1000 * DECAY))
    cell = norse.LIFBoxCell(parameters)

    def run(x: Tensor) -> Tensor:
        state = None
        spikes = []
        for x_t in x.unbind(0):
            s, state = cell(x_t, state)
            spikes.append(s)
        return torch.stack(spikes)

    return run


def absent() -> str:
    """The peers that are not installed."""
    missing = [name for name in ("spikingjelly", "norse", "snntorch") if not find_spec(name)]
    return ", ".join(missing) or "none"
