"""ParametricLIF: the loop with a learned decay, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synfire.core.errors import ConfigError
from synfire.neurons import ParametricLIF
from tests.kernels.oracle import SLOPES
from tests.neurons.loops import drive, folded, leaky


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("decay_input", [True, False])
def test_equals_its_loop(decay_input, channels):
    neuron = ParametricLIF(
        decay=0.7, threshold=0.6, channels=channels, decay_input=decay_input, learn_threshold=True
    ).double()
    with torch.no_grad():
        for p in neuron.parameters():
            p.add_(torch.rand(p.shape))
    shape = (-1, 1) if channels else ()
    decay = torch.sigmoid(neuron.decay_logit).reshape(shape)
    threshold = neuron.log_threshold.exp().reshape(shape)
    x = drive(10, 2, 3, 4)
    expected, _ = leaky(x, decay, threshold, 1 - decay if decay_input else 1.0)
    assert torch.equal(folded(neuron, x), expected)
    assert bool(expected.any())


def test_starts_where_it_is_told():
    neuron = ParametricLIF(decay=0.9, threshold=0.3, channels=2, learn_threshold=True)
    torch.testing.assert_close(neuron.decay, torch.full((2,), 0.9))
    torch.testing.assert_close(neuron.parameters_now()["threshold"], torch.full((2,), 0.3))
    assert [name for name, _ in ParametricLIF().named_parameters()] == ["decay_logit"]


class SmoothSpike(torch.autograd.Function):
    """The step with a Gaussian slope, for the loop."""

    @staticmethod
    def forward(ctx, d):
        ctx.save_for_backward(d)
        return (d >= 0).to(d)

    @staticmethod
    def backward(ctx, grad):
        return grad * SLOPES["gaussian"](ctx.saved_tensors[0], 1.0)


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_of_decay_and_threshold_equal_a_loop(detach):
    neuron = ParametricLIF(
        decay=0.6, channels=3, learn_threshold=True, surrogate="gaussian", detach_reset=detach
    ).double()
    x = drive(8, 2, 3)
    weights = torch.randn(8, 2, 3, dtype=torch.float64)
    (folded(neuron, x) * weights).sum().backward()
    logit = neuron.decay_logit.detach().requires_grad_()
    log_threshold = neuron.log_threshold.detach().requires_grad_()
    decay, threshold = logit.sigmoid(), log_threshold.exp()
    v, total = torch.zeros(2, 3, dtype=torch.float64), 0.0
    for x_t, w_t in zip(x.detach(), weights, strict=True):
        h = decay * v + (1 - decay) * x_t
        s = SmoothSpike.apply(h - threshold)
        total = total + (s * w_t).sum()
        v = h - threshold * (s.detach() if detach else s)
    total.backward()
    torch.testing.assert_close(neuron.decay_logit.grad, logit.grad)
    torch.testing.assert_close(neuron.log_threshold.grad, log_threshold.grad)
    assert bool(logit.grad.abs().min() > 1e-4)


def test_gradient_of_the_decay_equals_finite_differences():
    """Of the last membrane, which is smooth between spikes."""
    neuron = ParametricLIF(decay=0.6, channels=3).double()
    x = drive(6, 2, 3).detach().flatten(0, 1)

    def membrane():
        return neuron.run(x, None, 6)[1]["v"].sum()

    (gradient,) = torch.autograd.grad(membrane(), neuron.decay_logit)
    for channel in range(3):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                neuron.decay_logit[channel] += step
                values.append(membrane().item())
                neuron.decay_logit[channel] -= step
        assert gradient[channel].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_learns_the_decay_of_a_teacher():
    teacher = ParametricLIF(decay=0.9, decay_input=False).double()
    student = ParametricLIF(decay=0.3, decay_input=False, surrogate="gaussian").double()
    x = torch.rand(20, 64, 1, dtype=torch.float64) * 0.5
    with torch.no_grad():
        target = folded(teacher, x).mean()
    optimiser = torch.optim.Adam(student.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        loss = (folded(student, x).mean() - target) ** 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    assert student.decay.item() == pytest.approx(0.9, abs=0.05)


def test_trains_in_float16_autocast_range():
    """Parameters stay float32 where activations are half."""
    neuron = ParametricLIF(channels=3)
    x = torch.randn(4, 3, dtype=torch.bfloat16) + 1
    neuron(x).float().sum().backward()
    assert neuron.decay_logit.grad.dtype == torch.float32


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_decay_starts_inside(decay):
    with pytest.raises(ConfigError, match=r"a learnable decay starts inside \(0, 1\)"):
        ParametricLIF(decay=decay)


def test_wrong_channels_are_named():
    with pytest.raises(ValueError, match=r"one value a channel, got shape \(3,\)"):
        nn.Sequential(ParametricLIF(channels=3))(torch.rand(2, 4))
