"""The Hopper designs of integer layers, bit exact; in a file of their own, for a kernel that waits for ever ends it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from synfire.kernels.integer_linear.tuning import DESIGNS
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, fire_rows
from tests.kernels.integer_cases import draw_counts, draw_thresholds, draw_weight

pytestmark = pytest.mark.gpu

SHAPES = [(128, 128, 128), (1, 16, 16), (1000, 528, 784), (4096, 1024, 1024), (70_000, 256, 512)]


@pytest.fixture(autouse=True)
def hopper():
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs compute capability 9.0")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DESIGNS)
def test_equals_the_definition(name, shape):
    from synfire.kernels.integer_linear import triton_hopper

    design = DESIGNS[name]
    m, n, k = shape
    counts, weight = draw_counts(m, k, levels=15).cuda(), draw_weight(n, k).cuda()
    bias = torch.randint(-300, 300, (n,), dtype=torch.int32, device="cuda")
    sums = (counts.double() @ weight.double().T).to(torch.int32)
    for neuron in (IntegerNeuron(4), IntegerNeuron(15, "floor"), IntegerNeuron(1)):
        for threshold in (draw_thresholds(n, k).cuda(), 128, 333, 100_003):
            tensor, value = (
                (threshold, 0) if isinstance(threshold, torch.Tensor) else (None, threshold)
            )
            for b in (None, bias):
                charged = sums if b is None else sums + b
                right, _ = fire_rows(charged, tensor, value, None, 1, neuron)
                for bound in (2**31 - 1, bound_of(threshold, neuron.levels, b)):
                    out = triton_hopper.linear_fire(
                        counts, weight, b, neuron=neuron, threshold=tensor, threshold_value=value,
                        bound=bound, design=design,
                    )  # fmt: skip
                    assert torch.equal(out, right)


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
