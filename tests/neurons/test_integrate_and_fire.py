"""IF against its loop, and by hand."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.neurons import IF
from tests.neurons.loops import drive, folded, leaky


def test_by_hand():
    x = torch.tensor([0.5, 0.5, 0.25, 2.5, 0.0, -1.0]).reshape(6, 1, 1)
    #  h:            0.5  1.0  0.25  2.75  1.75  -0.25
    assert folded(IF(), x).flatten().tolist() == [0, 1, 0, 1, 1, 0]
    hard = folded(IF(reset="hard", reset_value=0.5), x)  # h: 0.5 1.0 0.75 3.25 0.5 -0.5
    assert hard.flatten().tolist() == [0, 1, 0, 1, 0, 0]
    none = folded(IF(reset="none"), x)  # h: 0.5 1.0 1.25 3.75 3.75 2.75
    assert none.flatten().tolist() == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 1.3])
def test_equals_its_loop(threshold, reset):
    x = drive(20, 3, 5)
    expected, _ = leaky(x, 1.0, threshold, reset=reset, reset_value=0.2)
    ours = folded(IF(threshold=threshold, reset=reset, reset_value=0.2), x)
    assert torch.equal(ours, expected)
    assert 0 < ours.mean() < 1


def test_soft_reset_conserves_charge():
    """Never below rest: input = spikes * threshold + what is left."""
    x = torch.rand(30, 4, dtype=torch.float64)
    out, state = IF(threshold=0.75).run(x.flatten(0, 1)[:, None], None, 30)
    spikes = out.reshape(30, 4).sum(0)
    torch.testing.assert_close(x.sum(0), spikes * 0.75 + state["v"].flatten())


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_threshold_is_positive(threshold):
    with pytest.raises(ConfigError, match="a threshold must be positive"):
        IF(threshold=threshold)


def test_names_are_checked():
    with pytest.raises(ConfigError, match="reset must be one of soft, hard, none, got 'zero'"):
        IF(reset="zero")
    with pytest.raises(UnknownNameError, match="unknown surrogate 'atan': did you mean arctan"):
        IF(surrogate="atan")


def test_shows_its_facts():
    assert repr(IF(timesteps=3)) == "IF(timesteps=3, reset='soft', decay=1.0, threshold=1.0)"
