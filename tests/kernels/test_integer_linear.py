"""Integer products on the CPU: against int64 numpy, declared bounds, refusals, choice of paths."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import explain, use
from synfire.kernels.integer_linear import (
    bound_of,
    integer_linear,
    integer_linear_fire,
    integer_linear_fire_op,
    integer_linear_op,
)
from synfire.kernels.integer_linear.reference import fp8_refuses, fp8_sums
from synfire.kernels.integer_linear.tuning import (
    FUSED,
    LARGE,
    MEDIUM,
    MULTIPROCESSORS,
    NARROW,
    SMALL,
    STATEFUL,
    load,
    tile_for,
)
from tests.kernels.integer_cases import (
    NEURONS,
    draw_counts,
    draw_thresholds,
    draw_weight,
    fire_by_hand,
    wide,
)

SHAPES = [(1, 1, 1), (63, 5, 100), (0, 3, 4), (3, 0, 4), (3, 4, 0), (2, 7, 4097)]


@pytest.fixture(params=["float32", "reference"])
def path(request):
    with use(request.param):
        yield request.param


@pytest.mark.parametrize("levels", [1, 15, 127, 255])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_product_equals_int64(path, shape, levels):
    m, n, k = shape
    counts, weight = draw_counts(m, k, levels=levels), draw_weight(n, k)
    bias = torch.randint(-(2**20), 2**20, (n,), dtype=torch.int32)
    expected = wide(counts) @ wide(weight).T
    sums = integer_linear(counts, weight, count_levels=levels)
    assert sums.dtype == torch.int32 and (wide(sums) == expected).all()
    sums = integer_linear(counts, weight, bias, count_levels=levels)
    assert (wide(sums) == expected + wide(bias)).all()


@pytest.mark.parametrize("k", [4096, 60000])
def test_largest_sums(path, k):
    counts = torch.full((2, k), 255, dtype=torch.uint8)
    weight = torch.tensor([[-128], [127]], dtype=torch.int8).expand(2, k)
    sums = integer_linear(counts, weight, count_levels=255)
    assert sums.tolist() == [[-128 * 255 * k, 127 * 255 * k]] * 2


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize(("timesteps", "shape"), [(1, (6,)), (3, (2, 5)), (4, (1,))])
def test_fused_neuron_equals_the_definition(path, name, timesteps, shape):
    neuron, k, n = NEURONS[name], 37, 9
    counts, weight = draw_counts(timesteps * shape[0], *shape[1:], k), draw_weight(n, k)
    bias = torch.randint(-300, 300, (n,), dtype=torch.int32)
    v = torch.randint(-500, 500, (*shape, n), dtype=torch.int32)
    for threshold in (draw_thresholds(n, k), 128, 333):
        out, last = integer_linear_fire(
            counts, weight, threshold, neuron, bias=bias, v=v, timesteps=timesteps, keep_state=True
        )
        sums = wide(counts) @ wide(weight).T + wide(bias)
        theta = wide(threshold) if isinstance(threshold, torch.Tensor) else threshold
        s, membrane = fire_by_hand(sums.reshape(timesteps, *shape, n), wide(v), theta, neuron)
        assert out.dtype == torch.uint8 and (wide(out).reshape(s.shape) == s).all()
        assert (wide(last) == membrane).all()
    assert integer_linear_fire(counts, weight, 5, neuron, timesteps=timesteps)[1] is None


def expected_of(counts, weight):
    return wide(counts[:, ::2]) @ wide(weight[:, ::2]).T


def test_layouts_do_not_matter(path):
    counts, weight = draw_counts(40, 6).t(), draw_weight(40, 18)[:, ::3].t()
    bias = torch.arange(36, dtype=torch.int32)[::6]
    expected = wide(counts) @ wide(weight).T + wide(bias)
    assert (wide(integer_linear(counts, weight, bias)) == expected).all()
    assert (
        wide(integer_linear(counts[:, ::2], weight[:, ::2])) == expected_of(counts, weight)
    ).all()


def test_threads_change_nothing():
    counts, weight = draw_counts(300, 700, levels=15), draw_weight(128, 700)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        results.append(integer_linear(counts, weight, count_levels=15))
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])


def test_opcheck():
    counts, weight = draw_counts(4, 5), draw_weight(3, 5)
    bias = torch.ones(3, dtype=torch.int32)
    assert set(opcheck(integer_linear_op, (counts, weight, bias, 4, 128)).values()) == {"SUCCESS"}
    v, theta = torch.ones(2, 3, dtype=torch.int32), torch.full((3,), 7, dtype=torch.int32)
    for keep in (False, True):
        given = (counts, weight, None, None, 8, None, 2, 4, 10, 4, "half_up", "soft", 0, keep)
        assert set(opcheck(integer_linear_fire_op, given).values()) == {"SUCCESS"}
        given = (counts, weight, bias, theta, 0, v, 2, 4, 99, 4, "floor", "hard", 9, keep)
        assert set(opcheck(integer_linear_fire_op, given).values()) == {"SUCCESS"}


def test_compiles_without_a_break():
    counts, weight = draw_counts(4, 5), draw_weight(3, 5)

    def layer(counts):
        return integer_linear_fire(counts, weight, 30, NEURONS["half up"], timesteps=2)[0]

    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert torch.equal(compiled(counts), layer(counts))


def test_refusals():
    counts, weight = draw_counts(4, 5), draw_weight(3, 5)
    with pytest.raises(InputError, match="no gradient"):
        integer_linear(counts.float().requires_grad_(), weight)
    with pytest.raises(InputError, match="int8"):
        integer_linear(counts, weight.float())
    with pytest.raises(InputError, match=r"\[M, K\]"):
        integer_linear(counts, draw_weight(3, 6))
    with pytest.raises(InputError, match="bias"):
        integer_linear(counts, weight, torch.ones(3))
    with pytest.raises(InputError, match="declared"):
        integer_linear(counts + 200, weight)
    with pytest.raises(ConfigError, match="count_levels"):
        integer_linear(counts, weight, count_levels=0)
    wide_counts = counts[:, :1].expand(4, 70000)
    with pytest.raises(InputError, match="int32"):
        integer_linear(wide_counts, weight[:, :1].expand(3, 70000), count_levels=255)
    with pytest.raises(InputError, match="timesteps"):
        integer_linear_fire(counts, weight, 3, NEURONS["floor"], timesteps=3)
    with pytest.raises(InputError, match="membrane"):
        integer_linear_fire(counts, weight, 3, NEURONS["floor"], v=torch.zeros(4, 5))
    with pytest.raises(InputError, match="scalar"):
        integer_linear(counts[0, 0], weight)


def test_where_fp8_is_exact():
    assert fp8_sums(15, 15) == 32 and fp8_sums(4, 15) == 128 and fp8_sums(1, 1) == 8160
    assert fp8_refuses(4096, 15, 15) is None
    assert "exactly" in fp8_refuses(10, 17, 1) and "exactly" in fp8_refuses(10, 1, 127)
    assert "14 bits" in fp8_refuses(10, 16, 16)
    assert "24 bits" in fp8_refuses(1 << 17, 15, 15)


@pytest.mark.parametrize(
    ("rows", "columns", "stateful", "tile"),
    [
        (65536, 1024, False, LARGE),
        (65536, 1024, True, STATEFUL),
        (128 * 28 * 28, 128, False, LARGE),
        (64 * 14 * 14, 512, False, LARGE),
        (100_000, 64, False, NARROW),
        (1024, 1024, False, MEDIUM),
        (256, 1024, False, SMALL),
        (1, 1024, False, SMALL),
    ],
)
def test_tiles_by_shape(rows, columns, stateful, tile):
    assert tile_for(rows, columns, stateful) == tile


def test_load_counts_rounds_and_padding():
    assert load(LARGE, 1, 1) == load(LARGE, 128 * MULTIPROCESSORS, 128) == 128 * 128
    assert load(LARGE, 128 * MULTIPROCESSORS + 1, 128) == load(LARGE, 128, 129 * 128) * 2


def test_what_the_copy_engine_refuses():
    counts, weight = draw_counts(256, 64), draw_weight(32, 64)
    assert FUSED.refuses(counts, weight) is None
    assert "16" in FUSED.refuses(counts[:, :5].contiguous(), weight[:, :5].contiguous())
    assert "contiguous" in FUSED.refuses(counts[:, ::2], weight[:, ::2])
    assert "begin" in FUSED.refuses(counts.flatten()[1:-63].view(255, 64), weight)


def test_choice():
    counts, weight = draw_counts(4, 5), draw_weight(3, 5)
    levels = {"count_levels": 4, "weight_levels": 128}
    assert explain("integer_linear", (counts, weight), **levels).path == "float32"
    with use("reference"):
        assert explain("integer_linear", (counts, weight), **levels).path == "reference"
    assert bound_of(50, 4) == 250
