"""The steps of ``synfire pipeline``."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synfire.cli import results
from synfire.cli.comparison import compare
from synfire.core.errors import GraphError
from synfire.core.files import FINISHED, folder_atomic, mark_finished, write_json
from synfire.energy import profile
from synfire.export import SpikeGraph, trace
from synfire.report import write_report
from synfire.training import (
    Evaluation,
    Recipe,
    SpikeBudget,
    Trained,
    evaluate,
    fit,
    load_recipe,
    load_trained,
)
from synfire.training.fitting import RECIPE

PROFILED, REPLAYED, CHECKED_IN_FLOAT64 = 1000, 256, 1000
"""Test images that are profiled, run again in a fresh process, and verified in float64."""


@dataclass
class Net:
    """One trained net and what was measured of it."""

    name: str
    recipe: Recipe
    trained: Trained
    evaluation: Evaluation
    graph: SpikeGraph | None = None
    energy: Any = None


@dataclass
class Pipeline:
    """Trains the seeds of a recipe and its baselines, then measures the first seed's net.

    Training is resumed where an earlier run of the same command was interrupted.

    Args:
        recipe: what to train.
        out: folder of the results.
        seeds: how many nets, with seeds from ``recipe.train.seed`` on.
        hardware: table of energies.
        command: for the report.
        overwrite: begin anew.
    """

    recipe: Recipe
    out: Path
    seeds: int
    hardware: str
    command: str
    overwrite: bool = False
    equal: bool = False
    began: float = field(default_factory=time.perf_counter)

    def run(self) -> str | None:
        """All steps; the summary to print, or None in a process that only helped to train."""
        self.splits = self.recipe.data.load()
        nets = self._train_all()
        if nets is None:
            return None
        seeds, baselines = nets
        self._measure([*seeds, *(net for net in baselines if net.name == "unbudgeted")])
        main = seeds[0]
        assert main.graph is not None
        self._say("verifying: module, integer graph and binary slots on every test image")
        equality = compare(main.trained.net, main.graph, self._images(), CHECKED_IN_FLOAT64)
        self.equal = equality["comparisons"][-1]["predictions_equal"] == len(self.splits.test)
        replayed = self._replay(main.graph)
        content = results.assemble(self, main, seeds, baselines, equality, replayed)
        write_json(self.out / "results.json", content)
        page = write_report(self.out, content)
        summary = results.summary(content, replayed)
        mark_finished(self.out, {"recipe": self.recipe.name, "accuracy": main.evaluation.accuracy})
        return f"{summary}\nreport: {page}"

    def _train_all(self) -> tuple[list[Net], list[Net]] | None:
        first = self.recipe.train.seed
        recipes = {f"seed {first + i}": self._with_seed(first + i) for i in range(self.seeds)}
        baselines = self._baselines()
        nets: list[Net] = []
        for name, recipe in (recipes | {k: r for k, (r, _) in baselines.items()}).items():
            net = self._linear() if name == "linear" else None
            trained = self._train(recipe, self.out / name.replace(" ", "-"), net)
            if not trained.main:
                return None
            nets.append(Net(name, recipe, trained, evaluate(trained.net, self.splits.test)))
        return nets[: self.seeds], nets[self.seeds :]

    def _train(self, recipe: Recipe, folder: Path, net: nn.Module | None) -> Trained:
        again = self.overwrite
        if not again and (folder / FINISHED).is_file() and load_recipe(folder / RECIPE) == recipe:
            if net is None:
                return load_trained(folder)[1]
            again = True  # a net that has no name is not saved: train it once more
        return fit(recipe, folder, splits=self.splits, net=net, overwrite=again)

    def _with_seed(self, seed: int) -> Recipe:
        train = dataclasses.replace(self.recipe.train, seed=seed)
        return dataclasses.replace(self.recipe, train=train)

    def _baselines(self) -> dict[str, tuple[Recipe, nn.Module | None]]:
        asked, free = self.recipe.baselines, dataclasses.replace(self.recipe, budget=SpikeBudget())
        found: dict[str, tuple[Recipe, nn.Module | None]] = {}
        if asked.unbudgeted and self.recipe.budget.weight:
            found["unbudgeted"] = free, None
        if asked.relu:
            options = self.recipe.model.options | {"activation": "relu"}
            model = dataclasses.replace(self.recipe.model, options=options, timesteps=1)
            found["relu"] = dataclasses.replace(free, model=model), None
        if asked.linear:
            found["linear"] = free, self._linear()
        return found

    def _linear(self) -> nn.Module:
        height, width = self.splits.image_size
        pixels = self.splits.in_channels * height * width
        linear = nn.Linear(pixels, len(self.splits.classes))
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.Flatten(), linear)

    def _measure(self, nets: list[Net]) -> None:
        self._say("counting operations on the executed graph")
        x = self._images(PROFILED)
        for net in nets:
            net.graph = trace(net.trained.net, x[:2])
            timed = self.in_time(net.trained.net, x)
            net.energy = profile(net.graph, timed, hardware=self.hardware)

    def _replay(self, graph: SpikeGraph) -> dict[str, Any]:
        """Save the graph, run it in a process of its own, compare."""
        self._say("reloading the graph in a fresh process")
        x = np.ascontiguousarray(self._images(REPLAYED).numpy())
        graph.save(self.out / "graph", overwrite=True)
        with folder_atomic(self.out / "replay") as folder:
            np.save(folder / "inputs.npy", x)
            command = [sys.executable, "-m", "synfire", "simulate", str(self.out / "graph")]
            command += ["--input", str(folder / "inputs.npy"), "--out", str(folder / "run")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise GraphError(f"the saved graph did not run afresh: {done.stderr.strip()}")
            predictions = np.load(folder / "run" / "predictions.npy")
        here = graph.run(torch.from_numpy(x)[None].expand(graph.timesteps, *x.shape)).argmax(-1)
        return {"samples": len(x), "equal": int((predictions == here.numpy()).sum())}

    def _images(self, count: int | None = None) -> Tensor:
        test = self.splits.test
        return test.batch(torch.arange(min(count or len(test), len(test))))

    def in_time(self, net: Any, x: Tensor) -> Tensor:
        """What the graph sees: [T, B, ...]."""
        generator = torch.Generator().manual_seed(0)
        folded: Tensor = net.encode(x, generator)
        return folded.unflatten(0, (net.timesteps, -1))

    def seconds(self) -> float:
        """Since this process began the pipeline."""
        return time.perf_counter() - self.began

    def _say(self, what: str) -> None:
        print(f"{self.out.name}: {what}", file=sys.stderr, flush=True)
