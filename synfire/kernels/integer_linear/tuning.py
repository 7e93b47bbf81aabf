"""Tiles of the integer products, by shape; ``benchmarks/tuning`` measures the tables anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
    """Tile and ring of the Hopper kernel, :mod:`synfire.kernels.integer_linear.triton_hopper`."""

    rows: int
    columns: int
    fan_in: int
    stages: int
    group: int = 8

    def refuses(self, counts: Tensor, weight: Tensor) -> str | None:
        """Why the copy engine cannot do a product; None if it can."""
        fan_in, columns = counts.shape[1], weight.shape[0]
        if fan_in == 0 or fan_in % 16 or columns % 16:
            return f"rows of {fan_in} and {columns} bytes are not whole units of 16"
        if not (counts.is_contiguous() and weight.is_contiguous()):
            return "rows are not contiguous"
        if counts.data_ptr() % 16 or weight.data_ptr() % 16:
            return "a tensor does not begin at a multiple of 16 bytes"
        return None


LARGE = Tile(128, 128, 128, 4, 3)
MEDIUM = Tile(64, 128, 128, 4, 4)
NARROW = Tile(128, 64, 128, 4, 4)
SMALL = Tile(16, 64, 128, 4, 4)
STATEFUL = Tile(128, 128, 128, 8, 3)
"""A membrane takes as many registers as a sum."""
COST = {LARGE: 1.0, STATEFUL: 1.0, MEDIUM: 1.25, NARROW: 1.4, SMALL: 4.0}
"""Time for a sum on a busy H100, in those of LARGE: smaller tiles read more for each."""

FUSED = Design(256, 128, 128, 4, group=4)
"""The design that large fused layers take on Hopper."""
FUSED_COST = 0.8

MULTIPROCESSORS = 132
"""Of an H100."""


def load(tile: Tile | Design, rows: int, columns: int) -> int:
    """Sums, padding included, of the multiprocessor that gets the most tiles: the others wait for it."""
    tiles = -(-rows // tile.rows) * -(-columns // tile.columns)
    return -(-tiles // MULTIPROCESSORS) * tile.rows * tile.columns


def cost(tile: Tile, rows: int, columns: int) -> float:
    """Time of a product, up to a factor that all tiles share."""
    return COST[tile] * load(tile, rows, columns)


def tile_for(rows: int, columns: int, stateful: bool) -> Tile:
    """The tile that costs a product with ``rows`` rows a timestep least.

    Example:
        >>> tile_for(65536, 1024, stateful=False) == LARGE, tile_for(1, 1024, stateful=False) == SMALL
        (True, True)
    """
    tiles = (STATEFUL if stateful else LARGE, MEDIUM, NARROW, SMALL)
    return min(tiles, key=lambda tile: cost(tile, rows, columns))


def design_for(counts: Tensor, weight: Tensor) -> Design | None:
    """The Hopper design of a layer without membranes, or None where tiles do better or it cannot run."""
    rows, columns = counts.shape[0], weight.shape[0]
    if torch.cuda.get_device_capability(counts.device) != (9, 0) or not _has_gluon():
        return None
    best = cost(tile_for(rows, columns, stateful=False), rows, columns)
    if rows == 0 or FUSED_COST * load(FUSED, rows, columns) > best:
        return None
    return None if FUSED.refuses(counts, weight) else FUSED


@cache
def _has_gluon() -> bool:
    """Gluon took the form that the design is written in with Triton 3.6."""
    import triton

    major, minor = triton.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (3, 6)
