"""One layer of neurons on a CUDA device, [4, 64, 256, 28, 28]: 51 M elements, as many with T = 16 and with T = 1.

Forward and backward of ``synfire``'s neurons against a copy of the bytes that they must move; training steps against
spikingjelly in every form that it documents; BatchNorm and neuron as one operator against two. Contestants are timed
only after their counts and gradients were checked.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.harness import (
    Outcome,
    Target,
    Timing,
    gpu_name,
    kernels_of,
    measure_on_gpu,
    or_why_not,
    ratio,
    report,
    same_counts,
    same_values,
)
from benchmarks.kernels.integrate_fire import INTEGER_LIF, LIF, Neuron, training_step
from benchmarks.memory import kept_bytes
from benchmarks.peers import Net
from synfire.core.time import TimeContext, time_context
from synfire.kernels import explain
from synfire.layers.norm_neuron import norm_neuron
from synfire.neurons import IntegerLIF

DEVICE = "cuda"
BATCH = 64
STATE = (256, 28, 28)
FLOAT32, FLOAT16, BFLOAT16 = torch.float32, torch.float16, torch.bfloat16
ROOFS = {
    (FLOAT32, 4): 93.0,
    (FLOAT16, 4): 90.0,
    (BFLOAT16, 4): 90.0,
    (FLOAT32, 16): 85.0,
    (FLOAT16, 16): 85.0,
    (BFLOAT16, 16): 85.0,
}
PEERS = {(FLOAT32, 4): 3.5, (FLOAT16, 4): 18.0, (FLOAT16, 16): 50.0}
Tables = dict[str, dict[str, Timing]]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def drawn(timesteps: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """An input that spikes and a gradient [T, B, 256, 28, 28]; T * B is always the same."""
    draw = torch.Generator(DEVICE).manual_seed(0)
    shape = (timesteps, max(1, 4 * BATCH // timesteps), *STATE)
    x = torch.randn(shape, generator=draw, device=DEVICE) * 1.5 + 0.5
    return x.to(dtype), torch.randn(shape, generator=draw, device=DEVICE).to(dtype)


def check(name: str, net: Net, loop: Net, x: Tensor, grad: Tensor, share: float) -> None:
    """Refuse a contestant whose counts or gradients are not those of the loop, on an eighth of the batch.

    Every flipped spike changes some gradients wholly, so that their relative error is about the root of the share.
    """
    few = x[:, : max(1, x.shape[1] // 8)].detach().clone().requires_grad_()
    few_grad = grad[:, : few.shape[1]].contiguous()
    results = []
    for run in (net, loop):
        few.grad = None
        out = run(few)
        out.backward(few_grad)
        results.append((out.detach(), few.grad))
    (counts, gradient), (expected, expected_gradient) = results
    same_counts(name, counts, expected, share)
    precision = 1e-4 if x.dtype == FLOAT32 else 1e-2
    same_values(name, gradient, expected_gradient, max(precision, 2 * share**0.5))


def roofs() -> tuple[Tables, list[Target]]:
    """Forward and backward as shares of a copy that moves the same bytes."""
    tables, targets = {}, []
    for (dtype, timesteps), bound in ROOFS.items():
        for neuron in (INTEGER_LIF, LIF):
            x, grad = drawn(timesteps, dtype)
            check("synfire", neuron.train, neuron.loop, x, grad, share=1e-5)
            target = torch.empty_like(x)
            leaf = x.detach().requires_grad_()
            out = neuron.train(leaf)
            table = measure_on_gpu(
                {
                    "copy": partial(target.copy_, x),
                    "forward": partial(neuron.train, leaf),
                    "backward": partial(torch.autograd.grad, out, leaf, grad, retain_graph=True),
                }
            )
            title = f"{neuron.name}, {_name(dtype)}, T={timesteps}"
            report(title, table, "copy")
            tables[title] = table
            if neuron is INTEGER_LIF:  # it keeps a bit an element; the LIF reads its input again
                moved = 1 + 1 / 8 / (2 * x.element_size())
                for way in ("forward", "backward"):
                    share = 100 * moved * ratio(table, "copy", way)
                    targets.append(
                        Target(gpu_name(), f"{title}, {way}", bound, share, "% of the roof")
                    )
    return tables, targets


def against_peers() -> tuple[Tables, list[Target], dict[str, str]]:
    """Training steps with the loops under torch.compile and spikingjelly's forms; notes on what these ran."""
    tables, targets, notes = {}, [], {}
    for (dtype, timesteps), bound in PEERS.items():
        for neuron, forms in (
            (LIF, peers.spikingjelly_forms(dtype, DEVICE)),
            (INTEGER_LIF, peers.spikingjelly_integer_forms(dtype, DEVICE)),
        ):
            title = f"{neuron.name}, {_name(dtype)}, T={timesteps}, training step"
            table, said = _training(neuron, forms, timesteps, dtype)
            notes |= {f"{title}, {name}": note for name, note in said.items()}
            report(title, table, "synfire")
            tables[title] = table
            for name in forms:
                if name in table:
                    times = ratio(table, name, "synfire")
                    targets.append(Target(gpu_name(), f"{title} against {name}", bound, times))
    return tables, targets, notes


