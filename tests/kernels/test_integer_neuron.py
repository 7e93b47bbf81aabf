"""The integer neuron: its definition against a count of thresholds in int64, states, refusals."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels import explain
from synfire.kernels.integer_neuron import IntegerNeuron, bound_of, integer_fire, integer_fire_op
from tests.kernels.integer_cases import NEURONS, fire_by_hand, wide

LARGE = 2**31 - 1


def draw(*shape: int, size: int = 2000):
    return torch.randint(-size, size, shape, dtype=torch.int32)


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize(("timesteps", "shape"), [(1, (7,)), (4, (3, 5)), (3, (2, 3, 63))])
def test_equals_a_count_of_thresholds(name, timesteps, shape):
    neuron = NEURONS[name]
    x, v = draw(timesteps * 2, *shape), draw(2, *shape)
    for threshold in (torch.randint(1, 700, (shape[-1],), dtype=torch.int32), 256, 77, 1):
        for state in (None, v):
            counts, last = integer_fire(x, threshold, neuron, timesteps, state)
            steps = wide(x.unflatten(0, (timesteps, 2)))
            start = wide(torch.zeros_like(v) if state is None else state)
            theta = wide(threshold) if isinstance(threshold, torch.Tensor) else threshold
            s, membrane = fire_by_hand(steps, start, theta, neuron)
            assert counts.dtype == torch.uint8 and last.dtype == torch.int32
            assert (wide(counts).reshape(s.shape) == s).all()
            assert (wide(last) == membrane).all()


def test_a_state_carries_over():
    x = draw(8, 5)
    neuron = IntegerNeuron(4, dv=300)
    whole, last = integer_fire(x, 333, neuron, 4)
    first, v = integer_fire(x[:4], 333, neuron, 2)
    second, v = integer_fire(x[4:], 333, neuron, 2, v)
    assert torch.equal(whole, torch.cat([first, second])) and torch.equal(last, v)


def test_ends_of_int32():
    x = torch.tensor([[LARGE, -LARGE - 1, 0, 1, -1, LARGE - 1]], dtype=torch.int32)
    for neuron in (IntegerNeuron(1), IntegerNeuron(255), IntegerNeuron(4, "floor", "none")):
        largest = LARGE // (neuron.levels + 1)
        for threshold in (1, 2, 3, largest, largest - 1):
            counts, last = integer_fire(x, threshold, neuron)
            s, membrane = fire_by_hand(wide(x)[None], 0 * wide(x), threshold, neuron)
            assert (wide(counts) == s[0]).all() and (wide(last) == membrane).all()


def test_decays_of_twelve_bits_round_towards_zero():
    v = torch.tensor([[4095, -4095, 1, -1, LARGE, -LARGE]], dtype=torch.int32)
    for dv, expected in ((0, v[0].tolist()), (4096, [0] * 6)):
        _, last = integer_fire(torch.zeros_like(v), LARGE // 2, IntegerNeuron(1, dv=dv), v=v)
        assert last.tolist() == [expected] or dv == 0
    _, last = integer_fire(torch.zeros_like(v[:, :4]), 9999, IntegerNeuron(dv=1), v=v[:, :4])
    assert last.tolist() == [[4094, -4094, 0, 0]]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_empty(shape):
    counts, last = integer_fire(draw(*shape), 4, IntegerNeuron(), 2)
    assert counts.shape == shape and last.shape == (shape[0] // 2, shape[1])


def test_opcheck():
    for threshold, value, v in (
        (None, 64, None),
        (torch.full((3,), 9, dtype=torch.int32), 0, draw(2, 3)),
    ):
        given = (draw(4, 3), threshold, value, v, 2, 4, "half_up", "soft", 100)
        assert set(opcheck(integer_fire_op, given).values()) == {"SUCCESS"}


def test_refusals():
    neuron = IntegerNeuron()
    with pytest.raises(InputError, match="no gradient"):
        integer_fire(torch.rand(2, 3), 4, neuron)
    with pytest.raises(InputError, match="scalar"):
        integer_fire(torch.tensor(3, dtype=torch.int32), 4, neuron)
    with pytest.raises(InputError, match="multiple of timesteps=2"):
        integer_fire(draw(3, 3), 4, neuron, 2)
    with pytest.raises(InputError, match="membrane"):
        integer_fire(draw(4, 3), 4, neuron, 2, draw(4, 3))
    with pytest.raises(InputError, match="threshold tensor"):
        integer_fire(draw(4, 3), draw(4), neuron)
    for threshold in (0, -3, 2**30):
        with pytest.raises(ConfigError, match="threshold"):
            integer_fire(draw(4, 3), threshold, neuron)
    for constants in (
        {"levels": 0},
        {"levels": 256},
        {"rounding": "half_even"},
        {"reset": "x"},
        {"dv": 5000},
    ):
        with pytest.raises(ConfigError, match=next(iter(constants))):
            IntegerNeuron(**constants)


def test_bound_and_path():
    bias = torch.tensor([-70, 3], dtype=torch.int32)
    assert bound_of(10, 4, bias) == 70 and bound_of(torch.tensor([10, 90]), 4, bias) == 450
    assert explain("integer_fire", draw(2, 2)).path == "reference"
