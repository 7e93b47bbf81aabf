"""Latency encoding: one spike a value, the earlier the larger."""

from __future__ import annotations

import pytest
import torch

from synfire.encoders import Latency


def first_spikes(values, timesteps):
    """Step of the only spike, or None."""
    out = Latency()(torch.tensor([values], dtype=torch.float64), timesteps)
    columns = out.reshape(timesteps, len(values)).T.tolist()
    return [column.index(1.0) if 1.0 in column else None for column in columns]


def test_anchors():
    assert first_spikes([1.0, 0.75, 0.5, 0.25, 1e-6, 0.0], 5) == [0, 1, 2, 3, 4, None]
    assert first_spikes([1.0, 0.5, 1e-6, 0.0], 2) == [
        0,
        1,
        1,
        None,
    ]  # a half goes to the later step
    assert first_spikes([1.0, 0.2, 0.0], 1) == [0, 0, None]


@pytest.mark.parametrize("timesteps", [1, 2, 5, 16])
def test_exactly_one_spike_of_every_positive_value(timesteps):
    x = torch.cat([torch.rand(1000), torch.linspace(0, 1, 257)])[None]
    out = Latency()(x, timesteps).reshape(timesteps, 1, -1)
    assert torch.equal(out.sum(0), (x > 0).to(x))


def test_larger_is_never_later():
    times = first_spikes(torch.linspace(1e-3, 1, 200).tolist(), 9)
    assert times == sorted(times, reverse=True)
    assert set(times) == set(range(9))


def test_no_gradient_passes():
    assert not Latency()(torch.rand(2, 3, requires_grad=True), 2).requires_grad
