"""The Triton form of the integer neuron equals the reference bit for bit; here in the interpreter."""

from __future__ import annotations

import pytest
import torch

from synfire.kernels.integer_neuron import IntegerNeuron, fire_rows
from tests.kernels.integer_cases import NEURONS

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
kernels = pytest.importorskip("synfire.kernels.integer_neuron.triton")

pytestmark = pytest.mark.interpreter
ENDS = [2**31 - 1, -(2**31), 0, 1, -1, 2**31 - 2, -(2**31) + 1]


@triton.jit
def _at_once(acc, bias, theta, out, D: tl.constexpr, HALF: tl.constexpr, N: tl.constexpr):
    place = tl.arange(0, N)
    whole = tl.zeros((N,), tl.int32)
    factor, offset = kernels.share_by(whole + bias, whole + theta, D, HALF)
    s = kernels.counts_at_once(tl.load(acc + place), factor, offset, D)
    tl.store(out + place, s)


def at_once(acc, bias, theta, neuron):
    flat = torch.zeros(8192, dtype=torch.int32)
    flat[: acc.numel()] = acc.flatten()
    out = torch.empty_like(flat)
    half = neuron.rounding == "half_up"
    _at_once[(1,)](flat, bias, theta, out, D=neuron.levels, HALF=half, N=8192)
    return out[: acc.numel()].reshape(acc.shape)


def agree(*call):
    counts, last = kernels.fire_rows(*call)
    expected, membrane = fire_rows(*call)
    assert torch.equal(counts, expected)
    assert torch.equal(last, membrane)


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize(("timesteps", "shape"), [(1, (2, 7)), (4, (4, 5)), (3, (6, 700))])
def test_equals_the_reference(name, timesteps, shape):
    x = torch.randint(-3000, 3000, shape, dtype=torch.int32)
    v = torch.randint(-3000, 3000, (shape[0] // timesteps, shape[1]), dtype=torch.int32)
    for value in (1, 2, 256, 77, 1001):
        agree(x, None, value, v, timesteps, NEURONS[name])
    theta = torch.randint(1, 3000, (shape[1],), dtype=torch.int32)
    agree(x, theta, 0, None, timesteps, NEURONS[name])
    agree(x.t().contiguous().t(), theta, 0, v, timesteps, NEURONS[name])


@pytest.mark.parametrize("name", NEURONS)
def test_ends_of_int32(name):
    neuron = NEURONS[name]
    largest = (2**31 - 1) // (neuron.levels + 1)
    v = torch.tensor([ENDS], dtype=torch.int32)
    for threshold in (1, 3, 64, largest, largest - 1):
        agree(torch.zeros_like(v), None, threshold, v, 1, neuron)
        agree(v, None, threshold, None, 1, neuron)


@pytest.mark.parametrize("levels", [2, 4, 15, 255])
@pytest.mark.parametrize("rounding", ["floor", "half_up"])
def test_fast_division_at_every_tie(levels, rounding):
    neuron = IntegerNeuron(levels, rounding)
    for theta in {3, 5, 7, 100, 257, kernels.FAST_BOUND // (levels + 1)}:
        ties = torch.arange(-2, 2 * levels + 4)[:, None] * theta
        h = (ties // 2 + torch.arange(-2, 3)[None]).int()
        expected, _ = fire_rows(h, None, theta, None, 1, neuron)
        assert kernels.mode_of(None, theta, levels, 2**31)["MODE"] in ("fast", "shift")
        agree(h, None, theta, None, 1, neuron)
        for bias in (0, -kernels.FAST_BOUND, kernels.FAST_BOUND, 12345):
            assert torch.equal(at_once(h - bias, bias, theta, neuron), expected.int())


def test_promises_choose_the_division():
    assert kernels.mode_of(None, 64, 4, 2**31) == {"MODE": "shift", "SHIFT": 6}
    assert kernels.mode_of(None, 65, 4, 2**31)["MODE"] == "fast"
    assert kernels.mode_of(None, 2**20 + 1, 4, 2**31)["MODE"] == "exact"
    theta = torch.ones(3)
    assert kernels.mode_of(theta, 0, 4, 2**31)["MODE"] == "exact"
    assert kernels.mode_of(theta, 0, 4, 5000)["MODE"] == "fast"
