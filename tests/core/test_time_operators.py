"""Operators of the time axis against plain reshapes, and as torch operators."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

from synfire.core.time_operators import last_time, mean_time, repeat_time, sum_time

PLAIN = {
    repeat_time: lambda x, timesteps: x.repeat(timesteps, *[1] * (x.ndim - 1)),
    sum_time: lambda x, timesteps: x.unflatten(0, (timesteps, -1)).sum(0),
    last_time: lambda x, timesteps: x.unflatten(0, (timesteps, -1))[-1],
    mean_time: lambda x, timesteps: x.unflatten(0, (timesteps, -1)).mean(0),
}
NAMES = {"repeat": repeat_time, "sum": sum_time, "last": last_time, "mean": mean_time}
LAYOUTS = {
    "contiguous": lambda: torch.rand(6, 3, 4, 5),
    "channels last": lambda: torch.rand(6, 3, 4, 5).to(memory_format=torch.channels_last),
    "transposed": lambda: torch.rand(4, 6).t(),
    "expanded": lambda: torch.rand(6, 1).expand(6, 7),
    "vector": lambda: torch.rand(6),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("timesteps", [1, 2, 6])
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_plain_form(name, timesteps, layout):
    operator = NAMES[name]
    x = LAYOUTS[layout]().double()
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = operator(ours, timesteps), PLAIN[operator](plain, timesteps)
    torch.testing.assert_close(out, expected, rtol=1e-14, atol=0)
    weights = torch.rand(expected.shape, dtype=torch.float64)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-14, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("name", ["repeat", "sum", "last"])
def test_opcheck(name, timesteps, layout):
    x = LAYOUTS[layout]().detach().requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    results = opcheck(NAMES[name], (x, timesteps), test_utils=checks)
    assert set(results.values()) == {"SUCCESS"}
    assert NAMES[name](x, timesteps).is_contiguous()


@pytest.mark.parametrize("name", ["repeat", "sum", "last"])
def test_opcheck_ahead_of_time(name):
    results = opcheck(NAMES[name], (torch.rand(6, 3, requires_grad=True), 3))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", NAMES)
def test_results_are_no_views(name):
    x = torch.rand(4, 3)
    before = x.clone()
    NAMES[name](x, 1).add_(1)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["repeat", "sum", "last"])
def test_gradcheck(name):
    """The operators are linear, so finite differences are exact; the second derivative exists and is zero."""
    x = torch.rand(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: NAMES[name](t, 3), (x,))


def test_empty_batch():
    assert repeat_time(torch.rand(0, 3), 4).shape == (0, 3)
    assert last_time(torch.rand(0, 3), 4).shape == (0, 3)
    assert mean_time(torch.rand(0, 3), 4).shape == (0, 3)
