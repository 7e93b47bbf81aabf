"""Depthwise convolution: the operator on the CPU, and every path of it on a CUDA device."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from synfire.core.errors import InputError
from synfire.kernels import explain
from synfire.kernels.depthwise_conv import depthwise_conv2d, depthwise_conv2d_op
from synfire.layers import DepthwiseConv2d

CASES = [
    (2, 5, 6, 7, 3, 3),
    (1, 3, 1, 1, 7, 7),
    (2, 33, 9, 17, 5, 5),
    (3, 4, 12, 5, 7, 3),
    (0, 4, 5, 5, 3, 3),
]
LARGE = [
    (4, 48, 112, 112, 7, 7),
    (2, 384, 14, 14, 3, 3),
    (3, 96, 57, 31, 5, 5),
    (2, 40, 9, 130, 7, 7),
]


def draw(case, dtype=torch.float64, device="cpu", last=True):
    b, c, h, w, ky, kx = case
    torch.manual_seed(0)
    x = torch.randn(b, c, h, w, dtype=dtype, device=device)
    if last:
        x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(c, 1, ky, kx, dtype=dtype, device=device)
    bias = torch.randn(c, dtype=dtype, device=device)
    return [t.requires_grad_() for t in (x, weight, bias)]


def expected(x, weight, bias):
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)
    return functional.conv2d(x, weight, bias, padding=padding, groups=x.shape[1])


def results(function, tensors):
    out = function(*tensors)
    grad = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = [t for t in tensors if t is not None]
    return [out, *torch.autograd.grad(out, given, grad.to(out))]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("last", [True, False])
def test_equals_conv2d_with_gradients(case, last):
    x, weight, bias = draw(case, last=last)
    for given in ([x, weight, bias], [x, weight, None]):
        if case[0] == 0:  # torch refuses to differentiate an empty depthwise convolution
            out = depthwise_conv2d(*given)
            assert out.shape == x.shape
            assert not any(g.abs().sum() for g in torch.autograd.grad(out.sum(), [x, weight]))
            continue
        for got, want in zip(
            results(depthwise_conv2d, given), results(expected, given), strict=True
        ):
            torch.testing.assert_close(got, want)


def test_only_what_is_needed_is_differentiated():
    x, weight, bias = draw(CASES[0])
    depthwise_conv2d(x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None
    assert bias.grad is None
    with torch.no_grad():
        assert not depthwise_conv2d(x, weight, bias).requires_grad


def test_operator_checks():
    x, weight, bias = draw(CASES[0], torch.float32)
    torch.library.opcheck(depthwise_conv2d_op, (x, weight, bias))
    torch.library.opcheck(depthwise_conv2d_op, (x.detach(), weight, None))


def test_keeps_layout_and_follows_autocast():
    x, weight, bias = draw(CASES[0], torch.float32)
    out = depthwise_conv2d(x, weight, bias)
    assert out.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert depthwise_conv2d(x, weight, bias).dtype == torch.bfloat16


def test_refuses_what_does_not_fit():
    x, weight, _ = draw(CASES[0])
    with pytest.raises(InputError, match=r"\[C, 1, k, k\]"):
        depthwise_conv2d(x, weight[:3])
    with pytest.raises(InputError, match="odd sides"):
        depthwise_conv2d(x, weight[..., :2])


def test_says_which_path_it_takes():
    x, weight, _ = draw(CASES[0])
    assert "reference; not triton: runs on cuda" in str(explain("depthwise_conv2d", [x, weight]))


def test_layer_is_a_convolution():
    layer = DepthwiseConv2d(5, 3, bias=True)
    plain = torch.nn.Conv2d(5, 5, 3, padding=1, groups=5)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 4, 6)
    assert torch.equal(layer(x), plain(x))


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*CASES[:-1], *LARGE], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_triton_path(case, dtype):
    tensors = draw(case, dtype, "cuda")
    wide = [t.detach().double().requires_grad_() for t in tensors]
    if tensors[0].is_contiguous():  # a single pixel has every layout
        pytest.skip("a tensor that is contiguous too belongs to torch's kernels")
    assert explain("depthwise_conv2d", tensors[:2]).path == "triton"
    for got, want in zip(results(depthwise_conv2d, tensors), results(expected, wide), strict=True):
        error = (got.double() - want).abs().max() / want.abs().max().clamp_min(1)
        assert error < {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}[dtype]


@pytest.mark.gpu
def test_repeats_bit_for_bit():
    tensors = draw(LARGE[0], torch.bfloat16, "cuda")
    first, second = (results(depthwise_conv2d, tensors) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))
