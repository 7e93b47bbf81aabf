"""The Triton forms of the integer linear layer equal the reference bit for bit; here in the interpreter."""

from __future__ import annotations

import pytest
import torch

from synfire.kernels.integer_linear import integer_linear, integer_linear_fire, reference
from synfire.kernels.integer_linear.tuning import Tile
from synfire.kernels.integer_neuron import bound_of
from tests.kernels.integer_cases import NEURONS, draw_counts, draw_thresholds, draw_weight

kernels = pytest.importorskip("synfire.kernels.integer_linear.triton")
fp8 = pytest.importorskip("synfire.kernels.integer_linear.triton_fp8")

pytestmark = pytest.mark.interpreter

TILES = [Tile(16, 16, 32, 4, 2, 2), Tile(32, 64, 64, 4, 3, 8)]
SHAPES = [(1, 1, 1), (63, 5, 100), (33, 70, 64), (0, 3, 4), (3, 4, 0), (2, 7, 300)]


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("levels", [127, 255])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product(shape, levels, tile):
    m, n, k = shape
    counts, weight = draw_counts(m, k, levels=levels), draw_weight(n, k)
    bias = torch.randint(-(2**20), 2**20, (n,), dtype=torch.int32)
    for b in (None, bias):
        sums, _ = kernels.run(counts, weight, b, levels, tile=tile)
        assert sums.dtype == torch.int32
        assert torch.equal(sums, integer_linear(counts, weight, b, count_levels=levels))


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize(
    ("timesteps", "m", "n", "k"), [(1, 17, 20, 40), (3, 5, 9, 64), (2, 1, 1, 1)]
)
def test_fused_neuron(name, timesteps, m, n, k):
    neuron = NEURONS[name]
    counts, weight = draw_counts(timesteps * m, k), draw_weight(n, k)
    bias = torch.randint(-300, 300, (n,), dtype=torch.int32)
    v = torch.randint(-500, 500, (m, n), dtype=torch.int32)
    for threshold in (draw_thresholds(n, k), 128, 333):
        for b, state, keep in ((bias, v, True), (None, None, False), (bias, None, True)):
            options = {"bias": b, "v": state, "timesteps": timesteps, "keep_state": keep}
            expected, membrane = integer_linear_fire(counts, weight, threshold, neuron, **options)
            tensor = threshold if isinstance(threshold, torch.Tensor) else None
            for bound in (2**31 - 1, bound_of(threshold, neuron.levels, bias)):
                out, last = kernels.run(
                    counts, weight, b, 4, neuron=neuron, threshold=tensor, bound=bound, v=state,
                    threshold_value=0 if tensor is not None else threshold, timesteps=timesteps,
                    keep_state=keep, tile=TILES[0],
                )  # fmt: skip
                assert torch.equal(out, expected)
                assert membrane is None or torch.equal(last, membrane)


def test_layouts_do_not_matter():
    counts, weight = draw_counts(40, 6).t(), draw_weight(40, 18)[:, ::3].t()
    bias = torch.arange(36, dtype=torch.int32)[::6]
    for c, w in (
        (counts, weight),
        (counts[:, ::2], weight[:, ::2]),
        (counts[:1].expand(9, 40), weight),
    ):
        sums, _ = kernels.run(c, w, bias, 127)
        assert torch.equal(sums, integer_linear(c, w, bias))


@pytest.mark.parametrize("timesteps", [1, 2])
def test_silent_blocks_are_skipped(timesteps):
    tile = TILES[0]
    counts, weight = draw_counts(timesteps * 40, 130), draw_weight(20, 130)
    blocks = torch.rand(timesteps, 3, 5) < 0.3
    for t, m, k in (~blocks).nonzero().tolist():
        counts[t * 40 + m * 16 : t * 40 + min(m * 16 + 16, 40), k * 32 : k * 32 + 32] = 0
    active, number = kernels.active_blocks(counts, timesteps, tile)
    assert number.tolist() == blocks.sum(2).flatten().tolist()
    for row, found, many in zip(blocks.flatten(0, 1), active, number, strict=True):
        assert found[:many].tolist() == row.nonzero().flatten().tolist()
    out, _ = kernels.run(counts, weight, None, 4, timesteps=timesteps, skip_silent=True, tile=tile)
    assert torch.equal(out, integer_linear(counts, weight))


@pytest.mark.parametrize(("count_levels", "weight_levels"), [(15, 15), (4, 15), (16, 8), (1, 16)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (129, 9, 257)], ids=str)
def test_fp8(shape, count_levels, weight_levels):
    m, n, k = shape
    counts = draw_counts(m, k, levels=count_levels)
    weight = torch.randint(-weight_levels, weight_levels + 1, (n, k), dtype=torch.int8)
    assert reference.fp8_refuses(k, count_levels, weight_levels) is None
    sums = fp8.product(counts, weight, count_levels, weight_levels)
    assert torch.equal(sums, integer_linear(counts, weight))
