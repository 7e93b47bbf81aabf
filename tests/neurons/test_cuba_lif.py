"""CubaLIF against its two equations."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.neurons import LIF, CubaLIF
from tests.neurons.loops import drive, folded


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@pytest.mark.parametrize(("current_decay", "decay"), [(0.5, 0.9), (0.0, 0.8), (1.0, 0.0)])
def test_equals_its_two_equations(current_decay, decay, reset):
    x = drive(15, 2, 5)
    i = v = torch.zeros(2, 5, dtype=torch.float64)
    expected = []
    for x_t in x:
        i = current_decay * i + 0.6 * x_t
        h = decay * v + i
        s = (h >= 0.9).double()
        v = {"soft": h - 0.9 * s, "hard": torch.where(s > 0, 0.1, h), "none": h}[reset]
        expected.append(s)
    neuron = CubaLIF(
        current_decay=current_decay,
        decay=decay,
        threshold=0.9,
        input_gain=0.6,
        reset=reset,
        reset_value=0.1,
    )
    assert torch.equal(folded(neuron, x), torch.stack(expected))
    _, state = neuron.run(x.flatten(0, 1), None, 15)
    assert torch.equal(state["i"], i)
    assert torch.equal(state["v"], v)


def test_impulse_response_in_closed_form():
    """An impulse gives v_t = (a^{t+1} - b^{t+1}) / (a - b) below the threshold."""
    x = torch.zeros(12, 1, dtype=torch.float64)
    x[0] = 1
    a, b = 0.7, 0.4
    for t in range(1, 13):
        _, state = CubaLIF(current_decay=a, decay=b, threshold=100.0).run(x[:t], None, t)
        assert state["v"].item() == pytest.approx((a**t - b**t) / (a - b), rel=1e-12)
        assert state["i"].item() == pytest.approx(a ** (t - 1), rel=1e-12)


def test_without_current_memory_it_is_a_lif():
    x = drive(10, 4)
    cuba = folded(CubaLIF(current_decay=0.0, decay=0.5), x)
    assert torch.equal(cuba, folded(LIF(decay=0.5, reset="hard"), x))


def test_current_decay_is_a_factor():
    with pytest.raises(ConfigError, match="current_decay is the factor kept"):
        CubaLIF(current_decay=1.5)
