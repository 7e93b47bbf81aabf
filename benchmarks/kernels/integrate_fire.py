"""One layer of LIF neurons, [T, 32, 128, 16, 16] float32, hard reset, arctan surrogate.

Contestants: a copy of the tensor (what memory allows), ``synfire.neurons.LIF``, the same equations
in a loop of plain torch, that loop under ``torch.compile``, and, where it is installed,
spikingjelly's LIFNode. All give equal spikes; that is checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.harness import Timing, measure_together, report
from synfire import TimeFolded
from synfire.core.errors import SynfireError
from synfire.neurons import LIF

STATE = (32, 128, 16, 16)
DECAY = 0.5
Net = Callable[[Tensor], Tensor]


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


def loop(x: Tensor) -> Tensor:
    """The equations as one would write them; ``unbind``, since indexing has a quadratic backward."""
    v = torch.zeros_like(x[0])
    spikes = []
    for x_t in x.unbind(0):
        h = DECAY * v + (1 - DECAY) * x_t
        s = Arctan.apply(h - 1)
        v = h * (1 - s.detach())
        spikes.append(s)
    return torch.stack(spikes)


def synfire_lif(timesteps: int) -> Net:
    neuron = LIF(timesteps, decay=DECAY, decay_input=True, reset="hard", surrogate="arctan")
    return TimeFolded(neuron, timesteps=timesteps, readout="none")


def spikingjelly_lif() -> Net:
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=2.0, surrogate_function=surrogate.ATan(alpha=2.0), detach_reset=True, step_mode="m"
    )

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


def contestants(timesteps: int) -> dict[str, Net]:
    nets: dict[str, Net] = {
        "synfire": synfire_lif(timesteps),
        "torch loop": loop,
        "torch.compile of the loop": torch.compile(loop),
    }
    if find_spec("spikingjelly"):
        nets["spikingjelly"] = spikingjelly_lif()
    return nets


def check(nets: dict[str, Net], x: Tensor) -> None:
    """Equal spikes up to one in a million: an equal equation may round differently at the threshold."""
    expected = nets["torch loop"](x)
    for name, net in nets.items():
        share = float((net(x) != expected).float().mean())
        if share > 1e-6:
            raise SynfireError(f"{name} gives other spikes in {share:.1%} of all places")


def training_step(net: Net, x: Tensor, grad: Tensor) -> Callable[[], None]:
    def step() -> None:
        x.grad = None
        net(x).backward(grad)

    return step


def run() -> dict[str, dict[str, Timing]]:
    """Forward without and with gradients, T = 4 and T = 16."""
    tables = {}
    for timesteps in (4, 16):
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(timesteps, *STATE, generator=draw) * 1.5
        grad, copy = torch.randn(x.shape, generator=draw), torch.empty_like(x)
        nets = contestants(timesteps)
        with torch.no_grad():
            check(nets, x)
            roof = {"copy": lambda copy=copy, x=x: copy.copy_(x)}
            forward = {name: lambda net=net, x=x: net(x) for name, net in nets.items()}
            tables[f"forward, T={timesteps}"] = measure_together(roof | forward)
        x.requires_grad_()
        steps = {name: training_step(net, x, grad) for name, net in nets.items()}
        tables[f"forward and backward, T={timesteps}"] = measure_together(steps)
    for title, table in tables.items():
        report(title, table, "synfire")
    return tables
