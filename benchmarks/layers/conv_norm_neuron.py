"""Three times convolution, BatchNorm and LIF on the CPU: T = 4, batch 16, training step and inference.

Once with 32 channels of 32x32, once with 64 channels of 16x16. All nets have the same weights. For inference every
net's BatchNorm is folded into its convolution (``torch.nn.utils.fuse_conv_bn_eval``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from benchmarks import peers
from benchmarks.harness import (
    Outcome,
    Target,
    Timing,
    measure_together,
    or_why_not,
    ratio,
    report,
    same_counts,
)
from benchmarks.kernels.integrate_fire import has_compiler
from benchmarks.layers.chain import check, ours, theirs, training_step
from benchmarks.peers import DECAY, Net
from synfire.neurons import LIF

SHAPES = ((32, 32), (64, 16))
TIMESTEPS, BATCH, LAYERS = 4, 16, 3
ROUNDS = 11
OURS = "synfire"


def _neuron() -> nn.Module:
    return LIF(TIMESTEPS, decay=DECAY, decay_input=True, reset="hard", surrogate="arctan")


def _rivals() -> dict[str, tuple[Callable[[], Net], Net]]:
    """Name to a factory of neurons, and the loop that they must equal."""
    found: dict[str, tuple[Callable[[], Net], Net]] = {
        "torch loop": (lambda: peers.lif_loop, peers.lif_loop)
    }
    if find_spec("spikingjelly"):
        found["spikingjelly LIFNode"] = (
            lambda: peers.spikingjelly_forms(torch.float32, "cpu")["spikingjelly LIFNode"],
            peers.lif_loop,
        )
    if find_spec("snntorch"):
        found["snntorch Leaky"] = (peers.snntorch_lif, peers.lif_loop)
    if find_spec("norse"):
        found["norse LIFBoxCell"] = (peers.norse_lif, peers.norse_loop)
    return found


def _nets(channels: int, size: int, notes: dict[str, str]) -> dict[str, nn.Module]:
    """All nets, checked with one layer, where no flipped spike can spread; who is left out stands in ``notes``."""
    x, grad = _drawn(channels, size)
    nets = {OURS: ours(_neuron, TIMESTEPS, LAYERS, channels)}
    one = ours(_neuron, TIMESTEPS, 1, channels)
    check(OURS, one, theirs(lambda: peers.lif_loop, TIMESTEPS, 1, channels), x, grad, 1e-5)
    for name, (factory, loop) in _rivals().items():
        expected = theirs(lambda loop=loop: loop, TIMESTEPS, 1, channels)
        rival = theirs(factory, TIMESTEPS, 1, channels)
        why_not = or_why_not(partial(check, name, rival, expected, x, grad, 1e-5))
        if why_not is None:
            nets[name] = theirs(factory, TIMESTEPS, LAYERS, channels)
        else:
            notes[name] = f"left out, {why_not}"
    if has_compiler():
        torch.compiler.reset()  # else the second shape would be compiled for every shape
        plain = partial(theirs, lambda: peers.lif_loop, TIMESTEPS)
        for what, build in (
            ("the plain net", plain),
            ("synfire", partial(ours, _neuron, TIMESTEPS)),
        ):
            name = f"torch.compile of {what}"
            small = torch.compile(build(1, channels), dynamic=False)
            why_not = or_why_not(partial(check, name, small, plain(1, channels), x, grad, 1e-5))
            if why_not is None:
                nets[name] = torch.compile(build(LAYERS, channels), dynamic=False)
            else:
                notes[name] = f"left out, {why_not}"
    return nets


def _drawn(channels: int, size: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (TIMESTEPS, BATCH, channels, size, size)
    spikes = (torch.rand(shape, generator=draw) < 0.2).float()
    return spikes, torch.randn(shape, generator=draw)


def folded_norms(net: nn.Module) -> nn.Module:
    """``net`` in eval with every BatchNorm folded into the convolution before it."""
    net.eval()
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            for index, (conv, norm) in enumerate(pairwise(module)):
                if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d):
                    module[index], module[index + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return net


def compare(channels: int, size: int, notes: dict[str, str]) -> dict[str, dict[str, Timing]]:
    """Training steps, then inference, of all nets."""
    x, grad = _drawn(channels, size)
    nets = _nets(channels, size, notes)
    title = f"{channels} channels of {size}x{size}"
    steps = {name: training_step(net, x, grad) for name, net in nets.items()}
    tables = {f"{title}, training step": measure_together(steps, ROUNDS)}
    nets = {name: folded_norms(net) for name, net in nets.items()}
    with torch.no_grad():
        expected = nets["torch loop"](x)
        for name, net in nets.items():  # statistics moved apart by flipped spikes while training
            same_counts(name, net(x), expected, share=2e-2)
        calls = {name: lambda net=net: net(x) for name, net in nets.items()}
        tables[f"{title}, inference"] = measure_together(calls, ROUNDS)
    for part, table in tables.items():
        report(part, table, OURS)
    return tables


def run() -> Outcome:
    """Both shapes."""
    threads = torch.get_num_threads()
    where = f"CPU, {threads} thread{'s'[: threads - 1]}"
    tables: dict[str, dict[str, Timing]] = {}
    notes = {"absent peers": peers.absent()}
    for shape in SHAPES:
        tables |= compare(*shape, notes)
    targets = []
    for title, table in tables.items():
        bound = 1.3 if "training" in title else 1.7
        named = [name for name in table if name.split()[0] in ("spikingjelly", "snntorch", "norse")]
        if named:
            best = min(named, key=lambda name: table[name].median)
            measure = f"conv-BN-LIF x3, {title}, against the best peer"
            times = ratio(table, best, OURS)
            targets.append(Target(where, measure, bound, times, note=f"the best is {best}"))
    return Outcome(tables, targets, notes=notes)
