"""The Triton form of integer convolutions equals the reference bit for bit; here in the interpreter."""

from __future__ import annotations

import pytest
import torch

from synfire.kernels.integer_conv import integer_conv2d, integer_conv2d_fire
from synfire.kernels.integer_linear.tuning import Tile
from synfire.kernels.integer_neuron import bound_of
from tests.kernels.integer_cases import (
    CONVOLUTIONS,
    NEURONS,
    draw_counts,
    draw_thresholds,
    draw_weight,
)

kernels = pytest.importorskip("synfire.kernels.integer_conv.triton")

pytestmark = pytest.mark.interpreter
TILE = Tile(16, 16, 32, 4, 2, 2)
WITHIN = [(2, 5, 6, 32, 5, 3, 1, 1), (1, 5, 5, 64, 17, 3, 2, 1), (2, 3, 3, 32, 3, 1, 1, 0)]


@pytest.mark.parametrize("levels", [127, 255])
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *WITHIN], ids=str)
def test_product(case, levels):
    b, h, w, c, o, kernel, stride, padding = case
    counts, weight = draw_counts(b, h, w, c, levels=levels), draw_weight(o, kernel, kernel, c)
    bias = torch.randint(-(2**20), 2**20, (o,), dtype=torch.int32)
    options = {"stride": stride, "padding": padding, "count_levels": levels}
    for b in (None, bias):
        sums, _ = kernels.run(counts, weight, b, levels, stride, padding, tile=TILE)
        assert torch.equal(sums, integer_conv2d(counts, weight, b, **options))


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize(("timesteps", "channels"), [(1, 3), (2, 32)])
def test_fused_neuron(name, timesteps, channels):
    neuron = NEURONS[name]
    counts, weight = draw_counts(timesteps * 2, 3, 4, channels), draw_weight(5, 3, 3, channels)
    bias = torch.randint(-300, 300, (5,), dtype=torch.int32)
    v = torch.randint(-500, 500, (2, 3, 4, 5), dtype=torch.int32)
    for threshold in (draw_thresholds(5, 9 * channels), 128, 333):
        for b, state, keep in ((bias, v, True), (None, None, False)):
            options = {"bias": b, "v": state, "timesteps": timesteps, "keep_state": keep}
            expected, membrane = integer_conv2d_fire(
                counts, weight, threshold, neuron, padding=1, **options
            )
            tensor = threshold if isinstance(threshold, torch.Tensor) else None
            out, last = kernels.run(
                counts, weight, b, 4, 1, 1, neuron=neuron, threshold=tensor,
                threshold_value=0 if tensor is not None else threshold, v=state,
                bound=bound_of(threshold, neuron.levels, bias), timesteps=timesteps,
                keep_state=keep, tile=TILE,
            )  # fmt: skip
            assert torch.equal(out, expected)
            assert membrane is None or torch.equal(last, membrane)


def test_tiles_stay_within_a_place_of_the_kernel():
    for channels, fan_in, stages in ((256, 128, 3), (64, 64, 4), (96, 32, 4), (3, 32, 4)):
        tile = kernels._tile(100_000, 256, channels, False)
        assert (tile.fan_in, tile.stages) == (fan_in, stages)
