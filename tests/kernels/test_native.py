"""The compiled kernel against the readable reference: equal counts, states and gradients."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from synfire.kernels import native
from synfire.kernels.integrate_fire import reference
from synfire.kernels.integrate_fire.reference import RESETS, ROUNDINGS, Dynamics
from synfire.kernels.surrogates import BUMPS, Surrogate

compiled = pytest.mark.skipif(not native.available(), reason="the extension is not compiled here")

PLAIN = Dynamics(
    levels=1,
    rounding="half_up",
    reset="soft",
    reset_value=0.1,
    detach_reset=True,
    input_gain=0.8,
    decay_input=False,
    current_decay=0.6,
    surrogate=Surrogate("rectangle"),
    inclusive=True,
    unit="count",
)
NEEDS_EXP = {"sigmoid", "gaussian"}  # torch's exp and ours differ in the last places


@pytest.fixture(params=[4, 8, 16], ids=lambda lanes: f"{lanes}-lanes")
def lanes(request):
    """Each width of vector registers that this processor has."""
    module = native._extension()[0]
    if module is None:
        pytest.skip("the extension is not compiled here")
    widest = module.lanes()
    if request.param > widest:
        pytest.skip(f"this processor has {widest} lanes")
    assert module.limit_lanes(request.param) == request.param
    yield
    module.limit_lanes(widest)


class Case:
    """Random inputs of one call, with values on ties and on edges of windows."""

    def __init__(self, steps, state, *, current=False, per_channel=False, decay=0.9, threshold=1.0):
        draw = torch.Generator().manual_seed(steps * 1009 + sum(state))
        x = torch.randn(steps, *state, generator=draw) * 1.5 + 0.5
        x[:1] = (x[:1] * 4).round() / 4
        self.x = x
        self.v, self.i = (torch.randn(state, generator=draw) for _ in range(2))
        self.grads = [torch.randn(size, generator=draw) for size in (x.shape, state, state)]
        self.decay, self.threshold = torch.tensor(decay), torch.tensor(threshold)
        if per_channel:
            shape = (state[1], *[1] * (len(state) - 2))
            self.decay = torch.rand(shape, generator=draw)
            self.threshold = torch.rand(shape, generator=draw) + 0.3
        if not current:
            self.i, self.grads[2] = None, None

    def forward(self, kernel, dynamics, **options):
        return kernel(self.x, self.v, self.i, self.decay, self.threshold, dynamics, **options)[:3]

    def backward(self, kernel, dynamics, **options):
        inputs = (self.x, self.v, self.i, self.decay, self.threshold)
        return kernel(*self.grads, *inputs, dynamics, **options)


def assert_equal(ours, reference_results, exact=True):
    for mine, expected in zip(ours, reference_results, strict=True):
        if expected is None:
            assert mine is None
        elif exact:
            assert torch.equal(mine, expected.expand_as(mine))
        else:
            torch.testing.assert_close(mine, expected.expand_as(mine), rtol=1e-5, atol=1e-5)


def assert_agrees(case, dynamics, **options):
    assert_equal(
        case.forward(native.integrate_fire, dynamics, **options),
        case.forward(reference.forward, dynamics),
    )
    assert_equal(
        case.backward(native.integrate_fire_backward, dynamics, **options),
        case.backward(reference.backward, dynamics),
        exact=dynamics.surrogate.name not in NEEDS_EXP,
    )


@compiled
@pytest.mark.parametrize("surrogate", BUMPS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_agrees_with_reference(lanes, rounding, reset, surrogate):
    cases = [Case(3, (2, 5, 7)), Case(2, (3, 21), current=True, per_channel=True)]  # with tails
    options = itertools.product(
        (True, False), (True, False), ("count", "membrane"), (1, 4), (1.0, 1.7), cases
    )
    for detach, inclusive, unit, levels, width, case in options:
        dynamics = replace(
            PLAIN,
            rounding=rounding,
            reset=reset,
            detach_reset=detach,
            levels=levels,
            inclusive=inclusive,
            unit=unit,
            surrogate=Surrogate(surrogate, width=width),
            decay_input=inclusive,
        )
        assert_agrees(case, dynamics)


@compiled
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 63, 100, 4097])
@pytest.mark.parametrize("steps", [1, 3, 17])
def test_sizes_and_threads(lanes, steps, size, threads):
    for current in (False, True):
        case = Case(steps, (size,), current=current)
        assert_agrees(case, replace(PLAIN, levels=4), threads=threads)


@compiled
@pytest.mark.parametrize("state", [(2, 33_000), (3, 130, 13, 13)])
def test_large_enough_for_threads(state):
    case = Case(2, state, per_channel=True)
    for threads in (1, 2, 5):
        assert_agrees(case, replace(PLAIN, levels=2), threads=threads)


@compiled
@pytest.mark.parametrize(("steps", "state"), [(0, (3, 4)), (2, (0, 4))])
def test_empty(steps, state):
    assert_agrees(Case(steps, state), PLAIN)


@compiled
@pytest.mark.parametrize("shape", [(5, 1), (1, 7), (3, 5, 7), (3, 1, 7), (1, 1, 1)])
def test_parameters_of_any_broadcast(shape):
    case = Case(2, (3, 5, 7))
    draw = torch.Generator().manual_seed(1)
    case.decay = torch.rand(shape, generator=draw)
    case.threshold = torch.rand(shape, generator=draw) + 0.5
    assert_agrees(case, PLAIN)


@compiled
def test_non_contiguous_inputs():
    case = Case(2, (2, 3, 4, 5))
    dynamics = replace(PLAIN, levels=4)
    expected = case.forward(reference.forward, dynamics)
    case.x = case.x.movedim(2, -1).contiguous().movedim(-1, 2)
    case.v = case.v.to(memory_format=torch.channels_last)
    assert not case.x.is_contiguous()
    assert_equal(case.forward(native.integrate_fire, dynamics), expected)


@compiled
def test_silence_and_saturation():
    dynamics = replace(PLAIN, levels=4, input_gain=1.0)
    for value, count in ((-1.0, 0.0), (100.0, 4.0)):
        case = Case(3, (65,))
        case.x = torch.full_like(case.x, value)
        case.v = torch.zeros_like(case.v)
        counts, _, _ = case.forward(native.integrate_fire, dynamics)
        assert torch.equal(counts, torch.full_like(counts, count))
        assert_agrees(case, dynamics)


@compiled
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nan_and_infinity_stay_where_they_are(lanes, rounding):
    case = Case(2, (130,))
    case.x[0, 3], case.x[0, 64], case.x[1, 128] = torch.nan, torch.inf, -torch.inf
    dynamics = replace(PLAIN, rounding=rounding, levels=4)
    ours = case.forward(native.integrate_fire, dynamics)
    for mine, expected in zip(ours[:2], case.forward(reference.forward, dynamics)[:2], strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0, equal_nan=True)
    assert ours[0].isnan().sum() == 2  # the poisoned element, in both timesteps


@compiled
def test_rest_and_output_scale_are_those_of_a_caller():
    case = Case(3, (4, 50))
    dynamics = replace(PLAIN, levels=4)
    case.v = torch.zeros_like(case.v)
    counts, v, _ = case.forward(reference.forward, dynamics)
    grads = case.backward(reference.backward, dynamics)
    case.v = None
    assert_equal(
        case.forward(native.integrate_fire, dynamics, output_scale=0.3)[:2], (counts * 0.3, v)
    )
    case.grads[0] = case.grads[0] / 0.25
    ours = case.backward(
        native.integrate_fire_backward, dynamics, output_scale=0.25, parameters=False
    )
    assert_equal(ours, (*grads[:3], None, None))


@compiled
@pytest.mark.parametrize("surrogate", sorted(NEEDS_EXP))
def test_exp_is_as_near_to_the_truth_as_the_reference(surrogate):
    z = torch.linspace(-3, 3, 4001)
    case = Case(1, z.shape, threshold=0.5)
    case.x, case.v = z[None], torch.zeros_like(z)
    case.grads[:2] = [torch.ones_like(z)[None], torch.zeros_like(z)]
    dynamics = replace(PLAIN, surrogate=Surrogate(surrogate), unit="membrane", input_gain=1.0)
    exact = Surrogate(surrogate).derivative(z.double() - 0.25)

    def largest_relative_error(kernel):
        slope = case.backward(kernel, dynamics)[0][0]
        return ((slope.double() - exact).abs() / exact).max()

    bound = 1.5 * largest_relative_error(reference.backward)
    assert largest_relative_error(native.integrate_fire_backward) < bound


@compiled
def test_wrong_sizes_and_names_are_refused():
    from synfire.kernels.native import _native

    with pytest.raises(ValueError, match="knows no rounding 'up'"):
        native._compiled(replace(PLAIN, rounding="up"))
    case = Case(2, (5,))
    case.v = torch.zeros(4)
    with pytest.raises(ValueError, match="v0 holds 4 values, expected 5"):
        case.forward(native.integrate_fire, PLAIN)
    with pytest.raises(ValueError, match="levels"):
        native._compiled(replace(PLAIN, levels=0))
    assert _native is native._extension()[0]


def test_takes_only_float32_on_cpu():
    assert not native.takes(torch.zeros(2, dtype=torch.float64))
    assert not native.takes(torch.zeros(2, device="meta"))
    if native.available():
        assert native.takes(torch.zeros(2))


WITHOUT_EXTENSION = """
import sys, warnings
sys.modules["synfire.kernels.native._native"] = None
from synfire.kernels import native
import torch
assert not native.available()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert not native.takes(torch.zeros(1, dtype=torch.float64))
    assert caught == []
    assert not native.takes(torch.zeros(1)) and not native.takes(torch.zeros(1))
message, = caught
assert message.category is UserWarning and "C++17 compiler" in str(message.message)
"""


def test_absence_warns_once_at_first_use():
    subprocess.run([sys.executable, "-c", WITHOUT_EXTENSION], check=True)
