"""Time constants to decays."""

from __future__ import annotations

import math

import pytest

from synfire.core.errors import ConfigError
from synfire.neurons import decay_from_tau


def test_both_methods():
    assert decay_from_tau(4.0) == 0.75
    assert decay_from_tau(1.0) == 0.0
    assert decay_from_tau(4.0, "exact") == math.exp(-0.25)
    assert decay_from_tau(0.1, "exact") == math.exp(-10)


def test_they_agree_for_long_time_constants():
    assert decay_from_tau(1e4) == pytest.approx(decay_from_tau(1e4, "exact"), abs=1e-8)


@pytest.mark.parametrize(
    ("tau", "method"), [(0.5, "euler"), (0.0, "exact"), (-1.0, "exact"), (math.nan, "euler")]
)
def test_time_constants_that_make_no_decay(tau, method):
    with pytest.raises(ConfigError, match="a time constant in steps must be above 0"):
        decay_from_tau(tau, method)


def test_unknown_method():
    with pytest.raises(ConfigError, match="method must be euler or exact, got 'rk4'"):
        decay_from_tau(2.0, "rk4")
