"""Tiles of the integer products, by shape; ``benchmarks/tuning/integer_products.py`` measures the table anew."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """A tile of a product and how the GPU works on it."""

    rows: int
    columns: int
    fan_in: int
    warps: int
    stages: int
    group: int = 8
    """Row blocks that run side by side and share columns of weights."""


@dataclass(frozen=True)
class Design:
    """A Hopper kernel of :mod:`synfire.kernels.integer_linear.triton_hopper`: tile, ring and consumers."""

    rows: int
    columns: int
    fan_in: int
    stages: int
    consumers: int
    resident: bool = False
    group: int = 8

    def refuses(self, counts: Tensor, weight: Tensor, programs: int = 132) -> str | None:
        """Why the copy engine, or the design, cannot do a product; None if it can."""
        fan_in, columns = counts.shape[1], weight.shape[0]
        if fan_in == 0 or fan_in % 16 or columns % 16:
            return f"rows of {fan_in} and {columns} bytes are not whole units of 16"
        if not (counts.is_contiguous() and weight.is_contiguous()):
            return "rows are not contiguous"
        if counts.data_ptr() % 16 or weight.data_ptr() % 16:
            return "a tensor does not begin at a multiple of 16 bytes"
        if self.resident and (fan_in > LARGEST_RESIDENT or -(-columns // self.columns) > programs):
            return f"weights over a fan-in of {fan_in} do not fit into shared memory"
        return None


LARGEST_RESIDENT = 1024
COOPERATIVE = Design(128, 256, 128, 4, 1)
TALL = Design(256, 128, 128, 4, 1)
PINGPONG = Design(128, 128, 128, 6, 2)
RESIDENT = Design(128, 128, 128, 4, 2, resident=True)
FUSED: Design | None = None
"""The design that large fused layers take on Hopper; None: tiles, which run everywhere."""
SMALLEST_FUSED = 132
"""Tiles below which a persistent grid has nothing to gain."""
DESIGNS = {
    "cooperative": COOPERATIVE,
    "tall": TALL,
    "pingpong": PINGPONG,
    "resident": RESIDENT,
}

LARGE = Tile(128, 256, 128, 8, 4)
MEDIUM = Tile(64, 128, 128, 4, 3)
SMALL = Tile(16, 64, 128, 4, 4)
STATEFUL = Tile(128, 128, 128, 8, 3)
"""A membrane takes as many registers as a sum."""

MULTIPROCESSORS = 132
"""Of an H100: a tile is too large where not each of them gets one."""


def tile_for(rows: int, columns: int, fan_in: int, stateful: bool) -> Tile:
    """The tile of a product with ``rows`` rows a timestep."""
    first = STATEFUL if stateful else LARGE
    for tile in (first, MEDIUM):
        tiles = -(-rows // tile.rows) * -(-columns // tile.columns)
        if tiles >= MULTIPROCESSORS and fan_in >= 64:
            return tile
    return SMALL


def design_for(counts: Tensor, weight: Tensor) -> Design | None:
    """The Hopper design of a layer without membranes, or None for tiles."""
    if FUSED is None or torch.cuda.get_device_capability(counts.device) != (9, 0):
        return None
    tiles = -(-counts.shape[0] // FUSED.rows) * -(-weight.shape[0] // FUSED.columns)
    if tiles < SMALLEST_FUSED or find_spec("triton.experimental.gluon") is None:
        return None
    return None if FUSED.refuses(counts, weight) else FUSED
