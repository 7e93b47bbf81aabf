"""spike_linear and spike_conv2d against torch's own, in outputs, gradients and what they keep."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nn_functional
from torch import nn
from torch.library import opcheck

from benchmarks.memory import kept_bytes
from synfire import functional as F
from synfire.core.errors import ConfigError, InputError
from synfire.kernels.spike_product import spike_conv2d_op, spike_linear_op
from synfire.kernels.spike_product.counts import pack, packable, unpack


def spikes(*shape, levels=4, scale=0.25, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    counts = torch.randint(0, levels + 1, shape, generator=generator)
    return (counts.float() * scale).to(dtype)


def weights(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("levels", "scale"), [(1, 1.0), (1, 0.3), (4, 0.25), (15, 1 / 15), (16, 1.0), (60, 0.1)]
)
@pytest.mark.parametrize("n", [0, 1, 63, 100, 4097])
def test_counts_come_back_bit_for_bit(n, levels, scale, dtype):
    values = spikes(n, levels=levels, scale=scale, dtype=dtype)
    assert packable(dtype, levels, scale)
    packed = pack(values, levels, scale)
    in_a_byte = 8 if levels == 1 else 2 if levels <= 15 else 1
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-n // in_a_byte)
    assert torch.equal(unpack(packed, levels, scale, n, dtype), values)


def test_all_counts_of_all_packable_levels():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for levels in (2, 15, 63, 64, 65, 128, 255):
            for scale in (1.0, 1 / levels, 0.3, 7.7):
                if packable(dtype, levels, scale):
                    values = (torch.arange(levels + 1.0) * scale).to(dtype)
                    packed = pack(values, levels, scale)
                    assert torch.equal(unpack(packed, levels, scale, levels + 1, dtype), values)
    assert packable(torch.float32, 255, 1 / 255)
    assert packable(torch.bfloat16, 64, 1.0)


def test_what_cannot_be_packed():
    assert not packable(torch.float64, 4, 1.0)
    assert not packable(torch.bfloat16, 65, 1.0)
    assert not packable(torch.float32, 256, 1.0)
    assert not packable(torch.float32, 4, 0.0)


def grads(call, *tensors):
    leaves = [None if t is None else t.detach().requires_grad_() for t in tensors]
    out = call(*leaves)
    upstream = torch.linspace(-1, 1, out.numel()).to(out.dtype).reshape(out.shape)
    out.backward(upstream)
    return [out.detach(), *(t.grad for t in leaves if t is not None)]


@pytest.mark.parametrize("levels", [1, 4, 40])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (7,), (0, 7), (2, 7, 3, 7)])
def test_linear(shape, with_bias, levels):
    x = spikes(*shape, levels=levels, scale=0.5)
    if x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    weight, bias = weights(6, 7), weights(6) if with_bias else None
    found = grads(lambda *t: F.spike_linear(*t, levels=levels, scale=0.5), x, weight, bias)
    expected = grads(nn_functional.linear, x, weight, bias)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-5)


GEOMETRIES = {
    "3x3": ((6, 4, 3, 3), {"padding": 1}),
    "1x1": ((6, 4, 1, 1), {}),
    "depthwise": ((8, 1, 3, 3), {"padding": 1, "groups": 4}),
    "strided": ((6, 4, 3, 2), {"stride": (2, 1), "dilation": (1, 2), "padding": (0, 2)}),
}


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolution_is_equal_bit_for_bit(dtype, geometry, layout, levels):
    shape, options = GEOMETRIES[geometry]
    x = spikes(2, 4, 9, 7, levels=levels, scale=0.5, dtype=dtype).contiguous(memory_format=layout)
    weight, bias = weights(*shape, dtype=dtype), weights(shape[0], dtype=dtype)
    found = grads(lambda *t: F.spike_conv2d(*t, levels=levels, scale=0.5, **options), x, weight, bias)  # fmt: skip
    expected = grads(lambda *t: nn_functional.conv2d(*t, **options), x, weight, bias)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_only_what_is_needed_is_kept_and_computed():
    x, weight = spikes(16, 64), weights(8, 64)
    assert kept_bytes(lambda: F.spike_linear(x, weight, levels=4, scale=0.25)) == x.numel() // 2
    assert kept_bytes(lambda: nn_functional.linear(x, weight)) == 0  # x existed before
    made = lambda: x + 0  # noqa: E731
    assert kept_bytes(lambda: nn_functional.linear(made(), weight)) == 4 * x.numel()
    assert kept_bytes(lambda: F.spike_linear(made(), weight, None, 4, 0.25)) == x.numel() // 2
    leaf, frozen = x.clone().requires_grad_(), weight.detach()
    assert kept_bytes(lambda: F.spike_linear(leaf, frozen, None, 4, 0.25)) == 0
    F.spike_linear(leaf, frozen, None, 4, 0.25).sum().backward()
    assert torch.equal(leaf.grad, frozen.sum(0).expand(16, 64))
    image = spikes(2, 4, 5, 5).requires_grad_()
    F.spike_conv2d(image, torch.ones(1, 4, 1, 1), levels=4, scale=0.25).sum().backward()
    assert torch.equal(image.grad, torch.ones_like(image))


def test_autocast_casts_as_for_torch():
    x, weight, bias = spikes(16, 64), weights(8, 64), weights(8)
    with torch.autocast("cpu", torch.bfloat16):
        found = grads(lambda *t: F.spike_linear(*t, levels=4, scale=0.25), x, weight, bias)
        expected = grads(nn_functional.linear, x, weight, bias)
        image, kernel = spikes(2, 4, 5, 5), weights(3, 4, 3, 3)
        assert F.spike_conv2d(image, kernel, None, 4, 0.25).dtype == torch.bfloat16
    assert found[0].dtype == torch.bfloat16
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-1)


def test_operators_keep_their_promises_to_torch():
    x, weight, bias = spikes(5, 7).requires_grad_(), weights(6, 7), weights(6)
    opcheck(spike_linear_op, (x, weight, bias, 4, 0.25, True))
    opcheck(spike_linear_op, (x, weight.detach(), None, 1, 1.0, False))
    for layout in (torch.contiguous_format, torch.channels_last):
        image = spikes(2, 4, 6, 5).contiguous(memory_format=layout).requires_grad_()
        geometry = ([1, 1], [1, 1], [1, 1], 1)
        opcheck(spike_conv2d_op, (image, weights(3, 4, 3, 3), weights(3), *geometry, 4, 0.25, True))
        opcheck(spike_conv2d_op, (image, weights(3, 4, 3, 3), None, *geometry, 1, 1.0, True))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_without_a_break(backend):
    linear, conv = nn.Linear(12, 3), nn.Conv2d(2, 3, 3)

    def run(image):
        out = F.spike_conv2d(image, conv.weight, conv.bias, levels=4, scale=0.25)
        rounded = (out.flatten(1)[:, :12] > 0).to(out.dtype)
        return F.spike_linear(rounded, linear.weight, linear.bias).sum() + out.sum()

    image = spikes(2, 2, 5, 5)
    run(image).backward()
    expected = [p.grad.clone() for p in (*linear.parameters(), *conv.parameters())]
    for p in (*linear.parameters(), *conv.parameters()):
        p.grad = None
    torch.compile(run, fullgraph=True, backend=backend)(image).backward()
    for p, grad in zip((*linear.parameters(), *conv.parameters()), expected, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_bad_arguments_are_named():
    x = spikes(5, 7)
    with pytest.raises(ConfigError, match="1 to 255 levels"):
        F.spike_linear(x, weights(6, 7), levels=256)
    with pytest.raises(ConfigError, match=r"float64 cannot be packed"):
        F.spike_linear(x.double(), weights(6, 7).double())
    with pytest.raises(InputError, match="takes 8 features"):
        F.spike_linear(x, weights(6, 8))
    with pytest.raises(InputError, match="four axes"):
        F.spike_conv2d(x, weights(6, 7))
    with pytest.raises(InputError, match="takes 3 features"):
        F.spike_conv2d(spikes(1, 4, 5, 5), weights(2, 3, 3, 3))
    with pytest.raises(ConfigError, match="padding must be an int or two ints, got 'same'"):
        F.spike_conv2d(spikes(1, 3, 5, 5), weights(2, 3, 3, 3), padding="same")


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("levels", [1, 4, 40])
def test_gradients_on_a_gpu(levels, dtype, layout):
    x = spikes(4, 8, 16, 12, levels=levels, scale=0.5, dtype=dtype).cuda()
    x = x.contiguous(memory_format=layout)
    weight, bias = weights(16, 8, 3, 3, dtype=dtype).cuda(), weights(16, dtype=dtype).cuda()
    torch.backends.cudnn.deterministic = True
    try:
        call = lambda *t: F.spike_conv2d(*t, levels=levels, scale=0.5, padding=1)  # noqa: E731
        found = grads(call_on(call), x, weight, bias)
        expected = grads(call_on(lambda *t: nn_functional.conv2d(*t, padding=1)), x, weight, bias)
    finally:
        torch.backends.cudnn.deterministic = False
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2 * float(b.abs().max()))


def call_on(call):
    """The gradient of ``grads`` is made on the CPU: let the output be there."""
    return lambda *tensors: call(*tensors).cpu()
