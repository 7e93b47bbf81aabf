"""The compiled path against the readable reference: equal counts, states, records and gradients."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from synfire.core.errors import InputError
from synfire.kernels import native as room
from synfire.kernels.integrate_fire import native, plain
from synfire.kernels.integrate_fire.call import Channelwise
from synfire.kernels.integrate_fire.reference import RESETS, ROUNDINGS
from synfire.kernels.surrogates import BUMPS, Surrogate
from tests.kernels.native_case import NEEDS_EXP, PLAIN, Case, assert_agrees, assert_same

compiled = pytest.mark.skipif(not room.available(), reason="the extension is not compiled here")
HALVES = (torch.float16, torch.bfloat16)


@compiled
@pytest.mark.parametrize("surrogate", BUMPS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_agrees_with_reference(lanes, rounding, reset, surrogate):
    cases = [Case(3, 2, 5, 7), Case(2, 21, 3, current=True, per_channel=True)]  # with tails
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
@pytest.mark.parametrize("size", [1, 63, 100, 1024, 4097])
@pytest.mark.parametrize("steps", [1, 3, 17, 40])
def test_sizes(lanes, steps, size):
    for current in (False, True):
        assert_agrees(Case(steps, size, current=current), replace(PLAIN, levels=4))


@compiled
@pytest.mark.parametrize(
    ("state", "axis"),
    [((2, 33_001), 0), ((3, 130, 13, 13), 1), ((700, 96), 1), ((9000, 3), 1), ((40, 7, 300), 1)],
)
def test_channels_and_threads(state, axis):
    case = Case(2, *state, axis=axis, per_channel=True)
    dynamics = replace(PLAIN, levels=2)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        assert_agrees(case, dynamics, affine=case.affine())


@compiled
@pytest.mark.parametrize(("steps", "size"), [(0, 12), (2, 0), (0, 0)])
def test_empty(steps, size):
    for current in (False, True):
        case = Case(steps, size, current=current)
        assert_agrees(case, PLAIN)
        recorded = case.forward(native, PLAIN, record=True)
        assert recorded.record.shape == (1, steps, (size + 7) // 8)


@compiled
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("reset", RESETS)
def test_half_precision(lanes, dtype, reset):
    dynamics = replace(PLAIN, levels=4, reset=reset)
    for size in (5, 64, 1500):
        case = Case(3, size, dtype=dtype)
        assert_agrees(case, dynamics, output_scale=0.3)
    case = Case(2, 6, 50, dtype=dtype, per_channel=True)
    assert_agrees(case, dynamics, affine=case.affine())


@compiled
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_converts_every_number(lanes, dtype):
    """All 65,536 numbers in; and floats of all magnitudes, with ties, out."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    dynamics = replace(PLAIN, reset="none", input_gain=1.0)
    case = Case(1, every.numel(), states=False, dtype=dtype)
    case.x = every[None]
    fired = case.forward(native, dynamics)
    torch.testing.assert_close(fired.v, every.float(), rtol=0, atol=0, equal_nan=True)

    bits = torch.arange(0, 2**32 - 1, 65_521, dtype=torch.int64)
    ties = torch.arange(0, 2**32 - 1, 2**15, dtype=torch.int64) + 2**12
    numbers = torch.cat([bits, ties, ties + 2**12, ties + 2**14])
    floats = (numbers - (numbers >= 2**31) * 2**32).to(torch.int32).view(torch.float32)
    floats = floats[floats.isfinite()]
    case = Case(1, floats.numel(), states=False, dtype=dtype)
    case.x, case.grad = torch.zeros_like(case.x), torch.ones_like(case.grad)
    dynamics = replace(dynamics, surrogate=Surrogate("rectangle"), unit="count", rounding="floor")
    case.threshold = Channelwise(torch.tensor([0.5]))
    for gain in (1.0, 0.75):  # the gradient is height / threshold * grad: through narrow()
        affine = case.affine()
        case.channels, case.inner = floats.numel(), 1
        affine = replace(
            affine,
            scale=Channelwise(floats * gain),
            shift=Channelwise(torch.full((floats.numel(),), 0.5)),
        )
        ours = case.backward(native, dynamics, affine=affine)
        assert_same(ours, case.backward(plain, dynamics, affine=affine))


RECORDABLE = {
    "integer": {"levels": 4},
    "half even": {"levels": 8, "rounding": "half_even"},
    "exclusive": {"levels": 4, "inclusive": False},
    "through the reset": {"levels": 4, "detach_reset": False},
    "wide": {"unit": "membrane", "rounding": "floor", "surrogate": Surrogate("rectangle", 1.6)},
    "hard reset": {"reset": "hard"},
    "no reset": {"reset": "none"},
    "decay input": {"decay_input": True},
    "no height": {"surrogate": Surrogate("rectangle", scale=0.0)},
}


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("name", RECORDABLE)
def test_records(lanes, name, dtype):
    dynamics = replace(PLAIN, **RECORDABLE[name])
    for size, current, per_channel in ((1, False, False), (63, True, False), (1096, True, True)):
        case = Case(3, size, current=current, per_channel=per_channel, threshold=0.7, dtype=dtype)
        ours = case.forward(native, dynamics, record=True, output_scale=-0.25)
        assert_same(ours, case.forward(plain, dynamics, record=True, output_scale=-0.25))
        grads = case.backward(native, dynamics, ours.record, output_scale=-0.25)
        assert_same(grads, case.backward(plain, dynamics, ours.record, output_scale=-0.25))
        assert_same(grads, case.backward(native, dynamics, output_scale=-0.25))


