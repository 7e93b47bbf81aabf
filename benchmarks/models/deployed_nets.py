"""Whole trained nets on the CPU: event inference against a dense pass in float32 and int8, batch 1 and 256.

Nets: ``spiking_cnn_tiny`` on scikit-learn's digits and ``spiking_cnn_small`` on MNIST (where the folder in
``SYNFIRE_DATA`` has it), with counts of 0..4 in one timestep and with binary spikes in four, with and without the spike
budget of training. Two are the shipped ones, the others are trained here, shortly, into ``runs/deployed_nets``.

Contestants: ``synfire`` (the event executor, which chooses between events and its own dense products), the same held
to dense products, torch's float32 kernels (eager, and frozen for oneDNN), and static int8 on FBGEMM and oneDNN. Binary
nets run four timesteps, in every contestant; torch has no int8 form of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import synfire
from benchmarks.harness import (
    Disagreement,
    Outcome,
    Target,
    Timing,
    measure_together,
    or_why_not,
    ratio,
    report,
)
from benchmarks.models.dense_nets import Pass, dense_bytes, dense_floats, dense_frozen
from synfire.export import SpikeGraph, trace
from synfire.export.executors import execute
from synfire.export.executors.event import EventExecutor
from synfire.training import fit, load_recipe, load_trained

RUNS = Path("runs/deployed_nets")
BATCHES = {1: 300, 256: 21}
AS_FAST = 0.95  # of the best dense pass
WITH_BUDGET = 2.0
ENGINES = {"fbgemm": "FBGEMM", "onednn": "oneDNN"}
MNIST = "image/mnist"


@dataclass(frozen=True)
class Deployed:
    """One trained net: which, and how."""

    data: str
    model: str
    levels: int
    timesteps: int
    budget: float
    shipped: bool
    training: tuple[str, ...]

    @property
    def title(self) -> str:
        budget = "with" if self.budget else "without"
        return f"{self.data}, D={self.levels} T={self.timesteps}, {budget} budget"

    def net(self) -> nn.Module:
        if self.shipped:
            return synfire.create_model(self.model, pretrained=self.data)
        folder = RUNS / self.title.replace(", ", "_").replace(" ", "_")
        if or_why_not(lambda: load_trained(folder)) is None:
            return load_trained(folder)[1].net
        print(f"training {self.title} ...", flush=True)
        overrides = (
            f"--model.levels={self.levels}", f"--model.timesteps={self.timesteps}",
            f"--budget.weight={self.budget}", "--train.watch=none", *self.training,
        )  # fmt: skip
        threads = torch.get_num_threads()
        net = fit(load_recipe(self.data, overrides), folder, overwrite=True, progress=False).net
        torch.set_num_threads(threads)
        return net


def nets() -> Iterator[Deployed]:
    folder = os.environ.get("SYNFIRE_DATA")
    rooms = {"digits": ("spiking_cnn_tiny", 0.1, ("--train.epochs=15",))}
    if folder and (Path(folder) / MNIST).is_dir():
        root = f"--data.root={Path(folder) / MNIST}"
        rooms["mnist"] = (
            "spiking_cnn_small", 0.2, (root, "--train.epochs=3", "--data.limit=10000"),
        )  # fmt: skip
    for data, (model, weight, training) in rooms.items():
        for levels, timesteps in ((4, 1), (1, 4)):
            for budget in (weight, 0.0):
                shipped = bool(budget) and timesteps == 1
                yield Deployed(data, model, levels, timesteps, budget, shipped, training)


def images_of(net: Deployed) -> tuple[Tensor, Tensor]:
    """256 test images [256, 1, H, W] of 0..1, and their labels."""
    options = [option for option in net.training if option.startswith("--data.root")]
    test = load_recipe(net.data, options).data.load().test
    chosen = torch.arange(256)
    return test.batch(chosen), test.labels[chosen]


def layers(graph: SpikeGraph, x: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """For each neuron the share of counts that are not zero, and their mean."""
    counts = execute(graph, x, record=True).counts
    shares = {name: float((value > 0).float().mean()) for name, value in counts.items()}
    return shares, {name: float(value.mean()) for name, value in counts.items()}


def contestants(graph: SpikeGraph, x: Tensor) -> dict[str, Pass]:
    """Ours and the dense passes, each checked against the ordinary executor."""
    expected = execute(graph, x).output
    calls: dict[str, Pass] = {
        "synfire float32": EventExecutor(graph),
        "synfire float32, dense": EventExecutor(graph, density_limit=0.0),
        "synfire int8": EventExecutor(graph, weights="int8"),
        "synfire int8, dense": EventExecutor(graph, weights="int8", density_limit=0.0),
        "torch float32": dense_floats(graph),
    }
    if graph.timesteps == 1:
        if or_why_not(lambda: dense_frozen(graph, x)) is None:
            calls["torch float32, frozen"] = dense_frozen(graph, x)
        for engine, name in ENGINES.items():
            if engine in torch.backends.quantized.supported_engines:
                calls[f"torch int8, {name}"] = dense_bytes(graph, engine)
    for name, call in calls.items():
        check(name, call(x), expected)
    return calls


def check(name: str, out: Tensor, expected: Tensor) -> None:
    """float32 gives the same logits but for flips on thresholds; int8 mostly the same digits."""
    agreeing = float((out.argmax(1) == expected.argmax(1)).float().mean())
    if agreeing < (0.99 if "float32" in name else 0.85):
        raise Disagreement(f"{name} gives the same digit on {agreeing:.1%} of the images only")
    if "float32" in name:
        near = ((out - expected).abs() < 1e-3).all(1).float().mean()
        if near < 0.99:
            raise Disagreement(
                f"{name} gives the same logits on {float(near):.1%} of the images only"
            )


def compare(graph: SpikeGraph, x: Tensor, title: str) -> dict[str, dict[str, Timing]]:
    tables = {}
    for batch, rounds in BATCHES.items():
        some = x[:, :batch].contiguous()
        calls = contestants(graph, some if batch > 1 else x)
        timed: dict[str, Callable[[], Any]] = {
            name: lambda call=call, some=some: call(some) for name, call in calls.items()
        }
        tables[f"{title}, batch {batch}"] = measure_together(timed, rounds)
        report(f"{title}, batch {batch}", tables[f"{title}, batch {batch}"], "synfire float32")
    return tables


def targets_of(net: Deployed, tables: dict[str, dict[str, Timing]], where: str) -> list[Target]:
    targets = []
    for batch in BATCHES:
        table = tables[f"{net.title}, batch {batch}"]
        for kind in ("float32", "int8"):
            mine = f"synfire {kind}"
            dense = [name for name in table if kind in name and name != mine]
            peers = [name for name in dense if name.startswith("torch")]
            best = min(dense, key=lambda name: table[name].median)
            measure = f"{net.title}, batch {batch}, {kind}: chosen path against {best}"
            targets.append(Target(where, measure, AS_FAST, ratio(table, best, mine)))
            if batch == 1 and net.budget and peers:
                best = min(peers, key=lambda name: table[name].median)
                measure = f"{net.title}, batch 1, {kind}: event inference against {best}"
                targets.append(Target(where, measure, WITH_BUDGET, ratio(table, best, mine)))
    return targets


def run() -> Outcome:
    """All nets, all contestants."""
    threads = torch.get_num_threads()
    where = f"CPU, {threads} thread{'s'[: threads - 1]}"
    tables: dict[str, dict[str, Timing]] = {}
    memory: dict[str, dict[str, float]] = {}
    targets, notes = [], {}
    for deployed in nets():
        net = deployed.net().eval()
        images, labels = images_of(deployed)
        x = images.expand(deployed.timesteps, *images.shape).contiguous()
        with torch.no_grad():
            graph = trace(net, images[:1])
            shares, means = layers(graph, x)
            memory[f"{deployed.title}: share of counts that are not zero"] = shares
            memory[f"{deployed.title}: mean count"] = means
            tables |= compare(graph, x, deployed.title)
        targets += targets_of(deployed, tables, where)
        executor = EventExecutor(graph)
        right = float((executor(x).argmax(1) == labels).float().mean())
        notes[f"{deployed.title}, accuracy on the 256 images"] = f"{right:.3f}"
        chosen = ", ".join(f"{c.node} {c.path}" for c in executor.choices())
        notes[f"{deployed.title}, float32 paths at batch 256"] = chosen
    if not any(title.startswith("mnist") for title in tables):
        notes["mnist"] = "left out: SYNFIRE_DATA names no folder with image/mnist"
    return Outcome(tables, targets, memory, notes)
