"""Poisson encoding: mean and variance of Bernoulli draws, generators."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.encoders import Poisson


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_mean_and_variance(gain):
    """Rates over T steps: mean gain x, variance gain x (1 - gain x) / T; 20,000 samples a value."""
    timesteps, samples = 8, 20_000
    values = torch.tensor([0.0, 0.1, 0.5, 0.85, 1.0])
    x = values.expand(samples, 5)
    generator = torch.Generator().manual_seed(1)
    spikes = Poisson(gain)(x, timesteps, generator=generator)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    rates = spikes.reshape(timesteps, samples, 5).double().mean(0)
    p = gain * values.double()
    variance = p * (1 - p) / timesteps
    error = (variance / samples).sqrt()
    assert bool(((rates.mean(0) - p).abs() <= 4 * error + 1e-12).all())
    torch.testing.assert_close(rates.var(0), variance, rtol=0.05, atol=1e-12)


def test_timesteps_and_samples_are_independent():
    x = torch.full((20_000, 1), 0.5)
    spikes = Poisson()(x, 2, generator=torch.Generator().manual_seed(2)).reshape(2, -1)
    agreement = (spikes[0] == spikes[1]).double().mean().item()
    assert agreement == pytest.approx(0.5, abs=0.02)


def test_generators():
    x = torch.rand(5, 7)
    draws = [Poisson()(x, 3, generator=torch.Generator().manual_seed(s)) for s in (4, 4, 5)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    generator = torch.Generator().manual_seed(4)
    assert torch.equal(Poisson()(x, 3, generator=generator), draws[0])
    assert not torch.equal(Poisson()(x, 3, generator=generator), draws[0])


def test_without_a_generator_the_global_one_draws():
    x = torch.rand(5, 7)
    torch.manual_seed(3)
    first = Poisson()(x, 3)
    torch.manual_seed(3)
    assert torch.equal(Poisson()(x, 3), first)


def test_certain_values():
    for dtype in (torch.float16, torch.float32, torch.float64):
        x = torch.tensor([0.0, 1.0], dtype=dtype).expand(5000, 2)
        spikes = Poisson()(x, 2)
        assert not bool(spikes[:, 0].any())
        assert bool(spikes[:, 1].all())


def test_no_gradient_passes():
    assert not Poisson()(torch.rand(2, 3, requires_grad=True), 2).requires_grad


@pytest.mark.parametrize("gain", [0.0, 1.5, -1.0])
def test_gain_is_a_probability(gain):
    with pytest.raises(ConfigError, match=r"gain is the largest spike probability, in \(0, 1\]"):
        Poisson(gain)
