"""The Triton form of depthwise convolutions equals torch's; here in the interpreter."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.test_depthwise_conv import CASES, draw, expected, results

kernels = pytest.importorskip("synfire.kernels.depthwise_conv.triton")

pytestmark = pytest.mark.interpreter


@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_forward_and_weight_gradient(case):
    x, weight, bias = draw(case, torch.float32)
    want, g_x, g_weight, _ = results(expected, [x, weight, bias])
    x, weight, bias = (t.detach() for t in (x, weight, bias))
    torch.testing.assert_close(kernels.convolve(x, weight, bias), want)
    grad = torch.randn(want.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grad = grad.float().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(kernels.convolve(grad, weight.flip(2, 3), None), g_x)
    torch.testing.assert_close(
        kernels.weight_gradient(grad, x, weight), g_weight, rtol=1e-4, atol=1e-4
    )


def test_empty():
    x, weight, _ = (t.detach() for t in draw(CASES[-1], torch.float32))
    assert kernels.convolve(x, weight, None).shape == x.shape
    assert not kernels.weight_gradient(x, x, weight).any()
