"""The table of surrogates: area, height, equality to the formulas of other libraries."""

from __future__ import annotations

import math

import pytest
import torch

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.kernels.surrogates import BUMPS, Surrogate, as_surrogate
from tests.kernels.oracle import SLOPES


def area(name: str, width: float = 1.0, reach: float = 40.0) -> float:
    """Midpoint rule on [-reach, reach], and the tail of each heavy-tailed row in closed form."""
    edges = torch.linspace(-reach, reach, 800_001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    inside = float(Surrogate(name, width).derivative(middles).sum() * (edges[1] - edges[0]))
    z = reach / width
    tails = {
        "arctan": 1 - 2 / math.pi * math.atan(math.pi * z),
        "fast_sigmoid": 1 / (1 + 2 * z),
    }
    return inside + tails.get(name, 0.0)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("name", BUMPS)
def test_unit_area(name, width):
    assert area(name, width) == pytest.approx(1, abs=2e-4 if name == "rectangle" else 1e-6)


@pytest.mark.parametrize("name", BUMPS)
def test_height_one_in_the_middle_and_symmetric(name):
    z = torch.linspace(0, 3, 301, dtype=torch.float64)
    assert BUMPS[name](torch.zeros(1, dtype=torch.float64)).item() == 1.0
    torch.testing.assert_close(BUMPS[name](z), BUMPS[name](-z), rtol=1e-12, atol=1e-15)
    assert bool((BUMPS[name](z).diff() <= 0).all())


@pytest.mark.parametrize("width", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("name", BUMPS)
def test_equals_the_formulas_of_other_libraries(name, width):
    d = torch.linspace(-4, 4, 1001, dtype=torch.float64)
    torch.testing.assert_close(Surrogate(name, width).derivative(d), SLOPES[name](d, width))


def test_every_row_has_an_independent_formula():
    assert list(SLOPES) == list(BUMPS)


def test_snntorch_fast_sigmoid_needs_scale_equal_to_width():
    d = torch.linspace(-2, 2, 101, dtype=torch.float64)
    for slope in (10.0, 25.0):
        ours = Surrogate("fast_sigmoid", width=2 / slope, scale=2 / slope).derivative(d)
        torch.testing.assert_close(ours, 1 / (slope * d.abs() + 1) ** 2)


def test_scale_multiplies():
    d = torch.linspace(-1, 1, 11)
    assert torch.equal(
        Surrogate("triangle", 2.0, scale=4.0).derivative(d),
        4 * Surrogate("triangle", 2.0).derivative(d),
    )


def test_refusals():
    with pytest.raises(UnknownNameError, match="did you mean arctan"):
        Surrogate("atan")
    for width in (0.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="width must be positive"):
            Surrogate("arctan", width)
    with pytest.raises(ConfigError, match=r"a surrogate is a name .*got 3"):
        as_surrogate(3)


def test_from_a_name_or_itself():
    own = Surrogate("gaussian", 2.0)
    assert as_surrogate(own) is own
    assert as_surrogate("gaussian") == Surrogate("gaussian", 1.0, 1.0)
