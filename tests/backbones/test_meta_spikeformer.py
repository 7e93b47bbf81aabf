"""Meta-SpikeFormer: exact parameters, equations, heads, merging, its graph."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

import synfire
from synfire.backbones import MetaSpikeFormer
from synfire.core.errors import ConfigError
from synfire.core.neuron import named_neurons
from synfire.export import trace
from synfire.layers import BorderedRepConv, merge_rep_convs
from synfire.neurons import LIF
from tests.backbones.e_spikeformer.small import calibrated

F64 = torch.float64


def small(**options):
    chosen = {
        "num_classes": 5, "widths": (8, 8, 16, 24), "depths": (1, 1, 1, 1, 1), "heads": 2,
        "stem_strides": (1, 2, 2, 1, 1),
    }  # fmt: skip
    return MetaSpikeFormer(**chosen | options)


def busy(net, x):
    """Calibrated, with potentials that let LIF neurons fire: they see half of their input."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.weight, 3.0)
            nn.init.uniform_(part.bias)
    return calibrated(net, x)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("size", "options", "total"),
    [
        ("15m", {}, 15_112_208),
        ("31m", {}, 31_333_864),
        ("55m", {}, 55_350_248),
        ("55m", {"distillation_head": True}, 55_350_248 + 641_000),
        ("124m", {}, 123_741_160),
    ],
)
def test_published_sizes(size, options, total):
    with torch.device("meta"):
        net = synfire.create_model(f"meta_spikeformer_{size}", **options)
    assert parameters(net) == total
    assert json.loads(json.dumps(net.options))["timesteps"] == 1


def test_a_block_in_closed_form():
    net = small()
    c = 24
    assert parameters(net.stages[4].blocks[0]) == 16 * c**2 + 75 * c
    assert parameters(net.stages[2].blocks[0]) == 76 * 8**2 + 114 * 8


def test_neurons():
    net = small(timesteps=4, distillation_head=True)
    neurons = dict(named_neurons(net))
    for path, neuron in neurons.items():
        assert type(neuron) is LIF and neuron.reset == "hard"
        assert neuron.constants["decay"] == 0.5 and neuron.constants["decay_input"]
        expected = 0.5 if path.endswith("attention_neuron") else 1.0
        assert neuron.constants["threshold"] == expected
    assert len(neurons) == 3 * (2 + 2) + 4 + 2 * (5 + 2) + 1


def fire(u, threshold=1.0):
    """One step from rest: half of the input reaches the membrane."""
    return (u / 2 >= threshold).to(u)


def norm(x, n):
    return functional.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)


def product(x, conv_norm, stride=1):
    conv, n = conv_norm
    return norm(functional.conv2d(x, conv.weight, conv.bias, stride, conv.kernel_size[0] // 2), n)


def chain(x, m):
    x = norm(functional.conv2d(x, m.first.weight), m.border.norm)
    zero = norm(torch.zeros_like(x[:1, :, :1, :1]), m.border.norm)
    padded = functional.pad(x - zero, [1] * 4) + zero
    x = functional.conv2d(padded, m.depthwise.weight, groups=x.shape[1])
    return norm(product(x, m.second), m.outer)


def test_the_net_equals_its_equations():
    net = small().double()
    x = torch.randn(3, 3, 16, 24, dtype=F64) * 2
    busy(net, x)
    h = x
    for index, stage in enumerate(net.stages):
        stride = 2 if index in (1, 2) else 1
        h = product(fire(h) if index else h, stage.down.conv, stride)
        for block in stage.blocks:
            if index < 3:
                m = block.separable
                y = fire(product(fire(h), m.expand))
                y = functional.conv2d(y, m.depthwise.weight, padding=3, groups=y.shape[1])
                h = h + product(y, m.project)
                h = h + product(fire(product(fire(h), block.dense.expand)), block.dense.project)
                continue
            a = block.attention
            s = fire(h)
            q, k, v = (fire(chain(s, b.product)).flatten(2).chunk(2, 1) for b in (a.q, a.k, a.v))
            z = [((i.mT @ j) @ w.mT).mT * 0.125 for i, j, w in zip(q, k, v, strict=True)]
            z = torch.cat(z, 1).unflatten(2, h.shape[2:])
            h = h + chain(fire(z, 0.5), a.project)
            h = h + product(fire(product(fire(h), block.mlp.expand)), block.mlp.project)
    torch.testing.assert_close(net.forward_features(x), h)
    torch.testing.assert_close(net(x), net.head(h.mean((2, 3))))
    assert bool(net(x).diff(dim=0).any())


def test_heads_in_time():
    net = small(timesteps=2, distillation_head=True)
    pair = net(torch.randn(3, 3, 16, 16))
    assert [part.shape for part in pair] == [(3, 5), (3, 5)]
    assert net.eval()(torch.randn(2, 3, 3, 16, 16)).shape == (3, 5)


def test_features():
    net = small(features_only=True, stem_strides=(2, 2, 2, 2, 1)).eval()
    maps = net(torch.randn(2, 3, 32, 48))
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 16, 24), (8, 8, 12), (8, 4, 6), (24, 2, 3)]


@pytest.mark.parametrize("options", [{}, {"timesteps": 2, "distillation_head": True}])
def test_exact_in_its_graph_with_chains_merged(options):
    net = small(**options).double()
    x = torch.randn(3, 3, 12, 16, dtype=F64)
    busy(net, x)
    graph = trace(net, x)
    report = synfire.verify(net, x, graph=graph)
    assert report.exact, str(report)
    assert not any(node.op == "Scale" for node in graph)
    for node in graph:
        if node.op == "Conv" and node.path != "stages.0.down.conv.0":
            assert graph[node.inputs[0]].edge.kind == "count", node.path
    merged = merge_rep_convs(net)
    assert not any(isinstance(module, BorderedRepConv) for module in merged.modules())
    torch.testing.assert_close(merged(x), net(x))


def test_integer_neurons():
    net = small(neuron="sfa", levels=4, timesteps=2)
    assert {neuron.levels for _, neuron in named_neurons(net)} == {4}
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 5)


def test_a_lif_neuron_is_binary():
    with pytest.raises(ConfigError, match="levels=1, got levels=4"):
        small(levels=4)


def test_every_weight_learns():
    net, x = small(timesteps=2, distillation_head=True), torch.randn(4, 3, 24, 24)
    torch.cat(busy(net, x).train()(x), 1).square().sum().backward()
    assert not [n for n, p in net.named_parameters() if p.ndim > 1 and not bool(p.grad.any())]