@compiled
def test_an_infinite_gradient_stays_where_the_record_lets_it_pass():
    case = Case(2, 100, states=False)
    case.grad[1, :50] = torch.inf
    record = case.forward(native, PLAIN, record=True).record
    ours = case.backward(native, PLAIN, record)
    assert_same(ours, case.backward(plain, PLAIN, record))
    assert not ours.x.isnan().any()


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_forms_and_given_outputs(lanes, dtype):
    for size in (1, 63, 100, 4097):
        case = Case(3, size, dtype=dtype)
        for form, levels in (("float", 4), ("uint8", 255), ("bits", 1)):
            dynamics = replace(PLAIN, levels=levels, input_gain=0.8 * levels)
            options = {"form": form, "output_scale": 0.3, "last_state": False}
            expected = case.forward(plain, dynamics, **options)
            assert_same(case.forward(native, dynamics, **options), expected)
            out = torch.full_like(expected.out, 7)
            given = case.forward(native, dynamics, out=out, **options)
            assert given.out is out and torch.equal(out, expected.out)
            assert given.v is None and given.i is None


@compiled
def test_non_contiguous_inputs():
    case = Case(2, 300)
    dynamics = replace(PLAIN, levels=4)
    expected = case.forward(plain, dynamics)
    case.x = case.x.t().contiguous().t()
    case.v = torch.stack([case.v, case.v], 1)[:, 0]
    assert not case.x.is_contiguous() and not case.v.is_contiguous()
    assert_same(case.forward(native, dynamics), expected)


@compiled
def test_silence_and_saturation():
    dynamics = replace(PLAIN, levels=4, input_gain=1.0)
    for value, count in ((-1.0, 0.0), (100.0, 4.0)):
        case = Case(3, 65, states=False)
        case.x = torch.full_like(case.x, value)
        counts = case.forward(native, dynamics).out
        assert torch.equal(counts, torch.full_like(counts, count))
        assert_agrees(case, dynamics)


@compiled
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nan_and_infinity_stay_where_they_are(lanes, rounding):
    case = Case(2, 130)
    case.x[0, 3], case.x[0, 64], case.x[1, 128] = torch.nan, torch.inf, -torch.inf
    dynamics = replace(PLAIN, rounding=rounding, levels=4)
    ours = case.forward(native, dynamics)
    assert_same(ours, case.forward(plain, dynamics))
    assert ours.out.isnan().sum() == 2  # the poisoned element, in both timesteps


@compiled
@pytest.mark.parametrize("surrogate", sorted(NEEDS_EXP))
def test_exp_is_as_near_to_the_truth_as_the_reference(surrogate):
    z = torch.linspace(-3, 3, 4001)
    case = Case(1, *z.shape, threshold=0.5, states=False)
    case.x, case.grad = z[None], torch.ones_like(z)[None]
    dynamics = replace(PLAIN, surrogate=Surrogate(surrogate), unit="membrane", input_gain=1.0)
    exact = Surrogate(surrogate).derivative(z.double() - 0.25)

    def largest_relative_error(path):
        slope = case.backward(path, dynamics).x[0]
        return ((slope.double() - exact).abs() / exact).max()

    assert largest_relative_error(native) < 1.5 * largest_relative_error(plain)


@compiled
def test_wrong_sizes_names_and_types_are_refused():
    with pytest.raises(ValueError, match="levels"):
        native.compiled(replace(PLAIN, levels=2**21))
    case = Case(2, 5)
    case.v = torch.zeros(4)
    with pytest.raises(InputError, match="initial membrane must hold 5 values"):
        case.forward(native, PLAIN)
    case = Case(2, 6, per_channel=True)
    case.decay = Channelwise(torch.zeros(4))
    with pytest.raises(InputError, match="decay has 4 channels"):
        case.forward(native, PLAIN)
    case = Case(2, 5, dtype=torch.float64)
    with pytest.raises(InputError, match="take float32, float16, bfloat16"):
        case.forward(native, PLAIN)
    case = Case(2, 5)
    with pytest.raises(InputError, match="the record must hold 2 values"):
        case.backward(native, PLAIN, torch.zeros(3, dtype=torch.uint8))
    with pytest.raises(InputError, match="out must be contiguous"):
        case.forward(native, PLAIN, out=torch.zeros(5, 2).t())


WITHOUT_EXTENSION = """
import sys, warnings
sys.modules["synfire.kernels.native._native"] = None
import torch
from synfire.kernels import native
from synfire.kernels.integrate_fire import integrate_fire
assert not native.available()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    integrate_fire(torch.zeros(1, dtype=torch.float64), 1)
    assert caught == []
    for _ in range(2):
        integrate_fire(torch.zeros(1), 1)
message, = caught
assert issubclass(message.category, UserWarning) and "C++17 compiler" in str(message.message)
"""


def test_absence_warns_once_at_first_use():
    subprocess.run([sys.executable, "-c", WITHOUT_EXTENSION], check=True)
