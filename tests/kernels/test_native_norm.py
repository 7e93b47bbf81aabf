"""Sums over channels and BatchNorm around a neuron on the compiled path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synfire.kernels import native as room
from synfire.kernels.integrate_fire import native, plain
from synfire.kernels.integrate_fire.call import Affine, Channelwise
from tests.kernels.native_case import PLAIN, Case, assert_same

pytestmark = pytest.mark.skipif(not room.available(), reason="the extension is not compiled here")
STATES = {  # of one timestep, channels at axis 1
    "contiguous": (3, 5, 49),
    "one pixel": (7, 12, 1),
    "few pixels": (5, 6, 4),
    "channels last": (60, 48, 1),
    "three channels": (1400, 3, 1),
    "one channel": (6, 1, 333),
    "long even runs": (2, 40, 80),
    "large": (2, 4, 4101),
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def case_of(name, dtype=torch.float32, steps=3, **options):
    return Case(steps, *STATES[name], axis=1, dtype=dtype, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STATES)
def test_moments_are_those_of_double_precision(name, dtype):
    case = case_of(name, dtype)
    mean, variance = native.moments(case.x, case.channels, case.inner)
    expected = plain.moments(case.x.double(), case.channels, case.inner)
    for ours, exact in zip((mean, variance), expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, exact.float(), rtol=3e-7, atol=1e-7)


def test_moments_survive_a_large_mean():
    x = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)) + 3000
    _, variance = native.moments(x, 10, 100)
    exact = plain.moments(x.double(), 10, 100)[1]
    torch.testing.assert_close(variance, exact.float(), rtol=1e-6, atol=0)


def test_moments_of_nan_are_nan():
    x = torch.ones(2, 64)
    x[1, 40] = torch.nan
    mean, variance = native.moments(x, 2, 32)
    assert mean.isnan().tolist() == variance.isnan().tolist() == [False, True]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STATES)
def test_affine_and_epilogue(name, dtype):
    for current in (False, True):
        case = case_of(name, dtype, current=current, per_channel=True)
        affine, epilogue = case.affine(), case.epilogue()
        dynamics = replace(PLAIN, levels=4, decay_input=current)
        forward = {"affine": affine, "record": True, "output_scale": 0.25}
        ours = case.forward(native, dynamics, **forward)
        assert_same(ours, case.forward(plain, dynamics, **forward))
        for options in ({}, {"epilogue": epilogue}):
            options = {"affine": affine, "output_scale": 0.25} | options
            expected = case.backward(plain, dynamics, **options)
            assert_same(case.backward(native, dynamics, **options), expected)
            recorded = case.backward(native, dynamics, ours.record, **options)
            assert_same(recorded, expected)
        with_parameters = {"affine": affine, "epilogue": epilogue, "parameters": True}
        assert_same(
            case.backward(native, dynamics, **with_parameters),
            case.backward(plain, dynamics, **with_parameters),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STATES)
def test_backward_sums(name, dtype):
    case = case_of(name, dtype, current=name == "contiguous")
    dynamics = replace(PLAIN, levels=4)
    mean = case.channelwise()
    affine = case.affine()
    ours = case.sums(native, dynamics, affine, mean, 0.25)
    wide = plain.backward_sums(
        case.grad.float(), case.grad_v, case.grad_i, case.x.float(), case.v, case.i, case.decay,
        case.threshold, dynamics, affine=affine, output_scale=0.25, mean=mean,
    )  # fmt: skip
    for mine, exact in zip(ours, wide, strict=True):
        torch.testing.assert_close(mine, exact, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("state", [(40, 64, 49), (40, 20, 4), (2500, 64, 1), (1, 2, 80_000)])
def test_sums_do_not_depend_on_threads(state):
    case = Case(2, *state, axis=1)
    affine, mean = case.affine(), case.channelwise()
    results = []
    for threads in (1, 2, 3, 1):
        torch.set_num_threads(threads)
        results.append(
            (
                *native.moments(case.x, case.channels, case.inner),
                *case.sums(native, PLAIN, affine, mean),
            )
        )
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


def test_a_trained_batch_norm_gets_the_gradient_of_autograd():
    """moments, affine, backward_sums and the epilogue together are BatchNorm."""
    case = case_of("contiguous", states=False)
    weight, bias = case.channelwise(least=0.5).values, case.channelwise().values
    x = case.x.double().reshape(-1, case.channels, case.inner).requires_grad_()
    normed = torch.nn.functional.batch_norm(x, None, None, weight.double(), bias.double(), True)
    u = normed.reshape(case.x.shape)
    grads = plain.backward(
        case.grad.double(), None, None, u.detach(), None, None, None,
        Channelwise(case.decay.values.double()), Channelwise(case.threshold.values.double()), PLAIN,
    )  # fmt: skip
    u.backward(grads.x)

    mean, variance = native.moments(case.x, case.channels, case.inner)
    scale = weight / (variance + 1e-5).sqrt()

    def over(values):
        return Channelwise(values, case.inner)

    affine = Affine(over(scale), over(bias - mean * scale))
    first, second = case.sums(native, PLAIN, affine, over(mean))
    n = case.x.numel() / case.channels
    from synfire.kernels.integrate_fire.call import Epilogue

    slope = -scale / (variance + 1e-5) * second / n
    epilogue = Epilogue(over(scale), over(slope), over(mean), over(-scale * first / n))
    ours = case.backward(native, PLAIN, affine=affine, epilogue=epilogue).x
    expected = x.grad.reshape(ours.shape).float()
    agree = torch.isclose(ours, expected, rtol=1e-3, atol=1e-4).float().mean()
    assert agree > 0.99  # a membrane on the edge of a window may fall to either side
