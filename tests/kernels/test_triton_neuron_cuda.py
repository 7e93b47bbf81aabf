"""The Triton path of the neuron operator on a device: equal to the reference on the CPU, at real sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synfire.kernels.integrate_fire import plain
from synfire.kernels.integrate_fire import triton as path
from synfire.kernels.norm_integrate_fire import norm_integrate_fire
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

pytestmark = pytest.mark.gpu
ALL = RECORDABLE | RECOMPUTED
ELEMENTS = 64 * 3 * 1021  # a multiple of 64, and more than one block
LAYOUTS = {  # channels, inner, batch
    "NCHW 28x28": (64, 784, 4),
    "NCHW 32x32": (64, 1024, 4),
    "NCHW 14x14": (256, 196, 4),
    "NCHW 7x7": (128, 49, 8),
    "NCHW 2x2": (96, 4, 64),
    "channels last": (64, 1, 4000),
    "channels last, 100": (100, 1, 1000),
    "one channel": (1, 1000, 77),
}


def near(name: str) -> bool:
    return name.startswith(INEXACT)


@pytest.mark.parametrize("name", ALL)
def test_every_option(name):
    call = replace(Call.of(ALL[name], 4, ELEMENTS), threshold=constant(0.7), output_scale=0.3)
    check(call.with_states(), path, "cuda", exact=not near(name))


@pytest.mark.parametrize("timesteps", [1, 16, 40])
@pytest.mark.parametrize("name", ["integer", "binary, hard", "arctan, binary", "current"])
def test_timesteps(name, timesteps):
    check(Call.of(ALL[name], timesteps, ELEMENTS // 2), path, "cuda")


@pytest.mark.parametrize("options", [INTEGER, {}], ids=["bits", "membranes"])
@pytest.mark.parametrize("elements", [1, 63, 100, 4097, 1 << 20])
def test_sizes(elements, options):
    check(Call.of(options, 4, elements), path, "cuda")


@pytest.mark.parametrize(
    ("dtype", "timesteps"),
    [(torch.float16, 4), (torch.bfloat16, 1), (torch.bfloat16, 16)],
)
@pytest.mark.parametrize("name", ["integer", "arctan, binary"])
def test_half_precision(name, dtype, timesteps):
    call = replace(Call.of(ALL[name], timesteps, ELEMENTS, dtype), output_scale=0.25)
    check(call, path, "cuda")
    fused = replace(call, affine=affine(64, 1), epilogue=epilogue(64, 1))
    check(fused, path, "cuda")


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        *[(layout, torch.bfloat16) for layout in LAYOUTS],
        ("NCHW 28x28", torch.float32),
        ("NCHW 14x14", torch.float32),
    ],
)
def test_channels(layout, dtype):
    channels, inner, batch = LAYOUTS[layout]
    call = replace(
        Call.of(INTEGER, 2, channels * inner * batch, dtype),
        decay=channelwise(channels, inner, 0.2, 0.9),
        threshold=channelwise(channels, inner, 0.5, 1.5),
        affine=affine(channels, inner),
    )
    check(call, path, "cuda")
    check(replace(call, epilogue=epilogue(channels, inner)), path, "cuda")


@pytest.mark.parametrize("form", ["uint8", "bits"])
@pytest.mark.parametrize("elements", [63, ELEMENTS])
def test_forms(elements, form):
    call = Call.of(BINARY if form == "bits" else INTEGER, 6, elements)
    expected = call.forward(plain, form=form, last_state=False)
    there = call.to("cuda")
    assert differences(there.forward(path, form=form, last_state=False), expected) == []
    out = torch.full_like(expected.out, 7, device="cuda")
    assert there.forward(path, form=form, out=out).out is out
    assert torch.equal(out.cpu(), expected.out)


@pytest.mark.parametrize("offset", [1, 4])
def test_tensors_that_begin_anywhere(offset):
    for dtype in (torch.float32, torch.float16):
        call = Call.of(INTEGER, 4, 4096, dtype)
        there = call.to("cuda")
        shifted = []
        for tensor in (there.x, there.grad):
            room = torch.empty(tensor.numel() + offset, dtype=dtype, device="cuda")
            shifted.append(room[offset:].view(tensor.shape).copy_(tensor))
        there = replace(there, x=shifted[0], grad=shifted[1])
        expected = call.forward(plain, record=True)
        assert differences(there.forward(path, record=True), expected) == []
        assert differences(there.backward(path), call.backward(plain)) == []
        record = torch.empty(expected.record.numel() + offset, dtype=torch.uint8, device="cuda")
        record = record[offset:].view(expected.record.shape).copy_(expected.record)
        assert differences(there.backward(path, record), call.backward(plain)) == []


def test_nan_and_infinity():
    call = Call.of(INTEGER, 3, 4096)
    call.x[0, 3], call.x[1, 9], call.x[0, 20] = torch.nan, torch.inf, -torch.inf
    found = call.to("cuda").forward(path, record=True)
    assert differences(found, call.forward(plain, record=True)) == []


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_moments_equal_those_of_float64(layout, dtype, shift):
    channels, inner, batch = LAYOUTS[layout]
    x = (draw(4 * batch, channels, inner) + shift).to(dtype)
    mean, variance = path.moments(x.cuda().reshape(4, -1), channels, inner)
    wide_mean, wide_variance = plain.moments(x.double(), channels, inner)
    torch.testing.assert_close(mean.cpu().double(), wide_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(variance.cpu().double(), wide_variance, rtol=2e-6, atol=0)


@pytest.mark.parametrize(
    ("layout", "timesteps", "dtype"),
    [
        *[(layout, 4, torch.bfloat16) for layout in LAYOUTS],
        *[
            (layout, timesteps, torch.float32)
            for layout in ("NCHW 32x32", "NCHW 7x7", "channels last")
            for timesteps in (1, 18)
        ],
    ],
)
def test_sums_of_gradients_equal_those_of_the_reference(layout, timesteps, dtype):
    channels, inner, batch = LAYOUTS[layout]
    options = ALL["arctan, current, hard"] if timesteps == 18 else INTEGER
    call = replace(
        Call.of(options, timesteps, channels * inner * batch, dtype), affine=affine(channels, inner)
    )
    mean = channelwise(channels, inner, -1, 1)
    found = call.to("cuda").backward_sums(path, mean_on_device(mean))
    expected = call.backward_sums(plain, mean)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(
            mine.cpu(), theirs, rtol=1e-5, atol=1e-6 * (timesteps * inner * batch) ** 0.5
        )


def mean_on_device(mean):
    return type(mean)(mean.values.cuda(), mean.inner)


@pytest.mark.parametrize("layout", ["NCHW 28x28", "NCHW 7x7", "channels last"])
def test_repeated_runs_are_equal(layout):
    channels, inner, batch = LAYOUTS[layout]
    call = replace(
        Call.of(INTEGER, 4, channels * inner * batch, torch.bfloat16),
        affine=affine(channels, inner),
    ).to("cuda")
    mean = mean_on_device(channelwise(channels, inner, -1, 1))

    def everything():
        fired = call.forward(path, record=True)
        return [
            fired.out,
            fired.record,
            call.backward(path).x,
            *call.backward_sums(path, mean),
            *path.moments(call.x, channels, inner),
        ]

    first = everything()
    for _ in range(5):
        again = everything()
        assert [torch.equal(a, b) for a, b in zip(first, again, strict=True)] == [True] * 7


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8, 64, 28, 28), (8, 6, 7, 5), (64, 96)])
def test_batchnorm_and_neuron(shape, dtype, fixed):
    dynamics, channels, results = Call.of(INTEGER, 1, 1).dynamics, shape[1], []
    for device in ("cpu", "cuda"):
        x = draw(*shape).to(device, dtype).requires_grad_()
        weight, bias = (draw(channels, seed=k).to(device).requires_grad_() for k in (1, 2))
        mean, variance = draw(channels, seed=3).to(device), draw(channels).abs().to(device) + 0.5
        out, *statistics = norm_integrate_fire(
            x, 4, dynamics, weight=weight, bias=bias, decay=0.9, threshold=0.7,
            mean=mean if fixed else None, variance=variance if fixed else None,
        )  # fmt: skip
        (out.float() * draw(*shape, seed=4).to(device)).sum().backward()
        results.append((out, *statistics, x.grad, weight.grad, bias.grad))
    (out, mean, variance, *grads), (found, found_mean, found_variance, *found_grads) = results
    assert float((found.cpu() != out).float().mean()) < 1e-4  # sums round differently
    torch.testing.assert_close(found_mean.cpu(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found_variance.cpu(), variance, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(found_grads, grads, strict=True):
        error = (mine.cpu().double() - theirs.double()).norm() / theirs.double().norm()
        assert float(error) < 2e-2


LARGE = (1 << 31) + (1 << 18) + 8192


@pytest.fixture(scope="module")
def large():
    """More than 2^31 float16 numbers on ties and between them."""
    if torch.cuda.mem_get_info()[0] < 24 << 30:
        pytest.skip("24 GiB of device memory are not free")
    x = torch.empty(LARGE, dtype=torch.float16, device="cuda")
    x.normal_(0.5, 1.5, generator=torch.Generator("cuda").manual_seed(1))
    yield x
    del x
    torch.cuda.empty_cache()


@pytest.mark.parametrize("cut", [0, 4091])  # a whole number of bytes in a record, and not
@pytest.mark.parametrize("timesteps", [1, 4])
def test_more_than_two_to_the_31_elements(large, timesteps, cut):
    elements = (large.numel() - cut) // timesteps
    x = large[: timesteps * elements].view(timesteps, elements)
    decay, threshold = (
        replace(constant(value), values=torch.tensor([value], device="cuda"))
        for value in (0.9, 1.0)
    )
    dynamics = Call.of(INTEGER, 1, 1).dynamics
    neuron = (None, None, decay, threshold, dynamics)
    fired = path.forward(x, *neuron, record=True, last_state=False)
    grads = path.backward(x, None, None, None, fired.record, *neuron)
    recomputed = path.backward(x, None, None, x, None, *neuron)
    assert torch.equal(grads.x, recomputed.x)
    del recomputed
    step = 1 << 25
    for start in range(0, elements, step):
        part = slice(start, min(start + step, elements))
        expected = plain.forward(x[:, part], *neuron, record=True, last_state=False)
        assert torch.equal(fired.out[:, part], expected.out), part
        octets = slice(part.start // 8, -(-part.stop // 8))
        assert torch.equal(fired.record[:, :, octets], expected.record), part
        slopes = plain.backward(x[:, part], None, None, None, expected.record, *neuron)
        assert torch.equal(grads.x[:, part], slopes.x), part


def test_channels_of_more_than_two_to_the_31_elements(large):
    for channels, inner in ((64, 1), (64, 4096), (1, 1)):
        whole = large[: large.numel() // (channels * inner) * channels * inner]
        mean, variance = path.moments(whole.view(1, -1), channels, inner)
        count = whole.numel() // channels
        wide = torch.zeros(channels, dtype=torch.float64, device="cuda")
        squares = torch.zeros_like(wide)
        for part in whole.view(-1, channels, inner).split(max(1, (1 << 25) // (channels * inner))):
            wide += part.double().sum((0, 2))
            squares += part.double().square().sum((0, 2))
        expected = wide / count
        torch.testing.assert_close(mean.double(), expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            variance.double(), squares / count - expected.square(), rtol=1e-6, atol=0
        )
