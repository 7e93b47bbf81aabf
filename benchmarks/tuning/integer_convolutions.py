"""Sweep of all tiles of the fused integer 3x3 convolution on a CUDA device.

    python -m benchmarks.tuning.integer_convolutions [--shape B SIZE C O] [--out FILE] [--seconds S]

The fastest exact rows of the form ``channels`` belong into ``synfire/kernels/integer_linear/tuning.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.tuning.families import Contestant, Sweep, main
from benchmarks.tuning.layers import FORMS, LEVELS, draw, expected, neuron_of, tiles
from synfire.kernels.integer_conv import reference

FAMILIES = ("tiles, 8 warps", "tiles, 4 warps")


def prepare(shape: Sequence[int]) -> dict[str, Any]:
    """Counts [B, SIZE, SIZE, C] and a layer with weights [O, 3, 3, C]."""
    batch, size, channels, columns = shape
    return draw((batch, size, size, channels), (columns, 3, 3, channels))


def contestants(family: str, layer: dict[str, Any]) -> Iterator[Contestant]:
    """Everything in a family; stride 1, padding 1."""
    counts, weight = layer["counts"], layer["weight"]
    from synfire.kernels.integer_conv import triton

    for tile, form in product(tiles(int(family.split()[1])), FORMS):
        if counts.shape[3] % tile.fan_in:
            continue
        bias, neuron = neuron_of(layer, form)
        options = {"tile": tile, **neuron}
        call = lambda b=bias, o=options: triton.run(counts, weight, b, LEVELS, 1, 1, **o)[0]  # noqa: E731
        yield Contestant("tile", form, tile, call)


def right(layer: dict[str, Any]) -> dict[str, Tensor]:
    """By float64 products for each place of the kernel."""

    def multiply(x: Tensor, w: Tensor) -> Tensor:
        return (x.double() @ w.double().T).to(torch.int32)

    return expected(
        layer,
        layer["counts"].split(16),
        lambda x: reference.product(x, layer["weight"], 1, 1, multiply),
    )


SWEEP = Sweep(
    "benchmarks.tuning.integer_convolutions",
    FAMILIES,
    {"B": 64, "SIZE": 32, "C": 256, "O": 256},
    lambda shape: 18.0 * shape[0] * shape[1] ** 2 * shape[2] * shape[3],
    prepare,
    contestants,
    right,
)

if __name__ == "__main__":
    main(SWEEP, __doc__)
