"""Integer products on a CUDA device: bit exact on large, odd and adversarial layers, on every path.

Constants of a kernel (neuron, tile, taps of a convolution) compile for a second or more each; sizes and values do not.
"""

from __future__ import annotations

import pytest
import torch

from synfire.kernels import explain, use
from synfire.kernels.integer_attention import integer_attention
from synfire.kernels.integer_conv import integer_conv2d, integer_conv2d_fire
from synfire.kernels.integer_conv.reference import product
from synfire.kernels.integer_linear import integer_linear, integer_linear_fire
from synfire.kernels.integer_linear.tuning import LARGE, MEDIUM, NARROW, SMALL, STATEFUL
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows, integer_fire
from tests.kernels.integer_cases import (
    NEURONS,
    draw_counts,
    draw_thresholds,
    draw_weight,
)

pytestmark = pytest.mark.gpu


def exact(counts, weight):
    return (counts.double() @ weight.double().T).to(torch.int32)


def on_device(*tensors):
    return [None if t is None else t.cuda() for t in tensors]


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((1, 1, 1), 127),
        ((63, 5, 100), 255),
        ((16384, 1024, 1024), 127),
        ((4097, 1000, 1003), 15),
        ((4097, 1000, 1003), 255),
        ((300, 64, 4096), 1),
    ],
    ids=str,
)
def test_product(shape, levels):
    m, n, k = shape
    counts, weight = on_device(draw_counts(m, k, levels=levels), draw_weight(n, k))
    bias = torch.randint(-(2**20), 2**20, (n,), dtype=torch.int32, device="cuda")
    sums = integer_linear(counts, weight, bias, count_levels=levels)
    assert torch.equal(sums, exact(counts, weight) + bias)


@pytest.mark.parametrize("tile", [LARGE, MEDIUM, NARROW, SMALL, STATEFUL], ids=str)
def test_every_tile(tile):
    from synfire.kernels.integer_linear import triton

    counts, weight = on_device(draw_counts(1000, 777, levels=127), draw_weight(530, 777))
    sums, _ = triton.run(counts, weight, None, 127, tile=tile)
    assert torch.equal(sums, exact(counts, weight))


def test_skipping_silent_blocks():
    from synfire.kernels.integer_linear import triton

    counts, weight = on_device(draw_counts(1000, 777, levels=127), draw_weight(530, 777))
    counts[128:300, 100:600] = 0
    counts[512:640] = 0
    sums, _ = triton.run(counts, weight, None, 127, skip_silent=True)
    assert torch.equal(sums, exact(counts, weight))


@pytest.mark.parametrize("weights", ["largest", "smallest", "alternating", "random"])
@pytest.mark.parametrize(("path", "count_levels"), [("triton", 15), ("triton", 255), ("fp8", 15)])
def test_adversarial_sums(path, count_levels, weights):
    k, n = 4096, 512
    counts = torch.full((2048, k), count_levels, dtype=torch.uint8, device="cuda")
    sign = torch.ones(n, k, device="cuda")
    if weights == "smallest":
        sign = -sign
    elif weights == "alternating":
        sign[:, ::2] = -1
    weight = (15 * sign).to(torch.int8)
    if weights == "random":
        weight = torch.randint(-15, 16, (n, k), dtype=torch.int8, device="cuda")
        counts = torch.randint(0, count_levels + 1, (2048, k), device="cuda").to(torch.uint8)
    levels = {"count_levels": count_levels, "weight_levels": 15}
    with use(path):
        assert explain("integer_linear", (counts, weight), **levels).path == path
        sums = integer_linear(counts, weight, **levels)
    assert torch.equal(sums, exact(counts, weight))


