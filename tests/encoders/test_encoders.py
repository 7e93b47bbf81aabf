"""What all encoders keep: ranges, generators, steps that equal the folded form."""

from __future__ import annotations

import pytest
import torch

import synfire
from synfire.core.errors import InputError
from synfire.core.time import Encoder
from synfire.core.tracing import tracing
from synfire.encoders import Direct, Latency, Poisson

ENCODERS = [Direct(), Direct("first"), Poisson(), Poisson(gain=0.3), Latency()]
every = pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
unit_range = pytest.mark.parametrize("encoder", [Poisson(), Latency()], ids=repr)


def seeded_generator():
    return torch.Generator().manual_seed(11)


@every
@pytest.mark.parametrize("timesteps", [1, 2, 5])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 1, 5, 5), (0, 3)])
def test_steps_equal_the_folded_form(encoder, timesteps, shape):
    x = torch.rand(shape)
    folded = encoder(x, timesteps, generator=seeded_generator())
    assert folded.shape == (timesteps * shape[0], *shape[1:])
    assert folded.dtype == x.dtype
    generator = seeded_generator()
    steps = [encoder.step(x, t, timesteps, generator=generator) for t in range(timesteps)]
    assert torch.equal(torch.cat(steps), folded)


@every
def test_follows_the_protocol(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.stochastic == isinstance(encoder, Poisson)
    assert encoder.describe()["name"] == type(encoder).__name__
    assert eval(repr(encoder)).describe() == encoder.describe()


@every
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_no_numbers(encoder, bad):
    x = torch.rand(3, 4)
    x[1, 2] = bad
    for call in (lambda: encoder(x, 2), lambda: encoder.step(x, 0, 2)):
        with pytest.raises(InputError, match="scale or clean the input"):
            call()


@unit_range
@pytest.mark.parametrize("bad", [-1e-6, 1.0001, 255.0])
def test_values_outside_of_the_range(encoder, bad):
    x = torch.rand(3, 4)
    x[1, 2] = bad
    with pytest.raises(InputError, match=r"takes values in \[0.0, 1.0\], got \["):
        encoder(x, 2)


@unit_range
def test_the_ends_of_the_range_are_inside(encoder):
    assert encoder(torch.tensor([[0.0, 1.0]]), 3).shape == (3, 2)


@every
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused(encoder, dtype):
    with pytest.raises(InputError, match=rf"takes floating-point values, got {dtype}"):
        encoder(torch.ones(2, 3).to(dtype), 2)


@every
def test_checks_are_skipped_in_traces(encoder):
    x = torch.full((2, 3), torch.nan)
    with tracing():
        assert encoder(x, 2).shape == (4, 3)


@every
def test_nan_is_refused_before_the_net_runs(encoder):
    net = synfire.TimeFolded(torch.nn.Identity(), timesteps=2, encoder=encoder)
    with pytest.raises(InputError, match="scale or clean"):
        net(torch.full((2, 3), torch.nan))
