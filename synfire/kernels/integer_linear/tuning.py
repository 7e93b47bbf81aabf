"""Tiles of the integer products, by shape; ``benchmarks/tuning/integer_products.py`` measures the table anew."""

from __future__ import annotations

from dataclasses import dataclass


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
