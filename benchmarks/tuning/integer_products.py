"""Sweep of all designs and tiles of the fused integer linear layer on a CUDA device.

    python -m benchmarks.tuning.integer_products [--shape M N K] [--out FILE] [--seconds S]

The fastest exact rows of the form ``channels`` belong into ``synfire/kernels/integer_linear/tuning.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.tuning.families import Contestant, Sweep, main
from benchmarks.tuning.layers import (
    FORMS,
    LEVELS,
    designs,
    draw,
    expected,
    neuron_of,
    tiles,
)

FAMILIES = ("tiles, 8 warps", "tiles, 4 warps", "sums", "hopper")


def prepare(shape: Sequence[int]) -> dict[str, Any]:
    """Counts [M, K] and a layer with weights [N, K]."""
    rows, columns, fan_in = shape
    return draw((rows, fan_in), (columns, fan_in))


def contestants(family: str, layer: dict[str, Any]) -> Iterator[Contestant]:
    """Everything in a family."""
    if family == "hopper":
        yield from hopper(layer)
        return
    from synfire.kernels.integer_linear import triton

    counts, weight = layer["counts"], layer["weight"]
    if family == "sums":
        for tile in (*tiles(8)[:4], *tiles(4)[:2]):
            call = lambda t=tile: triton.run(counts, weight, None, LEVELS, tile=t)[0]  # noqa: E731
            yield Contestant("tile", "sums", tile, call)
        return
    for tile, form in product(tiles(int(family.split()[1])), FORMS):
        bias, neuron = neuron_of(layer, form)
        options = {"tile": tile, **neuron}
        call = lambda b=bias, o=options: triton.run(counts, weight, b, LEVELS, **o)[0]  # noqa: E731
        yield Contestant("tile", form, tile, call)


def hopper(layer: dict[str, Any]) -> Iterator[Contestant]:
    """The Gluon kernel in all its designs."""
    from synfire.kernels.integer_linear import triton_hopper

    counts, weight = layer["counts"], layer["weight"]
    for design, form in product(designs(), FORMS):
        if reason := design.refuses(counts, weight):
            print(f"hopper: {reason}", file=sys.stderr)
            return
        bias, neuron = neuron_of(layer, form)
        options = {"design": design, **neuron}
        call = lambda b=bias, o=options: triton_hopper.linear_fire(counts, weight, b, **o)  # noqa: E731
        yield Contestant("hopper", form, design, call)


def right(layer: dict[str, Any]) -> dict[str, Tensor]:
    """By float64 products."""
    weight = layer["weight"].double().T
    return expected(
        layer, layer["counts"].split(8192), lambda x: (x.double() @ weight).to(torch.int32)
    )


SWEEP = Sweep(
    "benchmarks.tuning.integer_products",
    FAMILIES,
    {"M": 65536, "N": 1024, "K": 1024},
    lambda shape: 2.0 * shape[0] * shape[1] * shape[2],
    prepare,
    contestants,
    right,
)

if __name__ == "__main__":
    main(SWEEP, __doc__)
