"""Dense multiply-accumulates against hand-computed nets, of modules and of graphs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import InputError
from synfire.energy import dense_macs
from synfire.export import trace
from synfire.layers import RepConv, SpikeAttention, merge_rep_convs
from synfire.neurons import IntegerLIF


def toy(timesteps=1):
    return synfire.TimeFolded(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            IntegerLIF(4, timesteps),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            SpikeAttention(8, lambda: IntegerLIF(4, timesteps), heads=2, value_expansion=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
        timesteps,
        encoder=synfire.encoders.Direct(),
    )


EXPECTED = [
    ("net.0", "conv", 8 * 3 * 9 * 15),
    ("net.3", "conv", 8 * 9 * 15),
    ("net.4.q.product.0", "conv", 64 * 15),
    ("net.4.k.product.0", "conv", 64 * 15),
    ("net.4.v.product.0", "conv", 128 * 15),
    ("net.4", "attention", 2 * 2 * 15 * 4 * 8),
    ("net.4.project.0", "conv", 128 * 15),
    ("net.7", "linear", 40),
]


@pytest.mark.parametrize("timesteps", [1, 3])
def test_a_net_counted_by_hand(timesteps):
    net = toy(timesteps).train()
    found = dense_macs(net, torch.rand(4, 3, 10, 6))
    assert [(layer.path, layer.kind, layer.macs) for layer in found.layers] == EXPECTED
    assert found.first == EXPECTED[0][2]
    assert found.attention == EXPECTED[5][2]
    assert found.attention_quadratic == 2 * 15 * 15 * (4 + 8)
    assert found.weights == sum(macs for *_, macs in EXPECTED) - found.attention
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())
    assert "net.4.q.product.0" in str(found) and "attention" in str(found)


def test_graph_and_module_agree():
    net = toy().eval()
    x = torch.rand(2, 3, 10, 6)
    of_module, of_graph = dense_macs(net, x), dense_macs(trace(net, x))
    assert sorted(layer.macs for layer in of_graph.layers) == sorted(m for *_, m in EXPECTED)
    assert of_graph.attention_quadratic == of_module.attention_quadratic


def test_statistics_and_values_stay_untouched():
    net = toy()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    dense_macs(net, torch.empty(1, 3, 10, 6, device="meta"))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.device("meta"):
        assert dense_macs(toy(), torch.empty(1, 3, 10, 6)).first == EXPECTED[0][2]


def test_chains_are_counted_as_they_stand():
    net = nn.Sequential(RepConv(4, 6)).eval()
    x = torch.rand(1, 4, 5, 5)
    assert dense_macs(net, x).weights == (4 * 6 + 6 * 6) * 25
    assert dense_macs(merge_rep_convs(net), x).weights == 24 * 25
    assert dense_macs(trace(net, x)).weights == 24 * 25
    assert dense_macs(trace(net, x, merge_chains=False)).weights == (4 * 6 + 6 * 6) * 25


def test_timed_input():
    net = synfire.TimeFolded(nn.Conv2d(2, 4, 3), timesteps=3)
    assert dense_macs(net, torch.rand(3, 2, 2, 5, 5)).weights == 4 * 2 * 9 * 9


def test_nothing_to_count():
    with pytest.raises(InputError, match="takes an example input"):
        dense_macs(nn.Linear(2, 2))
    with pytest.raises(InputError, match="got none"):
        dense_macs(nn.ReLU(), torch.rand(1, 2))


@pytest.mark.parametrize(
    ("name", "weights", "first", "quadratic", "linear"),
    [
        ("t", 1.030, 22.13, 0.160, 0.017),
        ("s", 1.878, 29.50, 0.221, 0.034),
        ("m", 3.935, 44.26, 0.314, 0.066),
        ("l", 7.200, 59.01, 0.433, 0.128),
        ("83m", 29.17, None, None, 0.154),
        ("173m", 63.52, None, None, 0.347),
    ],
)
def test_published_figures(name, weights, first, quadratic, linear):
    with torch.device("meta"):
        net = synfire.create_model(f"e_spikeformer_{name}")
    found = dense_macs(net, torch.empty(1, 3, 224, 224, device="meta"))
    assert float(f"{found.weights / 1e9:.4g}") == weights
    assert round(found.attention / 1e9, 3) == linear
    if first is not None:
        assert round(found.first / 1e6, 2) == first
        assert found.attention_quadratic / 1e9 == pytest.approx(quadratic, abs=6e-4)
