"""One layer of neurons on the CPU, [T, 32, 128, 16, 16] float32, T = 4 and T = 16: LIF and integer LIF.

LIF: hard reset, decay 1/2, arctan surrogate. Integer LIF: soft reset, decay 1/4, four levels. Contestants: a copy of
the tensor (what memory allows), ``synfire`` with its output reused and fresh, the equations in a loop of plain torch,
that loop under ``torch.compile``, and the other libraries that are installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from shutil import which
from typing import Any

import torch
from torch import Tensor

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
    same_values,
)
from benchmarks.peers import DECAY, INTEGER_DECAY, LEVELS, Net
from synfire.kernels import explain
from synfire.kernels.integrate_fire import fire, integrate_fire, neuron_dynamics
from synfire.kernels.surrogates import Surrogate

STATE = (32, 128, 16, 16)
ROUNDS = 31
TRAINING_ROUNDS = 15
OURS = "synfire"
REUSED = "synfire, output reused"


@dataclass(frozen=True)
class Neuron:
    """The same neuron as synfire's arguments and as a plain loop; peers are checked against loops of their own."""

    name: str
    decay: float
    dynamics: dict[str, Any]
    loop: Net
    peers: Callable[[], dict[str, tuple[Net, Net]]] = field(default=dict)

    def train(self, x: Tensor) -> Tensor:
        """The operator that training runs, without the last state, as a layer calls it."""
        out, _, _ = integrate_fire(
            x.flatten(0, 1), x.shape[0], decay=self.decay, last_state=False, **self.dynamics
        )
        return out.view(x.shape)

    def infer(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The inference form with float output."""
        folded = None if out is None else out.flatten(0, 1)
        result, _, _ = fire(
            x.flatten(0, 1), x.shape[0], form="float", out=folded, decay=self.decay,
            dynamics=neuron_dynamics(**self.dynamics),
        )  # fmt: skip
        return result.view(x.shape)


def _lif_peers() -> dict[str, tuple[Net, Net]]:
    found = {
        name: (net, peers.lif_loop)
        for name, net in peers.spikingjelly_forms(torch.float32, "cpu").items()
    }
    if find_spec("snntorch"):
        found["snntorch Leaky"] = (peers.snntorch_lif(), peers.lif_loop)
    if find_spec("norse"):
        found["norse LIFBoxCell"] = (peers.norse_lif(), peers.norse_loop)
    return found


def _integer_peers() -> dict[str, tuple[Net, Net]]:
    forms = peers.spikingjelly_integer_forms(torch.float32, "cpu")
    return {name: (net, peers.integer_loop) for name, net in forms.items()}


LIF = Neuron(
    "LIF",
    DECAY,
    {"decay_input": True, "reset": "hard", "surrogate": Surrogate("arctan")},
    peers.lif_loop,
    _lif_peers,
)
INTEGER_LIF = Neuron(
    "integer LIF",
    INTEGER_DECAY,
    {"levels": LEVELS, "rounding": "half_even", "surrogate": Surrogate(), "unit": "count"},
    peers.integer_loop,
    _integer_peers,
)


def check(name: str, net: Net, loop: Net, x: Tensor, grad: Tensor) -> None:
    """Refuse a contestant whose counts or input gradients are not those of its loop."""
    results = []
    for run in (net, loop):
        x.grad = None
        out = run(x)
        out.backward(grad)
        assert x.grad is not None
        results.append((out.detach(), x.grad))
    (counts, gradient), (expected, expected_gradient) = results
    same_counts(name, counts, expected)
    same_values(name, gradient, expected_gradient, error=1e-3)


def training_step(net: Net, x: Tensor, grad: Tensor) -> Callable[[], None]:
    def step() -> None:
        x.grad = None
        net(x).backward(grad)

    return step


def has_compiler() -> bool:
    """Whether torch.compile can build its CPU code."""
    return any(which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name)


def compare(neuron: Neuron, timesteps: int, notes: dict[str, str]) -> dict[str, dict[str, Timing]]:
    """Forward without gradients, then forward and backward; who is left out stands in ``notes``."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(timesteps, *STATE, generator=draw) * 1.5
    grad, out = torch.randn(x.shape, generator=draw), torch.empty_like(x)
    nets = {
        OURS: (neuron.train, neuron.loop),
        "torch loop": (neuron.loop, neuron.loop),
        **neuron.peers(),
    }
    if has_compiler():
        torch.compiler.reset()  # else a second size would be compiled for every size
        compiled = torch.compile(neuron.loop, dynamic=False)
        nets["torch.compile of the loop"] = (compiled, neuron.loop)
    x.requires_grad_()
    check(OURS, *nets[OURS], x, grad)
    for name, pair in list(nets.items()):
        if why_not := or_why_not(partial(check, name, *pair, x, grad)):
            notes[f"{neuron.name}, T={timesteps}, {name}"] = f"left out, {why_not}"
            del nets[name]
    steps = {name: training_step(net, x, grad) for name, (net, _) in nets.items()}
    with torch.no_grad():
        same_counts(REUSED, neuron.infer(x, out), neuron.loop(x))
        target = torch.empty_like(x)
        forward: dict[str, Callable[[], Any]] = {
            "copy": lambda: target.copy_(x),
            REUSED: lambda: neuron.infer(x, out),
            "synfire, fresh output": lambda: neuron.infer(x),
        }
        forward |= {name: lambda net=net: net(x) for name, (net, _) in nets.items() if name != OURS}
        title = f"{neuron.name}, T={timesteps}"
        tables = {f"{title}, forward": measure_together(forward, ROUNDS)}
    tables[f"{title}, forward and backward"] = measure_together(steps, TRAINING_ROUNDS)
    report(f"{title}, forward", tables[f"{title}, forward"], REUSED)
    report(f"{title}, forward and backward", tables[f"{title}, forward and backward"], OURS)
    return tables


def run() -> Outcome:
    """Both neurons at T = 4 and T = 16."""
    where = f"CPU, {torch.get_num_threads()} thread{'s'[: torch.get_num_threads() - 1]}"
    tables: dict[str, dict[str, Timing]] = {}
    targets: list[Target] = []
    notes: dict[str, str] = {}
    for neuron in (LIF, INTEGER_LIF):
        for timesteps in (4, 16):
            title = f"{neuron.name}, T={timesteps}"
            tables |= compare(neuron, timesteps, notes)
            share = 100 * ratio(tables[f"{title}, forward"], "copy", REUSED)
            measure = f"{title}, forward, output reused"
            targets.append(Target(where, measure, 65, share, "% of the roof"))
            training = tables[f"{title}, forward and backward"]
            for name in training:
                if name.startswith("spikingjelly") and timesteps == 4:
                    times = ratio(training, name, OURS)
                    targets.append(
                        Target(where, f"{title}, training step against {name}", 7, times)
                    )
    notes |= {
        "path of the operator": str(explain("integrate_fire", torch.zeros(1, 1))),
        "absent peers": peers.absent(),
        "torch.compile": "timed" if has_compiler() else "needs a C++ compiler, found none",
    }
    return Outcome(tables, targets, notes=notes)
