"""Stochastic depth: whole samples, all timesteps alike, mean kept."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.layers import DropPath


def test_samples_lose_the_branch_at_all_timesteps():
    x = torch.ones(3 * 200, 2, 2)
    out = DropPath(0.25, timesteps=3)(x).unflatten(0, (3, 200))
    kept = out[0, :, 0, 0] != 0
    assert torch.equal(out, (kept / 0.75)[None, :, None, None].expand_as(out))
    assert 0.6 < float(kept.float().mean()) < 0.9


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_eval_and_rate_zero_do_nothing(rate):
    layer = DropPath(rate)
    x = torch.randn(4, 3)
    assert layer.eval()(x) is x
    assert rate or layer.train()(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates(rate):
    with pytest.raises(ConfigError, match=r"in \[0, 1\)"):
        DropPath(rate)
