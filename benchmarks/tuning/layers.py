"""What the sweeps of integer layers share: tiles and designs worth a try, drawn tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from synfire.kernels.integer_linear.tuning import Design, Tile
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows

LEVELS = 4
SHIFT = 9
NEURON = IntegerNeuron(LEVELS)
FORMS = ("channels", "shift")
"""A threshold and a bias a channel; one power of two without a bias."""


def tiles(warps: int) -> list[Tile]:
    """Plain tiles with one or two blocks on a multiprocessor."""
    shapes = {
        8: [
            (128, 256, 128, 3), (128, 256, 128, 4), (256, 128, 128, 3), (256, 128, 128, 4),
            (128, 256, 64, 4), (128, 256, 256, 2), (256, 128, 256, 2), (128, 128, 128, 3),
        ],
        4: [
            (128, 128, 128, 3), (128, 128, 128, 2), (128, 128, 64, 4), (128, 128, 256, 2),
            (64, 256, 128, 2), (64, 256, 128, 3), (128, 64, 128, 4), (64, 128, 128, 4),
            (64, 128, 128, 3), (64, 64, 128, 4), (16, 64, 128, 4),
        ],
    }  # fmt: skip
    return [Tile(m, n, k, warps, stages) for m, n, k, stages in shapes[warps]]


def designs() -> list[Design]:
    """The Hopper kernel's tile both ways round, with their neighbours."""
    found = []
    for base in (Design(256, 128, 128, 4), Design(128, 256, 128, 4)):
        found += [
            base,
            replace(base, group=16),
            replace(base, group=4),
            replace(base, stages=3),
            replace(base, fan_in=64, stages=8),
        ]
    return found


def draw(counts: tuple[int, ...], weight: tuple[int, ...]) -> dict[str, Any]:
    """A layer as a trained net has it: a quarter of the counts are not zero, thresholds as large as the sums."""
    random = torch.Generator("cuda").manual_seed(0)
    drawn: dict[str, Any] = {"generator": random, "device": "cuda"}
    x = torch.randint(1, LEVELS + 1, counts, dtype=torch.uint8, **drawn)
    x *= torch.rand(counts, **drawn) < 0.25
    size = int(60 * torch.Size(weight[1:]).numel() ** 0.5)
    w = torch.randint(-127, 128, weight, dtype=torch.int8, **drawn)
    bias = torch.randint(-size // 2, size // 2, weight[:1], dtype=torch.int32, **drawn)
    theta = torch.randint(size // 3, size, weight[:1], dtype=torch.int32, **drawn)
    return {"counts": x, "weight": w, "bias": bias, "theta": theta}


def neuron_of(layer: dict[str, Any], form: str) -> tuple[Tensor | None, dict[str, Any]]:
    """Bias and neuron of a form, as the kernels take them."""
    if form == "shift":
        return None, {"neuron": NEURON, "threshold_value": 1 << SHIFT}
    bound = bound_of(layer["theta"], LEVELS, layer["bias"])
    return layer["bias"], {"neuron": NEURON, "threshold": layer["theta"], "bound": bound}


def expected(
    layer: dict[str, Any], parts: tuple[Tensor, ...], sums_of: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Right results of every form, part by part of the counts."""
    found: dict[str, list[Tensor]] = {"sums": [], "channels": [], "shift": []}
    for part in parts:
        sums = sums_of(part)
        rows = sums.reshape(-1, sums.shape[-1])
        charged = rows + layer["bias"]
        found["sums"].append(sums)
        for form, given in (
            ("channels", (charged, layer["theta"], 0)),
            ("shift", (rows, None, 1 << SHIFT)),
        ):
            found[form].append(fire_rows(*given, None, 1, NEURON)[0].reshape(sums.shape))
    return {form: torch.cat(results) for form, results in found.items()}
