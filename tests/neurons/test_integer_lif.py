"""IntegerLIF: published forms, anchors, gradient windows, slots."""

from __future__ import annotations

import pytest
import torch

from synfire.core.errors import ConfigError, UnknownNameError
from synfire.neurons import PRESETS, IntegerLIF
from tests.neurons.loops import drive, folded

F64 = torch.float64


def straight_through(u, levels, rounding, inclusive):
    """clip, round, and a gradient of one inside the window."""

    class Quantise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            inside = (u >= 0) & (u <= levels) if inclusive else (u > 0) & (u < levels)
            ctx.save_for_backward(inside)
            clipped = u.clamp(0, levels)
            return torch.floor(clipped + 0.5) if rounding == "half_up" else torch.round(clipped)

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    return Quantise.apply(u)


# As the reference code of each system runs: leak, gain, reset, detached, rounding, window, D, norm.
PUBLISHED = {
    "sfa_base": (None, 1.0, "none", True, "half_even", True, 4, 4),
    "sfa_large": (None, 1.0, "none", True, "half_up", False, 4, 4),
    "sfa_event": (1.0, 1.0, "soft", False, "half_even", True, 8, 8),
    "i_lif": (0.25, 1.0, "soft", True, "half_even", True, 4, 1),
    "i_lif_gen1": (0.5, 0.5, "soft", True, "half_even", True, 4, 1),
    "ni_lif": (0.25, 1.0, "soft", True, "half_even", True, 4, 4),
}


def published(name, x):
    leak, gain, reset, detach, rounding, inclusive, levels, norm = PUBLISHED[name]
    v, outs = torch.zeros_like(x[0]), []
    for x_t in x:
        v = gain * x_t if leak is None else leak * v + gain * x_t
        s = straight_through(v, levels, rounding, inclusive)
        outs.append(s / norm)
        if reset == "soft":
            v = v - (s.detach() if detach else s)  # the integer count, whatever the norm
    return torch.stack(outs)


def test_every_preset_has_its_published_form():
    assert set(PUBLISHED) == set(PRESETS)


@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_equal_their_published_forms(name, timesteps):
    """Outputs and gradients, ties and window edges among the inputs."""
    levels = PUBLISHED[name][6]
    grid = torch.arange(-16, (levels + 2) * 8, dtype=F64) / 8
    x = torch.stack([grid, grid.flip(0), grid.roll(7), grid.roll(20)][:timesteps])[:, :, None]
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = folded(IntegerLIF.preset(name, timesteps=timesteps), ours)
    expected = published(name, theirs)
    assert torch.equal(out, expected)
    weights = torch.randint(-4, 5, x.shape) / 4.0
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    assert bool(ours.grad.any())


def test_presets_differ_where_the_table_says():
    ties = torch.tensor([[0.5, 2.5, 4.0, 0.0]], requires_grad=True)
    base, large = (IntegerLIF.preset(name) for name in ("sfa_base", "sfa_large"))
    assert base(ties).tolist() == [[0.0, 0.5, 1.0, 0.0]]
    assert large(ties).tolist() == [[0.25, 0.75, 1.0, 0.0]]
    base(ties).sum().backward()
    assert ties.grad.tolist() == [[0.25, 0.25, 0.25, 0.25]]
    ties.grad = None
    large(ties).sum().backward()
    assert ties.grad.tolist() == [[0.25, 0.25, 0.0, 0.0]]
    assert IntegerLIF.preset("i_lif")(torch.tensor([[2.2]])).item() == 2.0
    assert IntegerLIF.preset("sfa_event")(torch.tensor([[7.9]])).item() == 1.0


def test_anchor_of_i_lif():
    """beta 0.25, D = 4: v = 5.2, 0.4, 3.0; clipping leaves 1.2 that leaks on."""
    x = torch.tensor([5.2, 0.1, 2.9], dtype=F64).reshape(3, 1)
    neuron = IntegerLIF.preset("i_lif", timesteps=3)
    out, state = neuron.run(x, None, 3)
    assert out.flatten().tolist() == [4, 0, 3]
    assert state["v"].item() == pytest.approx(0.0, abs=1e-12)
    after_two = neuron.run(x[:2], None, 2)[1]["v"].item()
    assert after_two == pytest.approx(0.25 * 1.2 + 0.1)


