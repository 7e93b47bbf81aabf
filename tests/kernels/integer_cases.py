"""What the tests of integer kernels share: numpy's int64 as the oracle, and layers with awkward values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from synfire.kernels.integer_neuron import IntegerNeuron

NEURONS = {
    "one level": IntegerNeuron(1),
    "one level, floor": IntegerNeuron(1, "floor"),
    "half up": IntegerNeuron(4),
    "floor": IntegerNeuron(4, "floor"),
    "leaky": IntegerNeuron(15, dv=819),
    "leaky, hard": IntegerNeuron(3, "floor", "hard", dv=1),
    "no reset": IntegerNeuron(255, reset="none", dv=4095),
    "no memory": IntegerNeuron(8, dv=4096),
}

# B, H, W, C, O, kernel, stride, padding
CONVOLUTIONS = [
    (2, 5, 7, 3, 4, 3, 1, 1),
    (1, 6, 6, 5, 3, 3, 2, 1),
    (3, 4, 4, 7, 2, 1, 1, 0),
    (2, 5, 5, 2, 3, 1, 2, 0),
    (1, 9, 8, 1, 1, 5, 3, 2),
    (2, 3, 3, 4, 5, 3, 1, 0),
    (0, 4, 4, 2, 3, 3, 1, 1),
]


def fire_by_hand(x, v, threshold, neuron):
    """Counts and membrane of int64 numpy arrays x [T, B, ...], by comparing with each level's threshold."""
    counts = []
    for x_t in x:
        h = np.sign(v) * (np.abs(v) * (4096 - neuron.dv) // 4096) + x_t
        s = np.zeros_like(h)
        for d in range(1, neuron.levels + 1):
            up = neuron.rounding == "half_up"
            s += h >= (-(-(2 * d - 1) * threshold // 2) if up else d * threshold)
        v = {"soft": h - threshold * s, "hard": np.where(s > 0, 0, h), "none": h}[neuron.reset]
        counts.append(s)
    return np.stack(counts), v


def wide(x: Tensor | None):
    return None if x is None else x.numpy().astype(np.int64)


def draw_counts(*shape: int, levels: int = 4, share: float = 0.5) -> Tensor:
    counts = torch.randint(0, levels + 1, shape, dtype=torch.uint8)
    return counts * (torch.rand(shape) < share)


def draw_weight(*shape: int) -> Tensor:
    return torch.randint(-128, 128, shape, dtype=torch.int8)


def draw_thresholds(n: int, fan_in: int) -> Tensor:
    """About as large as the sums, odd and even, 1 among them."""
    return torch.randint(1, 40 * math.isqrt(fan_in) + 3, (n,), dtype=torch.int32)
