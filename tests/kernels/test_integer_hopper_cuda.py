"""The Hopper designs of integer layers, bit exact; in a file of their own, for a kernel that waits for ever ends it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from synfire.kernels.integer_conv import integer_conv2d_fire, tuning
from synfire.kernels.integer_conv.reference import product
from synfire.kernels.integer_linear import integer_linear_fire
from synfire.kernels.integer_linear import tuning as linear_tuning
from synfire.kernels.integer_linear.tuning import DESIGNS
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows
from tests.kernels.integer_cases import draw_counts, draw_thresholds, draw_weight

pytestmark = pytest.mark.gpu

SHAPES = [(128, 128, 128), (1, 16, 16), (1000, 528, 784), (4096, 1024, 1024), (70_000, 256, 512)]


@pytest.fixture(autouse=True)
def hopper():
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")


def agree(name, shape, neuron, threshold, bias, bound):
    from synfire.kernels.integer_linear import triton_hopper

    m, n, k = shape
    counts, weight = draw_counts(m, k, levels=15).cuda(), draw_weight(n, k).cuda()
    sums = (counts.double() @ weight.double().T).to(torch.int32)
    tensor, value = (threshold, 0) if isinstance(threshold, torch.Tensor) else (None, threshold)
    charged = sums if bias is None else sums + bias
    right, _ = fire_rows(charged, tensor, value, None, 1, neuron)
    out = triton_hopper.linear_fire(
        counts, weight, bias, neuron=neuron, threshold=tensor, threshold_value=value, bound=bound,
        design=DESIGNS[name],
    )  # fmt: skip
    assert torch.equal(out, right)


def draw_bias(n):
    return torch.randint(-300, 300, (n,), dtype=torch.int32, device="cuda")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DESIGNS)
def test_every_shape(name, shape):
    neuron, bias = IntegerNeuron(4), draw_bias(shape[1])
    theta = draw_thresholds(*shape[1:]).cuda()
    agree(name, shape, neuron, theta, bias, bound_of(theta, neuron.levels, bias))
    agree(name, shape, neuron, 512, None, 2**31 - 1)


@pytest.mark.parametrize(
    "neuron", [IntegerNeuron(4), IntegerNeuron(15, "floor"), IntegerNeuron()], ids=str
)
@pytest.mark.parametrize("name", DESIGNS)
def test_every_form_of_the_neuron(name, neuron):
    shape = (5000, 528, 784)
    theta, bias = draw_thresholds(*shape[1:]).cuda(), draw_bias(528)
    for bound in (2**31 - 1, bound_of(theta, neuron.levels, bias)):
        agree(name, shape, neuron, theta, bias, bound)
    agree(name, shape, neuron, 333, bias, 2**31 - 1)
    agree(name, shape, neuron, 100_003, None, 2**31 - 1)


@pytest.mark.parametrize("name", DESIGNS)
def test_rings_of_two_stages_and_repeated_runs(name):
    from synfire.kernels.integer_linear import triton_hopper

    counts, weight = draw_counts(8192, 1024).cuda(), draw_weight(512, 1024).cuda()
    design = dataclasses.replace(DESIGNS[name], stages=2, group=3)
    sums = (counts.double() @ weight.double().T).to(torch.int32)
    right, _ = fire_rows(sums, None, 512, None, 1, IntegerNeuron(4))
    for _ in range(20):
        out = triton_hopper.linear_fire(
            counts, weight, None, neuron=IntegerNeuron(4), threshold_value=512, design=design
        )
        assert torch.equal(out, right)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("name", DESIGNS)
def test_largest_sums(name, sign):
    from synfire.kernels.integer_linear import triton_hopper

    k = 1024
    counts = torch.full((256, k), 127, dtype=torch.uint8, device="cuda")
    weight = torch.full((128, k), 127 * sign, dtype=torch.int8, device="cuda")
    neuron = IntegerNeuron(255, "floor")
    out = triton_hopper.linear_fire(
        counts, weight, None, neuron=neuron, threshold_value=100_000, design=DESIGNS[name]
    )
    assert (out == (max(0, 127 * 127 * k * sign) // 100_000)).all()


# B, size, C, O, kernel, stride, padding
CONVOLUTIONS = [
    (64, 32, 256, 256, 3, 1, 1),
    (9, 28, 64, 48, 3, 1, 1),
    (33, 14, 96, 272, 3, 1, 0),
    (5, 15, 128, 128, 3, 2, 1),
    (16, 56, 32, 64, 3, 2, 1),
    (7, 12, 64, 128, 1, 1, 0),
    (7, 13, 64, 128, 1, 2, 0),
    (3, 20, 32, 32, 5, 1, 2),
    (140, 7, 512, 128, 3, 1, 1),
]
BOXED = [name for name, design in DESIGNS.items() if not design.resident]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("name", BOXED)
def test_convolution_equals_the_definition(name, case):
    from synfire.kernels.integer_conv import triton_hopper

    b, size, c, o, kernel, stride, padding = case
    design = DESIGNS[name]
    counts = draw_counts(b, size, size, c).cuda()
    weight = draw_weight(o, kernel, kernel, c).cuda()
    bias = torch.randint(-300, 300, (o,), dtype=torch.int32, device="cuda")
    box = tuning.box_for(counts, weight, stride, padding, design)
    assert not isinstance(box, str), box
    sums = product(
        counts, weight, stride, padding, lambda x, w: (x.double() @ w.double().T).to(torch.int32)
    )
    rows = sums.reshape(-1, o) + bias
    neuron = IntegerNeuron(4)
    for threshold in (draw_thresholds(o, kernel * kernel * c).cuda(), 512):
        tensor, value = (threshold, 0) if isinstance(threshold, torch.Tensor) else (None, threshold)
        right, _ = fire_rows(rows, tensor, value, None, 1, neuron)
        for _ in range(3):
            out = triton_hopper.conv_fire(
                counts, weight, bias, stride, padding, neuron=neuron, threshold=tensor,
                threshold_value=value, bound=bound_of(threshold, 4, bias), design=design, box=box,
            )  # fmt: skip
            assert torch.equal(out.reshape(-1, o), right)


@pytest.mark.parametrize("name", BOXED)
def test_operators_take_the_design_of_the_table(name, monkeypatch):
    counts, weight = draw_counts(20_000, 256).cuda(), draw_weight(256, 256).cuda()
    pictures, kernel = draw_counts(32, 32, 32, 64).cuda(), draw_weight(256, 3, 3, 64).cuda()
    neuron = IntegerNeuron(4)
    plain = (
        integer_linear_fire(counts, weight, 300, neuron)[0],
        integer_conv2d_fire(pictures, kernel, 300, neuron, padding=1)[0],
    )
    monkeypatch.setattr(linear_tuning, "FUSED", DESIGNS[name])
    monkeypatch.setattr(tuning, "FUSED", DESIGNS[name])
    assert linear_tuning.design_for(counts, weight) == DESIGNS[name]
    assert tuning.design_for(pictures, kernel, 1, 1)[0] == DESIGNS[name]
    fused = (
        integer_linear_fire(counts, weight, 300, neuron)[0],
        integer_conv2d_fire(pictures, kernel, 300, neuron, padding=1)[0],
    )
    for a, b in zip(plain, fused, strict=True):
        assert torch.equal(a, b)
