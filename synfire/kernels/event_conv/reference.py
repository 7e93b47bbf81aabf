"""The convolution in plain torch: what the fast paths compute."""

from __future__ import annotations

import torch
import torch.nn.functional as nn_functional
from torch import Tensor

from synfire.kernels.event_weight import EventWeight, values_of


def event_conv(
    x: Tensor,
    weight: EventWeight,
    packed: bool,
    scale: float,
    stride: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Tensor:
    """x [B, C, H, W] (packed: [B, H, W, ceil(C / 8)]) with weight [N, C / groups, height, width], in float64."""
    integers = not weight.weight.is_floating_point()
    channels = weight.weight.shape[1] * weight.groups
    values = values_of(x, channels, packed, scale, integers).double()
    values = values.movedim(-1, 1) if packed else values
    (top, bottom), (left, right) = padding
    padded = nn_functional.pad(values, (left, right, top, bottom))
    out = nn_functional.conv2d(padded, weight.weight.double(), stride=stride, groups=weight.groups)
    return out.to(weight.out_dtype).contiguous(memory_format=torch.channels_last)
