"""Direct encoding."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError
from synfire.encoders import Direct


def test_repeat():
    x = torch.randn(2, 3, requires_grad=True)
    out = Direct()(x, 4)
    assert torch.equal(out.reshape(4, 2, 3), x.expand(4, 2, 3))
    out.sum().backward()
    assert torch.equal(x.grad, torch.full((2, 3), 4.0))


def test_first():
    x = torch.randn(2, 3, requires_grad=True)
    out = Direct("first")(x, 4).reshape(4, 2, 3)
    assert torch.equal(out[0], x)
    assert not bool(out[1:].any())
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones(2, 3))


def test_takes_any_finite_value():
    x = torch.tensor([[-1e30, 3e4]])
    assert torch.equal(Direct()(x, 1), x)


def test_unknown_frames():
    with pytest.raises(ConfigError, match="frames must be repeat or first, got 'last'"):
        Direct("last")
