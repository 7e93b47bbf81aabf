"""The Hopper design of integer layers, bit exact; in a file of its own, for a kernel that waits for ever ends it.

Every neuron here is a kernel that compiles for seconds: cases that differ in shape only are cheap, others are not.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from synfire.kernels.integer_linear import integer_linear_fire
from synfire.kernels.integer_linear.tuning import FUSED, LARGE, design_for
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows
from tests.kernels.integer_cases import draw_counts, draw_thresholds, draw_weight

pytestmark = pytest.mark.gpu

SHAPES = [
    (1, 16, 16), (128, 128, 128), (257, 144, 1040), (1000, 528, 784), (4096, 1024, 1024),
    (70_000, 256, 512), (300, 64, 4096),
]  # fmt: skip
FOUR = IntegerNeuron(4)


@pytest.fixture(autouse=True)
def hopper():
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")


def exact(counts, weight):
    return (counts.double() @ weight.double().T).to(torch.int32)


def draw(shape, levels=15):
    m, n, k = shape
    bias = torch.randint(-300, 300, (n,), dtype=torch.int32, device="cuda")
    theta = draw_thresholds(n, k).cuda()
    return draw_counts(m, k, levels=levels).cuda(), draw_weight(n, k).cuda(), bias, theta


def agree(counts, weight, bias, threshold, neuron, bound=2**31 - 1, design=FUSED):
    from synfire.kernels.integer_linear import triton_hopper

    tensor, value = (threshold, 0) if isinstance(threshold, torch.Tensor) else (None, threshold)
    sums = exact(counts, weight) if bias is None else exact(counts, weight) + bias
    right, _ = fire_rows(sums, tensor, value, None, 1, neuron)
    out = triton_hopper.linear_fire(
        counts, weight, bias, neuron=neuron, threshold=tensor, threshold_value=value, bound=bound,
        design=design,
    )  # fmt: skip
    assert torch.equal(out, right), f"{int((out != right).sum())} of {out.numel()} counts are wrong"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(shape):
    counts, weight, bias, theta = draw(shape)
    agree(counts, weight, bias, theta, FOUR, bound_of(theta, 4, bias))
    agree(counts, weight, None, 512, FOUR)


@pytest.mark.parametrize("weights", [127, -128, "alternating"])
@pytest.mark.parametrize("level", [15, 127])
def test_adversarial_sums(level, weights):
    m, n, k = 700, 272, 4096
    counts = torch.full((m, k), level, dtype=torch.uint8, device="cuda")
    weight = torch.full((n, k), 127, dtype=torch.int8, device="cuda")
    if weights == "alternating":
        weight[:, ::2] = -127
        weight[1::2, : k // 2] = 127  # from a large sum to a smaller one
    else:
        weight.fill_(weights)
    theta = torch.randint(1, 2**18, (n,), dtype=torch.int32, device="cuda")
    bias = torch.randint(-(2**18), 2**18, (n,), dtype=torch.int32, device="cuda")
    agree(counts, weight, bias, theta, FOUR)
    agree(counts, weight, None, 512, FOUR)


@pytest.mark.parametrize("neuron", [IntegerNeuron(), IntegerNeuron(15, "floor")], ids=str)
def test_other_neurons(neuron):
    counts, weight, bias, theta = draw((5000, 528, 784))
    agree(counts, weight, bias, theta, neuron, bound_of(theta, neuron.levels, bias))


def test_one_threshold_that_is_no_power_of_two():
    counts, weight, bias, _ = draw((5000, 528, 784))
    for threshold in (333, 100_003):
        agree(counts, weight, bias, threshold, IntegerNeuron(255, "floor"))


def test_a_ring_of_two_stages_and_repeated_runs():
    counts, weight, *_ = draw((8192, 512, 1024))
    for _ in range(10):
        agree(counts, weight, None, 512, FOUR, design=dataclasses.replace(FUSED, stages=2, group=3))


def test_the_operator_takes_the_design():
    counts, weight, bias, theta = draw((20_000, 512, 256), levels=127)
    assert design_for(counts, weight) == FUSED
    assert design_for(counts[: LARGE.rows], weight) is None
    out, last = integer_linear_fire(
        counts, weight, theta, FOUR, bias=bias, bound=bound_of(theta, 4, bias)
    )
    right, _ = fire_rows(exact(counts, weight) + bias, theta, 0, None, 1, FOUR)
    assert torch.equal(out, right) and last is None
