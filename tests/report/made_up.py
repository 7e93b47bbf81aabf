"""Results of a run that never was, in the shape and size of real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from synfire.energy import profile
from tests.energy.toys import closed, conv, linear, neuron, source

DIGITS = [str(digit) for digit in range(10)]


def energy(timesteps: int = 1, levels: int = 4) -> dict[str, Any]:
    """A real profile of a small net with weights by chance."""
    from synfire.export.graph import Edge, Node

    rng = np.random.default_rng(0)
    same = ((1, 1), (1, 1))
    nodes = [
        source((1, 8, 8), encoder={"name": "Direct", "frames": "repeat"}),
        conv("stem", "x", rng.normal(size=(16, 1, 3, 3)), (8, 8), (1, 1), same),
        neuron("stages_0_body_0", "stem", (16, 8, 8), levels),
        conv("stages_0_body_1", "stages_0_body_0", 0.1 * rng.normal(size=(32, 16, 3, 3)), (8, 8), (2, 2), same),
        neuron("stages_1_body_0", "stages_0_body_1", (32, 4, 4), levels),
        conv("stages_1_body_1", "stages_1_body_0", 0.1 * rng.normal(size=(32, 32, 3, 3)), (4, 4), (1, 1), same),
        neuron("head_neuron", "stages_1_body_1", (32, 4, 4), levels),
        Node("pool", "Pool", ("head_neuron",), (32, 1, 1), Edge("count", high=16.0 * levels),
             attrs={"kind": "sum", "kernel": [4, 4], "stride": [4, 4], "padding": [[0, 0]] * 2}),
        Node("flat", "Reshape", ("pool",), (32,), Edge("count", high=16.0 * levels),
             attrs={"kind": "view", "shape": [32]}),
        linear("head", "flat", rng.normal(size=(10, 32)), bias=True),
    ]  # fmt: skip
    images = rng.random((1, 40, 1, 8, 8)).astype(np.float32)
    graph = closed(nodes, timesteps)
    return profile(graph, np.repeat(images, timesteps, 0)).to_dict()


def confusion(classes: int = 10, samples: int = 360) -> dict[str, Any]:
    """A good classifier's matrix."""
    rng = np.random.default_rng(1)
    matrix = np.diag(np.full(classes, samples // classes))
    for _ in range(5):
        true, taken = rng.integers(0, classes, 2)
        matrix[true, true] -= 1
        matrix[true, taken] += 1
    labels = DIGITS if classes == 10 else [f"class {i}" for i in range(classes)]
    return {"labels": labels, "matrix": matrix.tolist()}


def raster(timesteps: int = 1, levels: int = 4) -> dict[str, Any]:
    """Ten samples, four layers of forty neurons."""
    rng = np.random.default_rng(2)
    layers = []
    for index, name in enumerate(("stem", "stages.0.body.0", "stages.1.body.0", "head_neuron")):
        drive = rng.normal(-0.6 + 0.15 * index, 1.2, (10, timesteps, 40))
        counts = np.clip(np.floor(drive + 0.5), 0, levels).astype(int)
        layers.append(
            {"name": name, "neurons": list(range(0, 1600, 40)), "counts": counts.tolist()}
        )
    samples = [*DIGITS[:9], "9 taken for 4"]
    return {"levels": levels, "samples": samples, "layers": layers}


def results(timesteps: int = 1, levels: int = 4) -> dict[str, Any]:
    """Every section."""
    rng = np.random.default_rng(3)
    epochs = list(range(1, 31))
    fall = np.exp(-np.arange(30) / 6)
    profiled = energy(timesteps, levels)
    rows = [
        {
            "name": row["path"],
            "neurons": row["neurons"],
            "rate": row["rate"],
            "nonzero": row["nonzero"],
            "low": row["rate_low"],
            "high": row["rate_high"],
        }
        for row in profiled["neurons"]
    ]
    return {
        "run": {
            "title": "Handwritten digits with spikes",
            "subtitle": "spiking_cnn_tiny, trained with integers and run with spikes",
            "model": "spiking_cnn_tiny",
            "timesteps": timesteps,
            "levels": levels,
            "recipe": "digits",
            "parameters": 78_234,
            "seeds": [0, 1, 2],
            "data": "digits (scikit-learn, 1,797 images of 8 x 8)",
            "train_samples": 1437,
            "test_samples": 360,
            "seconds": 41.3,
            "created": "2025-01-01 12:00",
            "command": "synfire pipeline --recipe digits --out runs/digits --trainer.max_epochs 30",
            "versions": {"synfire": "0.1.0", "torch": "2.7.0"},
        },
        "accuracy": {
            "correct": 358,
            "total": 360,
            "split": "test_size=360, stratified, random_state=42",
            "seeds": [{"name": f"seed {s}", "correct": 356 + s, "total": 360} for s in range(3)],
            "baselines": [
                {"name": "ReLU net of the same shape", "correct": 358, "total": 360, "note": "same run"},
                {"name": "linear classifier", "correct": 347, "total": 360},
            ],
        },
        "confusion": confusion(),
        "learning": {
            "epochs": epochs,
            "loss": [
                {"name": "training", "values": (2.3 * fall + 0.05 * rng.random(30)).tolist()},
                {"name": "validation", "values": (2.2 * fall + 0.09 + 0.05 * rng.random(30)).tolist()},
            ],
            "accuracy": [{"name": "validation", "values": (1 - 0.85 * fall - 0.01 * rng.random(30)).tolist()}],
            "operations": [{"name": "training", "values": (9e5 * (0.3 + 0.7 * fall)).tolist()}],
        },
        "tradeoff": {
            "unit": "synaptic operations (unit spikes) per image",
            "points": [
                {"name": "no budget", "operations": 512_000, "correct": 358, "total": 360, "group": "spiking"},
                {"name": "this net", "operations": 171_000, "correct": 358, "total": 360,
                 "group": "spiking", "shipped": True},
                {"name": "tight budget", "operations": 74_000, "correct": 354, "total": 360, "group": "spiking"},
                {"name": "ReLU, dense", "operations": 1_240_000, "correct": 358, "total": 360, "group": "non-spiking"},
            ],
        },
        "activity": {"samples": 360, "layers": rows, "raster": raster(timesteps, levels)},
        "equality": {
            "samples": 360,
            "comparisons": [
                {"left": "module", "right": "integer graph", "exact": False, "neurons": 1_866_240, "flips": 2,
                 "predictions": 360, "predictions_equal": 360, "logit_difference": 3.1e-6,
                 "note": "float32: sums in another order"},
                {"left": "integer graph", "right": "binary slots", "exact": True, "neurons": 1_866_240, "flips": 0,
                 "predictions": 360, "predictions_equal": 360, "logit_difference": 0.0, "note": ""},
            ],
            "first_difference": "neuron stages.1.body.0, t=0, sample 17, index (3, 2, 1): module 2, "
            "integer graph 1; membrane 1.4999999, 1.2e-07 from the nearest threshold",
        },
        "energy": profiled,
        "files": [
            {"path": "report.html", "what": "this page"},
            {"path": "results.json", "what": "every figure of this page", "bytes": 81_213},
            {"path": "model/model.safetensors", "what": "weights", "bytes": 318_420},
            {"path": "graph/graph.json", "what": "the net as a SpikeGraph, which runs without torch", "bytes": 12_004},
        ],
    }  # fmt: skip
