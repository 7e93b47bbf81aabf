"""RepConv chains: merged equals unmerged, borders included; parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synfire.layers import BorderedRepConv, RepConv, SpikingSequential, merge_rep_convs
from synfire.layers.rep_conv import NormAndPad
from synfire.neurons import IntegerLIF

F64 = torch.float64
CHAINS = {
    "RepConv": lambda: RepConv(6, 5),
    "no outer norm": lambda: RepConv(6, 6, 6, outer=False),
    "bordered": lambda: BorderedRepConv(6, 5),
}


def trained(module):
    """Weights and statistics far from those of a new module."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias)
    return module.double().eval()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_in_closed_form():
    assert parameters(RepConv(8, 8)) == 3 * 8**2 + 7 * 8
    assert parameters(RepConv(8, 8, 8, outer=False)) == 2 * 8**2 + 4 * 8
    assert parameters(BorderedRepConv(8, 8)) == 2 * 8**2 + 15 * 8


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (2, 1)])
@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
def test_merged_equals_unmerged(make, size):
    chain = trained(make())
    merged = chain.merged()
    assert type(merged) is nn.Conv2d and not merged.training
    x = torch.randn(3, 6, *size, dtype=F64)
    assert merged(x).shape == chain(x).shape
    torch.testing.assert_close(merged(x), chain(x), rtol=1e-12, atol=1e-12)


def test_a_border_of_zeros_would_not_merge():
    """BN(0) at the border is what makes the merged convolution exact."""
    chain = trained(BorderedRepConv(4, 4))
    x = torch.randn(1, 4, 3, 3, dtype=F64)
    zeros = nn.functional.pad(chain.border.norm(chain.first(x)), [1] * 4)
    wrong = chain.outer(chain.second(chain.depthwise(zeros)))
    difference = (chain.merged()(x) - wrong).detach().abs()
    assert float(difference[..., 1, 1].max()) < 1e-12 < float(difference[..., 0, 0].max())


def test_statistics_of_the_bordered_norm_are_those_of_the_inner_pixels():
    layer, norm = NormAndPad(3).double(), nn.BatchNorm2d(3).double()
    x = torch.randn(4, 3, 5, 6, dtype=F64) + 2
    out, inner = layer(x), norm(x)
    assert torch.equal(out[..., 1:-1, 1:-1], inner)
    assert torch.equal(layer.norm.running_mean, norm.running_mean)
    assert torch.equal(layer.norm.running_var, norm.running_var)
    zero = norm.eval()(torch.zeros(1, 3, 1, 1, dtype=F64))
    torch.testing.assert_close(out[:, :, :1, :1], zero.expand(4, 3, 1, 1))
    torch.testing.assert_close(out[:, :, -1:, 2:3], zero.expand(4, 3, 1, 1))
    layer.norm.momentum = 0.0  # the border follows the running statistics
    leaf = torch.randn(2, 3, 3, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, leaf)


def test_a_net_merged_whole():
    net = SpikingSequential(IntegerLIF(4), RepConv(4, 4), IntegerLIF(4), BorderedRepConv(4, 4))
    net = trained(nn.Sequential(net, nn.Conv2d(4, 2, 1)))
    merged = merge_rep_convs(net)
    x = torch.randn(2, 4, 5, 5, dtype=F64) * 2
    torch.testing.assert_close(merged(x), net(x))
    assert not any(
        isinstance(m, nn.BatchNorm2d | RepConv | BorderedRepConv) for m in merged.modules()
    )
    assert any(isinstance(m, RepConv) for m in net.modules())  # a copy was merged


def test_a_chain_runs_with_a_neuron_as_one(seeded):
    """Flattened by SpikingSequential, the chain gives what its modules give one by one."""
    net = SpikingSequential(RepConv(4, 4), IntegerLIF(4))
    x = torch.randn(3, 4, 5, 5) * 2
    expected = x
    twin = SpikingSequential(RepConv(4, 4), IntegerLIF(4))
    twin.load_state_dict(net.state_dict())
    for module in twin:
        expected = module(expected)
    assert torch.equal(net(x), expected)