@pytest.mark.parametrize(
    ("count_levels", "weight_levels"), [(1, 1), (4, 15), (16, 8), (2, 16), (8, 16)]
)
def test_fp8_up_to_its_bounds(count_levels, weight_levels):
    k = 4096
    counts = torch.full((256, k), count_levels, dtype=torch.uint8, device="cuda")
    counts[1::2] = torch.randint(0, count_levels + 1, (128, k), device="cuda").to(torch.uint8)
    weight = torch.full((256, k), weight_levels, dtype=torch.int8, device="cuda")
    weight[1::4] = -weight_levels
    weight[2::4, : k // 2] = -weight_levels  # a large sum of one sign, then small differences
    weight[3::4] = torch.randint(-weight_levels, weight_levels + 1, (64, k), device="cuda").to(
        torch.int8
    )
    with use("fp8"):
        sums = integer_linear(
            counts, weight, count_levels=count_levels, weight_levels=weight_levels
        )
    assert torch.equal(sums, exact(counts, weight))


def test_fp8_is_refused_with_a_reason():
    counts, weight = on_device(draw_counts(64, 64), draw_weight(64, 64))
    with use("fp8"):
        told = explain("integer_linear", (counts, weight), count_levels=15, weight_levels=127)
    assert told.path == "triton" and "exactly" in told.refused["fp8"]


# neuron, T, B, N, K, threshold (None: one a channel), is the bound promised, is there a membrane
FUSED_LAYERS = [
    ("half up", 1, 4096, 1024, 512, None, False, False),
    ("half up", 1, 4096, 1024, 512, None, True, False),
    ("half up", 1, 4096, 1000, 501, None, True, False),
    ("half up", 1, 4096, 1024, 512, 128, False, True),
    ("floor", 1, 65, 77, 99, 333, False, False),
    ("one level", 4, 1024, 512, 512, None, True, True),
    ("leaky", 4, 1024, 512, 512, None, True, True),
    ("leaky", 3, 65, 77, 99, None, False, False),
    ("leaky, hard", 3, 65, 77, 99, None, True, True),
    ("no reset", 4, 1024, 512, 512, 333, False, True),
]


@pytest.mark.parametrize("layer", FUSED_LAYERS, ids=str)
def test_fused_neuron(layer):
    name, timesteps, m, n, k, value, promised, stateful = layer
    neuron = NEURONS[name]
    counts, weight = draw_counts(timesteps * m, k), draw_weight(n, k)
    bias = torch.randint(-300, 300, (n,), dtype=torch.int32)
    v = torch.randint(-500, 500, (m, n), dtype=torch.int32) if stateful else None
    counts, weight, bias, v = on_device(counts, weight, bias, v)
    sums = exact(counts, weight) + bias
    theta = draw_thresholds(n, k).cuda() if value is None else None
    threshold = value if theta is None else theta
    expected, membrane = fire_rows(sums, theta, value or 0, v, timesteps, neuron)
    out, last = integer_linear_fire(
        counts, weight, threshold, neuron, bias=bias, v=v, timesteps=timesteps, count_levels=4,
        bound=bound_of(threshold, neuron.levels, bias) if promised else 2**31 - 1,
        keep_state=stateful,
    )  # fmt: skip
    assert torch.equal(out, expected)
    assert last is None or torch.equal(last, membrane)
    counted, last = integer_fire(sums, threshold, neuron, timesteps, v)
    assert torch.equal(counted, expected) and torch.equal(last, membrane)


def test_the_benchmarked_layer():
    counts = torch.randint(0, 5, (65536, 1024), device="cuda") * (
        torch.rand(65536, 1024, device="cuda") < 0.25
    )
    counts = counts.to(torch.uint8)
    weight = torch.randint(-127, 128, (1024, 1024), device="cuda").to(torch.int8)
    theta = torch.randint(500, 4000, (1024,), dtype=torch.int32, device="cuda")
    neuron = IntegerNeuron(4)
    for bound in (2**31 - 1, bound_of(theta, 4)):
        out, _ = integer_linear_fire(counts, weight, theta, neuron, count_levels=4, bound=bound)
        for rows in (slice(0, 4096), slice(61440, 65536)):
            expected, _ = fire_rows(exact(counts[rows], weight), theta, 0, None, 1, neuron)
            assert torch.equal(out[rows], expected)
        assert out.float().mean() > 0.1


def test_more_than_two_to_the_31_elements():
    counts = torch.zeros(70_000, 32_768, dtype=torch.uint8, device="cuda")
    counts[-3:, -5:] = 7
    weight = torch.full((16, 32_768), -3, dtype=torch.int8, device="cuda")
    sums = integer_linear(counts, weight, count_levels=7)
    assert (sums[-3:] == -105).all() and int(sums.abs().sum()) == 3 * 16 * 105


# B, H, W, C, O, kernel, stride, padding; the largest count
CONVOLUTIONS = [
    ((64, 32, 32, 256, 256, 3, 1, 1), 127),
    ((16, 56, 56, 64, 128, 3, 2, 1), 127),
    ((33, 14, 15, 96, 80, 3, 1, 1), 255),
    ((8, 28, 28, 128, 512, 1, 1, 0), 15),
    ((8, 28, 28, 512, 64, 1, 2, 0), 255),
    ((2, 40, 40, 3, 48, 7, 2, 3), 255),
    ((2, 5, 7, 5, 4, 3, 1, 0), 127),
]


@pytest.mark.parametrize(("case", "levels"), CONVOLUTIONS, ids=str)
def test_convolution(case, levels):
    b, h, w, c, o, kernel, stride, padding = case
    counts = draw_counts(b, h, w, c, levels=levels).cuda()
    weight = draw_weight(o, kernel, kernel, c).cuda()
    bias = torch.randint(-(2**20), 2**20, (o,), dtype=torch.int32, device="cuda")
    right = product(counts, weight, stride, padding, exact) + bias
    options = {"stride": stride, "padding": padding, "count_levels": levels}
    assert torch.equal(integer_conv2d(counts, weight, bias, **options), right)


@pytest.mark.parametrize(
    ("name", "timesteps", "channels", "value", "stateful"),
    [
        ("half up", 1, 128, None, False),
        ("one level", 1, 64, 333, False),
        ("leaky, hard", 4, 64, None, True),
        ("leaky", 2, 5, 333, True),
    ],
)
def test_fused_convolution(name, timesteps, channels, value, stateful):
    neuron, o = NEURONS[name], 96
    counts = draw_counts(timesteps * 6, 17, 16, channels).cuda()
    weight = draw_weight(o, 3, 3, channels).cuda()
    bias = torch.randint(-300, 300, (o,), dtype=torch.int32, device="cuda")
    sums = (product(counts, weight, 1, 1, exact) + bias).reshape(-1, o)
    v = rows = None
    if stateful:
        v = torch.randint(-500, 500, (6, 17, 16, o), dtype=torch.int32, device="cuda")
        rows = v.reshape(-1, o)
    theta = draw_thresholds(o, 9 * channels).cuda() if value is None else None
    threshold = value if theta is None else theta
    expected, membrane = fire_rows(sums, theta, value or 0, rows, timesteps, neuron)
    out, last = integer_conv2d_fire(
        counts, weight, threshold, neuron, bias=bias, padding=1, v=v, count_levels=4,
        timesteps=timesteps, bound=bound_of(threshold, neuron.levels, bias), keep_state=stateful,
    )  # fmt: skip
    assert torch.equal(out.reshape(-1, o), expected)
    assert last is None or torch.equal(last.reshape(-1, o), membrane)


@pytest.mark.parametrize(
    ("shape", "levels"),
    [
        ((1, 1, 1, 1, 1), 1),
        ((32, 8, 196, 48, 48), 4),
        ((1, 2, 4096, 64, 64), 15),
        ((2, 3, 333, 130, 100), 8),
        ((2, 3, 333, 130, 100), 15),
    ],
    ids=str,
)
def test_attention(shape, levels):
    b, h, n, d, e = shape
    q, k, v = (draw_counts(b, n, h * size, levels=levels).cuda() for size in (d, d, e))
    q, k, v = (x.unflatten(2, (h, -1)).transpose(1, 2) for x in (q, k, v))
    right = (q.double() @ (k.double().transpose(-1, -2) @ v.double())).to(torch.int32)
    for _ in range(3):
        assert torch.equal(integer_attention(q, k, v, levels), right)


def test_largest_attention():
    for n, d, levels in ((4096, 64, 20), (65536, 128, 6), (520, 2, 127)):
        full = torch.full((2, 2, n, d), levels, dtype=torch.uint8, device="cuda")
        assert (integer_attention(full, full, full, levels) == d * n * levels**3).all()
