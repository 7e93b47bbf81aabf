"""Functional neurons: equal to the modules, and a sequence in two halves equals the whole."""

from __future__ import annotations

import pytest
import torch

from synfire import functional as F
from synfire.core.errors import ConfigError, InputError
from synfire.kernels.surrogates import BUMPS, Surrogate
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF
from tests.small import one_thread, seeded

__all__ = ["one_thread", "seeded"]

PAIRS = {
    "if": (F.if_, IF, {"threshold": 0.8, "reset": "hard", "reset_value": 0.1}),
    "lif": (F.lif, LIF, {"decay": 0.9, "input_gain": 0.7}),
    "lif decayed input": (F.lif, LIF, {"decay": 0.9, "decay_input": True, "reset": "none"}),
    "cuba": (F.cuba_lif, CubaLIF, {"current_decay": 0.6, "decay": 0.8, "reset": "soft"}),
    "integer": (F.integer_lif, IntegerLIF, {"levels": 3, "decay": 0.5}),
    "integer counts": (
        F.integer_lif,
        IntegerLIF,
        {"normalize": False, "rounding": "half_even", "window": "exclusive", "detach_reset": False},
    ),
    "defaults if": (F.if_, IF, {}),
    "defaults lif": (F.lif, LIF, {}),
    "defaults cuba": (F.cuba_lif, CubaLIF, {}),
    "defaults integer": (F.integer_lif, IntegerLIF, {}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_module(name):
    function, kind, options = PAIRS[name]
    x = (torch.randn(7, 2, 3, 4) * 2 + 0.5).requires_grad_()
    out, state = function(x, **options)
    expected, last = kind(**options).run(x.flatten(0, 1), None, 7)
    assert bool(out.any())
    assert torch.equal(out, expected.reshape(x.shape))
    assert state.keys() == last.keys()
    assert all(torch.equal(state[key], last[key]) for key in state)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (out, expected)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("cut", [1, 3, 6])
@pytest.mark.parametrize("name", PAIRS)
def test_two_halves_equal_the_whole(name, cut):
    """Outputs, states and gradients: backpropagation goes through the handed-over state."""
    function, _, options = PAIRS[name]
    x = (torch.randn(7, 2, 5, dtype=torch.float64) * 2 + 0.5).requires_grad_()
    weights = torch.randn(7, 2, 5, dtype=torch.float64)
    whole, last = function(x, **options)
    first, state = function(x[:cut], **options)
    second, state = function(x[cut:], state, **options)
    halves = torch.cat([first, second])
    assert torch.equal(halves, whole)
    assert all(torch.equal(state[key], last[key]) for key in last)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (whole, halves)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def test_one_call_a_timestep():
    x, state, outs = torch.randn(9, 4) + 1, None, []
    for x_t in x:
        out, state = F.lif(x_t[None], state, decay=0.9)
        outs.append(out)
    assert torch.equal(torch.cat(outs), F.lif(x, decay=0.9)[0])


@pytest.mark.parametrize("name", PAIRS)
def test_a_poisoned_sample_poisons_no_other(name):
    function, _, options = PAIRS[name]
    x = torch.randn(5, 4, 3)
    poisoned = x.clone()
    poisoned[1, 2] = torch.nan
    (clean, state), (dirty, dirty_state) = function(x, **options), function(poisoned, **options)
    assert torch.equal(dirty[:, [0, 1, 3]], clean[:, [0, 1, 3]])
    for key, value in state.items():
        assert torch.equal(dirty_state[key][[0, 1, 3]], value[[0, 1, 3]])
        assert bool(dirty_state[key][2].isnan().all())


def test_states_are_not_changed_in_place():
    _, state = F.lif(torch.rand(3, 4))
    before = state["v"].clone()
    F.lif(torch.rand(3, 4) + 1, state)
    assert torch.equal(state["v"], before)


def test_learnable_parameters():
    decay = torch.full((3,), 0.8, requires_grad=True)
    threshold = torch.tensor(0.9, requires_grad=True)
    out, state = F.lif(torch.randn(6, 2, 3) + 0.5, decay=decay, threshold=threshold)
    (out.sum() + state["v"].sum()).backward()
    assert decay.grad.shape == (3,)
    assert threshold.grad.shape == ()
    assert bool(decay.grad.all())


def test_empty_batch():
    out, state = F.integer_lif(torch.rand(3, 0, 4))
    assert out.shape == (3, 0, 4)
    assert state["v"].shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: F.lif(torch.rand(3)),
            InputError,
            r"timed input \[T, B, ...\], got shape \(3,\)",
        ),
        (lambda x: F.lif(torch.rand(0, 3)), InputError, "at least one timestep .* got T = 0"),
        (lambda x: F.lif(x.long()), InputError, "floating-point input, got torch.int64"),
        (lambda x: F.lif(x, {"u": x[0]}), InputError, "a state of this neuron holds v, got 'u'"),
        (lambda x: F.lif(x, F.cuba_lif(x)[1]), InputError, "holds v, got 'i'"),
        (lambda x: F.lif(x, {"v": x}), InputError, r"must have shape \(2, 4\)"),
        (lambda x: F.lif(x, threshold=0.0), ConfigError, "a threshold must be positive, got 0.0"),
        (lambda x: F.lif(x, reset="zero"), ConfigError, "reset must be one of"),
        (
            lambda x: F.lif(x, levels=3),
            ConfigError,
            "one threshold of a binary neuron, got levels=3",
        ),
        (lambda x: F.lif(x, surrogate="atan"), KeyError, "did you mean arctan"),
        (lambda x: F.integer_lif(x, levels=0), ConfigError, "levels is the largest count .* got 0"),
        (lambda x: F.integer_lif(x, window="open"), ConfigError, "window must be inclusive or"),
        (lambda x: F.integer_lif(x, rounding="up"), ConfigError, "rounding must be one of"),
        (lambda x: F.if_(x, decay=0.5), TypeError, "multiple values for keyword argument 'decay'"),
        (lambda x: F.integer_lif(x, unit="membrane"), TypeError, "multiple values .* 'unit'"),
        (lambda x: F.lif(x, beta=0.5), TypeError, "unexpected keyword argument 'beta'"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(3, 2, 4))


@pytest.mark.parametrize("name", BUMPS)
def test_spike(name):
    d = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    surrogate = Surrogate(name, width=1.5, scale=0.7)
    out = F.spike(d, surrogate)
    assert torch.equal(out, (d >= 0).double())
    weights = torch.randn(41, dtype=torch.float64)
    (out * weights).sum().backward()
    assert torch.equal(d.grad, weights * surrogate.derivative(d.detach()))


def test_spike_counts_the_threshold_itself_and_keeps_dtypes():
    for dtype in (torch.float16, torch.float32, torch.float64):
        out = F.spike(torch.tensor([-1e-3, 0.0, 1.0], dtype=dtype))
        assert out.dtype == dtype
        assert out.tolist() == [0, 1, 1]