def _training(
    neuron: Neuron, forms: dict[str, Net], timesteps: int, dtype: torch.dtype
) -> tuple[dict[str, Timing], dict[str, str]]:
    x, grad = drawn(timesteps, dtype)
    nets: dict[str, Net] = {"synfire": neuron.train}
    notes = {}
    check("synfire", neuron.train, neuron.loop, x, grad, share=1e-5)
    share = 1e-5 if dtype == FLOAT32 else 5e-3  # some keep their state in half precision
    torch.compiler.reset()  # else a second size would be compiled for every size
    compiled = torch.compile(neuron.loop, dynamic=False)
    for name, net in {"torch.compile of the loop": compiled, **forms}.items():
        why_not = or_why_not(partial(check, name, net, neuron.loop, x, grad, share))
        if why_not is None:
            nets[name] = net
        else:
            notes[name] = f"left out, {why_not}"
    x.requires_grad_()
    steps = {name: training_step(net, x, grad) for name, net in nets.items()}
    for name in nets:
        if name in forms:
            notes[name] = kernels_of(steps[name])
    return measure_on_gpu(steps), notes


def norm_and_neuron() -> tuple[Tables, list[Target], dict[str, dict[str, float]]]:
    """Training steps of BatchNorm and integer LIF: torch's BatchNorm with our neuron, and our one operator."""
    tables, targets, memory = {}, [], {}
    for dtype in (FLOAT32, BFLOAT16):
        for timesteps, layout in (
            (1, torch.channels_last),
            (4, torch.channels_last),
            (4, torch.contiguous_format),
        ):
            x, grad = (
                part.flatten(0, 1).contiguous(memory_format=layout)
                for part in drawn(timesteps, dtype)
            )
            norm, neuron = torch.nn.BatchNorm2d(x.shape[1], device=DEVICE), IntegerLIF(4, timesteps)
            ways: dict[str, Net] = {
                "two operators": _timed(partial(_two, norm, neuron), timesteps),
                "one operator": _timed(partial(_one, norm, neuron), timesteps),
            }
            x.requires_grad_()
            place = str(layout).removeprefix("torch.").removesuffix("_format").replace("_", " ")
            title = f"BatchNorm and integer LIF, {_name(dtype)}, T={timesteps}, {place}"
            _check_norm(ways, norm, x, grad)
            kept = {name: _kept(way, x) for name, way in ways.items()}
            memory[f"{title}: bytes kept an element"] = kept
            table = measure_on_gpu({name: training_step(w, x, grad) for name, w in ways.items()})
            report(title, table, "one operator")
            tables[title] = table
            times = ratio(table, "two operators", "one operator")
            targets += [
                Target(gpu_name(), f"{title}, training, one operator against two", 1.4, times),
                Target(
                    gpu_name(), f"{title}, kept for backward",
                    x.element_size() + (1 / 8 if timesteps == 1 else 5 / 8),
                    kept["one operator"], "bytes", at_most=True,
                ),
            ]  # fmt: skip
    return tables, targets, memory


def _two(norm: torch.nn.Module, neuron: IntegerLIF, x: Tensor) -> Tensor:
    return neuron(norm(x))


def _one(norm: torch.nn.Module, neuron: IntegerLIF, x: Tensor) -> Tensor:
    return norm_neuron(x, norm, neuron)


def _timed(way: Net, timesteps: int) -> Net:
    """``way`` with folded tensors, inside of a container that tells its neurons T."""

    def run(x: Tensor) -> Tensor:
        with time_context(TimeContext(timesteps)):
            return way(x)

    return run


def _kept(way: Net, x: Tensor) -> float:
    """Bytes an element; the input existed before, but BatchNorm keeps it alive."""
    return x.element_size() + kept_bytes(partial(way, x)) / x.numel()


def _check_norm(ways: dict[str, Net], norm: torch.nn.Module, x: Tensor, grad: Tensor) -> None:
    """Equal counts and gradients of input and weight, but for what rounding between two operators changes."""
    results = []
    for way in ways.values():
        x.grad, norm.weight.grad = None, None
        out = way(x)
        out.backward(grad)
        results.append((out.detach(), x.grad, norm.weight.grad))
    (counts, *gradients), (expected, *expected_gradients) = results
    share = 1e-4 if x.dtype == FLOAT32 else 2e-2
    same_counts("one operator", counts, expected, share)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        same_values("one operator", gradient, expected_gradient, 2 * share**0.5)


def run() -> Outcome:
    """All tables; see the module."""
    tables, targets = roofs()
    more_tables, more_targets, notes = against_peers()
    norm_tables, norm_targets, memory = norm_and_neuron()
    notes |= {
        "path of the operator": str(explain("integrate_fire", torch.zeros(1, 1, device=DEVICE))),
        "spikingjelly's kernels": peers.spikingjelly_kernels(),
        "absent peers": peers.absent(),
    }
    tables |= more_tables | norm_tables
    return Outcome(tables, targets + more_targets + norm_targets, memory, notes)
