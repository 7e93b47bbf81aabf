"""Boxes of the Hopper convolution, and when it runs.

``benchmarks/tuning/integer_convolutions.py`` measures both.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product

import torch
from torch import Tensor

from synfire.kernels.integer_conv.reference import output_size
from synfire.kernels.integer_linear.tuning import Design

FUSED: Design | None = None
"""The design that large fused convolutions take on Hopper; None: tiles, which run everywhere."""
SMALLEST_FUSED = 132
"""Tiles below which a persistent grid has nothing to gain."""


@dataclass(frozen=True)
class Box:
    """A tile's places: pictures, rows and columns of the output; and channels of the input in a block."""

    shape: tuple[int, int, int]
    channels: int
    number: int
    """Boxes that cover the output."""


def box_for(counts: Tensor, weight: Tensor, stride: int, padding: int, design: Design) -> Box | str:
    """The box that wastes least, or why the copy engine cannot do a convolution.

    Example:
        >>> counts, weight = torch.zeros(64, 28, 28, 64).byte(), torch.zeros(32, 3, 3, 64).char()
        >>> box_for(counts, weight, 1, 1, Design(128, 128, 128, 4, 2))
        Box(shape=(8, 4, 4), channels=64, number=392)
    """
    batch, *size, channels = counts.shape
    columns, kernel = weight.shape[:2]
    block = next((n for n in (128, 64, 32) if channels % n == 0), None)
    if block is None or columns % 16:
        return f"{channels} channels are no multiple of 32, or {columns} none of 16"
    if stride > 2 or min(size) < stride:
        return f"strides are 1 or 2, got {stride}"
    if not (counts.is_contiguous() and weight.is_contiguous()):
        return "counts or weights are not contiguous"
    if counts.data_ptr() % 16 or weight.data_ptr() % 16:
        return "a tensor does not begin at a multiple of 16 bytes"
    output = batch, *(output_size(n, kernel, stride, padding) for n in size)
    shapes = [
        (design.rows // (y * x), y, x)
        for y, x in product([1 << n for n in range(8)], repeat=2)
        if y * x <= design.rows
    ]
    number, shape = min(
        (_number(output, shape), shape) for shape in sorted(shapes, key=lambda s: -s[2])
    )
    return Box(shape, block, number)


def _number(output: tuple[int, ...], shape: tuple[int, int, int]) -> int:
    covers = (-(-size // box) for size, box in zip(output, shape, strict=True))
    number = 1
    for cover in covers:
        number *= cover
    return number


def design_for(
    counts: Tensor, weight: Tensor, stride: int, padding: int
) -> tuple[Design, Box] | None:
    """The Hopper design and box of a convolution without membranes, or None for tiles."""
    if FUSED is None or torch.cuda.get_device_capability(counts.device) != (9, 0):
        return None
    if find_spec("triton.experimental.gluon") is None:
        return None
    box = box_for(counts, weight, stride, padding, FUSED)
    if isinstance(box, str) or box.number * -(-weight.shape[0] // FUSED.columns) < SMALLEST_FUSED:
        return None
    return FUSED, box
