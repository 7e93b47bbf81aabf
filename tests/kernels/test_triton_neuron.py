"""The Triton path of the neuron operator, in the interpreter: every option against the reference."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synfire.kernels.integrate_fire import plain
from synfire.kernels.integrate_fire import triton as path
from synfire.kernels.integrate_fire.call import Channelwise
from synfire.kernels.surrogates import Surrogate
from tests.kernels.neuron_calls import (
    BINARY,
    INEXACT,
    INTEGER,
    RECOMPUTED,
    RECORDABLE,
    Call,
    affine,
    channelwise,
    check,
    constant,
    differences,
    draw,
    epilogue,
)

pytestmark = pytest.mark.interpreter
pytest.importorskip("triton")

ALL = RECORDABLE | RECOMPUTED
SIZES = [1, 63, 100, 4097]
PLACES = {  # how a kernel finds channels: (channels, inner, elements)
    "one": (1, 1, 63),
    "block": (3, 2048, 3 * 2048),
    "rows": (5, 16, 5 * 16 * 3),
    "lanes": (24, 1, 24 * 7),
    "wrapped": (13, 1, 13 * 21),
    "pairs": (5, 13, 5 * 13 * 3),
    "elements": (5, 3, 5 * 3 * 9),
}


def near(name: str) -> bool:
    return name.startswith(INEXACT)


@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("name", ALL)
def test_every_option(name, timesteps):
    check(Call.of(ALL[name], timesteps, 104), path, "cpu", exact=not near(name))


@pytest.mark.parametrize("name", ALL)
def test_states_and_their_gradients(name):
    call = replace(
        Call.of(ALL[name], 3, 63).with_states(), threshold=constant(0.7), output_scale=0.3
    )
    check(call, path, "cpu", exact=not near(name))


@pytest.mark.parametrize("options", [INTEGER, {}], ids=["bits", "membranes"])
@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("elements", SIZES)
def test_sizes(elements, timesteps, options):
    check(Call.of(options, timesteps, elements), path, "cpu")


@pytest.mark.parametrize("timesteps", [17, 40])
@pytest.mark.parametrize("name", ["floor, hard", "current", "arctan, current, hard"])
def test_long_sequences_in_chunks(name, timesteps):
    call = Call.of(ALL[name], timesteps, 63)
    check(call.with_states() if timesteps == 40 else call, path, "cpu")


@pytest.mark.parametrize("shape", [(4, 0), (0, 7), (0, 0)])
def test_nothing_at_all(shape):
    call = Call.of(INTEGER, *shape)
    check(call, path, "cpu")
    check(call.with_states(), path, "cpu")


@pytest.mark.parametrize("place", PLACES)
def test_channels(place):
    channels, inner, elements = PLACES[place]
    call = replace(
        Call.of(INTEGER, 2, elements),
        decay=channelwise(channels, inner, 0.2, 0.9),
        threshold=channelwise(channels, inner, 0.5, 1.5),
    )
    check(call, path, "cpu")
    fused = replace(call, affine=affine(channels, inner))
    check(fused, path, "cpu")
    check(replace(fused, epilogue=epilogue(channels, inner)), path, "cpu")
    membrane = replace(
        Call.of({}, 2, elements), affine=affine(channels, inner), threshold=call.threshold
    )
    check(replace(membrane, epilogue=epilogue(channels, inner)), path, "cpu")


def test_a_single_value_in_memory_beside_channels():
    call = replace(
        Call.of(INTEGER | {"decay_input": True}, 2, 48),
        decay=Channelwise(torch.tensor([0.9])),
        threshold=Channelwise(torch.tensor([0.7])),
        affine=affine(3, 8),
    )
    check(call, path, "cpu")


@pytest.mark.parametrize("elements", [8, 63, 1000])
@pytest.mark.parametrize("timesteps", [1, 6, 18])
def test_forms_and_given_outputs(timesteps, elements):
    for form, options in (("uint8", INTEGER), ("bits", BINARY), ("float", INTEGER)):
        call = replace(Call.of(options, timesteps, elements), output_scale=0.25)
        expected = call.forward(plain, form=form, last_state=False)
        assert expected.v is None
        assert differences(call.forward(path, form=form, last_state=False), expected) == []
        out = torch.full_like(expected.out, 7)
        assert call.forward(path, form=form, out=out).out is out
        assert torch.equal(out, expected.out)


@pytest.mark.parametrize("name", ["integer", "binary, hard", "arctan, binary"])
def test_half_precision(name):
    call = replace(Call.of(ALL[name], 4, 100, torch.float16), output_scale=0.25)
    check(call, path, "cpu")
    check(replace(call, affine=affine(5, 4), epilogue=epilogue(5, 4)), path, "cpu")


@pytest.mark.parametrize("name", ["integer", "binary, hard"])
def test_bfloat16_outputs(name):  # gradients on a device: the interpreter cuts instead of rounding
    call = replace(Call.of(ALL[name], 4, 100, torch.bfloat16), output_scale=0.25)
    assert differences(call.forward(path, record=True), call.forward(plain, record=True)) == []


def test_nan_and_infinity():
    call = Call.of(INTEGER, 3, 64)
    call.x[0, 3], call.x[1, 9], call.x[0, 20] = torch.nan, torch.inf, -torch.inf
    assert differences(call.forward(path, record=True), call.forward(plain, record=True)) == []


CHANNELS = {  # channels, inner, batch
    "columns, channels last": (24, 1, 37),
    "columns, short runs": (5, 49, 6),
    "columns, odd": (3, 7, 11),
    "runs": (3, 512, 5),
    "runs, ragged": (2, 784, 3),
    "runs, odd": (2, 301, 3),
    "one channel": (1, 100, 3),
}


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("case", CHANNELS)
def test_moments_equal_those_of_float64(case, shift):
    channels, inner, batch = CHANNELS[case]
    x = draw(3 * batch, channels, inner) + shift
    mean, variance = path.moments(x.reshape(3, -1), channels, inner)
    wide_mean, wide_variance = plain.moments(x.double(), channels, inner)
    assert mean.dtype == variance.dtype == torch.float32
    torch.testing.assert_close(mean.double(), wide_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance.double(), wide_variance, rtol=2e-6, atol=0)


@pytest.mark.parametrize(
    ("case", "timesteps", "name"),
    [
        *[(case, 3, "integer") for case in CHANNELS],
        *[(case, 18, "arctan, current, hard") for case in ("columns, odd", "one channel")],
        ("columns, short runs", 2, "binary, hard"),
        ("runs, odd", 17, "binary, hard"),
    ],
)
def test_sums_of_gradients_equal_those_of_the_reference(case, timesteps, name):
    channels, inner, batch = CHANNELS[case]
    call = replace(
        Call.of(ALL[name], timesteps, channels * inner * batch).with_states(),
        affine=affine(channels, inner),
        output_scale=0.5,
        decay=channelwise(channels, inner, 0.2, 0.9),
    )
    mean = channelwise(channels, inner, -1, 1)
    found = call.backward_sums(path, mean)
    expected = call.backward_sums(plain, mean)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == (channels,)
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6 * call.x.numel() ** 0.5)


def test_sums_of_nothing():
    call = replace(Call.of(INTEGER, 2, 0), affine=affine(3, 1))
    first, second = call.backward_sums(path, channelwise(3, 1, 0, 1))
    assert first.tolist() == second.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("parameters", [False, True])
@pytest.mark.parametrize("channels", [0, 1, 100, 300])
def test_arithmetic_of_a_batchnorm(channels, parameters):
    mean, first, second, weight, bias = (draw(channels, seed=k) for k in range(5))
    variance = draw(channels, seed=5).abs() + 0.1
    given = (weight, bias) if parameters else (None, None)
    found = path.norm_affine(mean, variance, *given, 1e-3, 49)
    expected = plain.norm_affine(mean, variance, *given, 1e-3, 49)
    grads = path.norm_epilogue(first, second, mean, variance, expected, 1e-3, 77)
    wanted = plain.norm_epilogue(first, second, mean, variance, expected, 1e-3, 77)
    pairs = [(found.scale, expected.scale), (found.shift, expected.shift)]
    for name in ("gain", "slope", "centre", "offset"):
        pairs.append((getattr(grads[1], name), getattr(wanted[1], name)))
    for mine, theirs in pairs:
        assert mine.inner == theirs.inner == 49
        torch.testing.assert_close(mine.values, theirs.values)
    torch.testing.assert_close(grads[0], wanted[0])


def test_refusals_have_a_reason():
    x = torch.zeros(2, 8)
    assert path.why_not(x) is None
    many = Call.of(INTEGER | {"levels": 100, "surrogate": Surrogate("arctan")}, 2, 8)
    assert "at most 32 overlapping surrogates" in str(path.why_not(x, dynamics=many.dynamics))
    assert path.why_not(x, dynamics=Call.of(INTEGER | {"levels": 100}, 2, 8).dynamics) is None
    huge = x[:1, :1].expand(1, 1 << 35)
    assert "elements" in str(path.why_not(huge))