def test_anchor_of_gen1():
    """v = 0.5 v + 0.5 x."""
    x = torch.tensor([5.0, 3.0, 9.0], dtype=F64).reshape(3, 1)
    out, _ = IntegerLIF.preset("i_lif_gen1").run(x, None, 3)
    assert out.flatten().tolist() == [2, 2, 4]  # 2.5 -> 2 (even); 1.75 -> 2; 4.375 -> 4


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_the_reset_takes_the_count_not_the_output(levels):
    """NI-LIF divides its output, never what the reset removes."""
    x = drive(6, 20) * 3
    plain = IntegerLIF(levels=levels, decay=0.25, normalize=False)
    normal = IntegerLIF(levels=levels, decay=0.25)
    flat = x.flatten(0, 1)
    out, state = plain.run(flat, None, 6)
    scaled, scaled_state = normal.run(flat, None, 6)
    assert torch.equal(scaled, out * (1 / levels))
    assert torch.equal(scaled_state["v"], state["v"])
    assert normal.scale == 1 / levels


def test_gradient_through_time_when_detached():
    """Straight through: d y_2 / d x_1 = beta / Norm exactly, wherever x_1 lies."""
    x = torch.tensor([[-3.0, 0.4, 2.2, 9.0], [1.0, 1.0, 1.0, 0.0]], dtype=F64).requires_grad_()
    out, _ = IntegerLIF(levels=4, decay=0.25).run(x, None, 2)
    out.reshape(2, 4)[1].sum().backward()
    assert x.grad[0].tolist() == [0.25 / 4] * 4
    assert x.grad[1].tolist() == [0.25] * 4


@pytest.mark.parametrize("levels", [1, 2, 4, 8, 15])
@pytest.mark.parametrize("rounding", ["half_up", "half_even"])
def test_window_and_count_of_the_module(levels, rounding):
    u = (torch.arange(-16, (levels + 2) * 8, dtype=torch.float32) / 8)[None]
    for window in ("inclusive", "exclusive"):
        ours, theirs = u.clone().requires_grad_(), u.clone().requires_grad_()
        neuron = IntegerLIF(levels=levels, rounding=rounding, window=window, normalize=False)
        out = neuron(ours)
        expected = straight_through(theirs, levels, rounding, window == "inclusive")
        out.sum().backward()
        expected.sum().backward()
        assert torch.equal(out, expected)
        assert torch.equal(ours.grad, theirs.grad)


def test_floor_is_the_neuron_of_threshold_one():
    u = torch.tensor([[-0.5, 0.99, 1.0, 2.5, 9.0]])
    assert IntegerLIF(levels=4, rounding="floor", normalize=False)(u).tolist() == [[0, 0, 1, 2, 4]]


@pytest.mark.parametrize("threshold", [0.25, 0.5, 3.0])
def test_threshold_is_the_worth_of_a_count(threshold):
    x = torch.randint(-64, 256, (3, 200)) / 32.0
    unit, _ = IntegerLIF(levels=4, normalize=False).run(x, None, 3)
    scaled, _ = IntegerLIF(levels=4, threshold=threshold, normalize=False).run(
        x * threshold, None, 3
    )
    assert torch.equal(unit, scaled)


def test_scale_of_the_output():
    x = torch.tensor([[2.2]])
    assert IntegerLIF(levels=4)(x).item() == 0.5
    assert IntegerLIF(levels=4, normalize=False)(x).item() == 2.0
    assert IntegerLIF(levels=4, scale=0.125)(x).item() == 0.25
    assert IntegerLIF(levels=4, normalize=False).scale == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "levels is the largest count of a timestep, an int of at least 1, got 0"),
        ({"levels": 2.5}, "got 2.5"),
        ({"levels": True}, "got True"),
        ({"rounding": "up"}, "rounding must be one of half_up, half_even, floor, got 'up'"),
        ({"window": "open"}, "window must be inclusive or exclusive, got 'open'"),
        ({"decay": 1.5}, "decay is the factor kept"),
        ({"threshold": 0}, "a threshold must be positive"),
        ({"reset": "zero"}, "reset must be one of"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        IntegerLIF(**options)


def test_unknown_preset():
    with pytest.raises(
        UnknownNameError, match="unknown IntegerLIF preset 'ilif': did you mean i_lif"
    ):
        IntegerLIF.preset("ilif")


def test_presets_take_overrides():
    neuron = IntegerLIF.preset("sfa_base", levels=8, timesteps=2)
    assert (neuron.levels, neuron.timesteps, neuron.scale) == (8, 2, 1 / 8)
    assert PRESETS["sfa_base"]["levels"] == 4
