"""LIF against its loop, closed forms, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.neurons import LIF, decay_from_tau
from tests.neurons.loops import drive, folded, leaky


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 1.0])
def test_equals_its_loop(decay, reset):
    x = drive(15, 2, 3, 4)
    for decay_input, gain in ((False, 0.7), (True, 1 - decay)):
        neuron = LIF(
            decay=decay,
            threshold=0.8,
            input_gain=0.7,
            decay_input=decay_input,
            reset=reset,
            reset_value=-0.1,
        )
        expected, v = leaky(x, decay, 0.8, gain, reset, -0.1)
        assert torch.equal(folded(neuron, x), expected)
        _, state = neuron.run(x.flatten(0, 1), None, 15)
        assert torch.equal(state["v"], v)


def test_constant_drive_in_closed_form():
    """Without spikes v_t = x (1 - decay^t) / (1 - decay); with decay_input it nears x."""
    x = torch.full((10, 1), 0.1, dtype=torch.float64)
    _, state = LIF(decay=0.8).run(x, None, 10)
    assert state["v"].item() == pytest.approx(0.1 * (1 - 0.8**10) / 0.2, rel=1e-12)
    _, state = LIF(decay=0.8, decay_input=True).run(x.repeat(20, 1), None, 200)
    assert state["v"].item() == pytest.approx(0.1, rel=1e-12)


def test_spikingjelly_default():
    """tau = 2, decayed input, hard reset to 0: v += (x - v) / tau."""
    x = drive(12, 6)
    v, expected = torch.zeros(6, dtype=torch.float64), []
    for x_t in x:
        v = v + (x_t - v) / 2.0
        s = (v >= 1).double()
        v = (1 - s) * v
        expected.append(s)
    ours = folded(LIF(decay=decay_from_tau(2.0), decay_input=True, reset="hard"), x)
    assert torch.equal(ours, torch.stack(expected))


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_of_two_steps_by_hand(detach):
    """d s_2 / d x_1 = g(h_2) * decay * (1 - [not detached] threshold * g(h_1)), arctan."""
    x = torch.tensor([[0.7], [0.9]], dtype=torch.float64, requires_grad=True)
    out, _ = LIF(decay=0.5, detach_reset=detach).run(x, None, 2)
    out[1].sum().backward()

    def slope(h):
        return 1 / (1 + (math.pi * (h - 1)) ** 2)

    first, second = 0.7, 0.5 * 0.7 + 0.9
    through = 0.5 * (1 if detach else 1 - slope(first))
    assert x.grad.flatten().tolist() == pytest.approx([slope(second) * through, slope(second)])


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decay_is_a_factor(decay):
    with pytest.raises(ConfigError, match=r"decay is the factor kept .* in \[0, 1\]"):
        LIF(decay=decay)
