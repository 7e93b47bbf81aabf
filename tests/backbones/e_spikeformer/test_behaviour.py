"""Behaviour: the equations of both families, heads, time, learning."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

import synfire
from synfire.core.neuron import named_neurons
from synfire.layers import merge_rep_convs
from synfire.layers.packed_activations import packed_activations
from tests.backbones.e_spikeformer.small import calibrated, small_base, small_large

F64 = torch.float64


def fire(u, levels=4):
    """Half-up rounding, straight-through gradient inclusive on [0, levels]."""
    clipped = u.clamp(0, levels)
    return (clipped + (torch.floor(clipped + 0.5) - clipped).detach()) / levels


def assert_same_with_gradients(net, ours, theirs):
    """Equal values, and equal gradients of every parameter."""
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(theirs)
    parameters = [p for p in net.parameters() if p.requires_grad]
    mine, expected = (
        torch.autograd.grad((out * weights).sum(), parameters) for out in (ours, theirs)
    )
    assert any(bool(grad.any()) for grad in expected)
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b)


def product(x, conv_norm, groups=1, stride=1):
    conv, norm = conv_norm
    pad = conv.kernel_size[0] // 2
    x = functional.conv2d(x, conv.weight, conv.bias, stride, pad, groups=groups)
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def separable(m, x):
    x = product(fire(x), m.expand)
    x = product(fire(x), m.depthwise, groups=x.shape[1])
    return product(fire(x), m.project)


def mlp(m, x):
    return product(fire(product(fire(x), m.expand)), m.project)


def attention(m, x, heads, scale, run):
    a = fire(x)
    q, k, v = (fire(run(a, b.product)).flatten(2) for b in (m.q, m.k, m.v))
    z = []
    for qh, kh, vh in zip(*(t.chunk(heads, 1) for t in (q, k, v)), strict=True):
        z.append(((qh.mT @ kh) @ vh.mT).mT * scale)
    return run(fire(torch.cat(z, 1).unflatten(2, x.shape[2:])), m.project)


def test_the_base_net_equals_its_equations():
    net = small_base().double()
    x = torch.randn(3, 3, 32, 48, dtype=F64)
    calibrated(net, x)
    h = x
    for index, stage in enumerate(net.stages):
        stride = 2 if index < 4 else 1
        h = product(fire(h) if index else h, stage.down.conv, stride=stride)
        for block in stage.blocks:
            h = h + separable(block.separable, h)
            if index < 3:
                h = h + mlp(block.dense, h)
                continue
            scale = 2 / (h.shape[1] / 2) ** 0.5
            h = h + attention(block.attention, h, 2, scale, product)
            h = h + mlp(block.mlp, h)
    torch.testing.assert_close(net.forward_features(x), h)
    logits = net.head(fire(h.mean((2, 3))) * 4)
    assert bool(logits.diff(dim=0).any())
    assert_same_with_gradients(net, net(x), logits)


@pytest.mark.parametrize("rep_conv_ratio", [0.0, 1.0, 1.5])
def test_the_large_net_equals_its_equations(rep_conv_ratio):
    net = small_large(rep_conv_ratio=rep_conv_ratio, layer_scale=0.3).double()
    x = torch.randn(3, 3, 32, 48, dtype=F64)
    calibrated(net, x)

    def chain(x, m):
        x = product(product(x, m.first), m.second)
        if not hasattr(m, "outer"):
            return x
        n = m.outer
        return functional.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)

    h = x
    for index, stage in enumerate(net.stages):
        h = product(fire(h) if index else h, stage.down.conv, stride=2)
        for block in stage.blocks:
            if index < 3:
                h = h + mlp(block.dense, h)
                continue
            if rep_conv_ratio:
                h = h + chain(fire(h), block.rep_conv[1])
            gains = (g[:, None, None] for g in (block.layer_scale1, block.layer_scale2))
            h = h + next(gains) * attention(block.attention, h, 2, 0.125, chain)
            h = h + next(gains) * mlp(block.mlp, h)
    torch.testing.assert_close(net.forward_features(x), h)
    pooled = h.mean((2, 3))
    expected = (net.head(pooled) + net.head_kd(fire(pooled) * 4)) / 2
    assert_same_with_gradients(net, net(x), expected)


def test_heads_of_the_large_family():
    net = small_large(timesteps=2)
    x = torch.randn(2, 3, 3, 32, 32)
    pair = net(x)
    assert isinstance(pair, tuple) and [part.shape for part in pair] == [(3, 5), (3, 5)]
    net.eval()
    assert net(x).shape == (3, 5)
    alone = small_large(distillation_head=False)
    assert alone(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert not any("head_neuron" in path for path, _ in named_neurons(alone))


def test_merged_equals_unmerged():
    net = small_large(layer_scale=0.5).double()
    x = torch.randn(2, 3, 32, 32, dtype=F64)
    calibrated(net, x)
    merged = merge_rep_convs(net)
    torch.testing.assert_close(merged(x), net(x))
    weights = [
        m.weight.numel() for m in merged.stages[3].blocks[0].modules() if isinstance(m, nn.Conv2d)
    ]
    assert sum(weights) == 13 * 16**2  # five merged chains and the MLP


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (small_base, {"stem_strides": (1, 2, 1, 1, 1)}),
        (small_large, {"stem_strides": (1, 2, 1, 1), "layer_scale": 0.5, "drop_path": 0.0}),
    ],
)
def test_every_weight_learns(make, options):
    net = make(timesteps=2, **options)
    out = net(torch.randn(4, 3, 32, 32))  # with few tokens, q (k^T v) stays below the threshold
    out = torch.cat(out, 1) if isinstance(out, tuple) else out
    out.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.ndim > 1 and not bool(p.grad.any())]
    assert not silent


def test_overfits_a_few_images():
    torch.manual_seed(1)
    net = small_base(num_classes=4, widths=(16, 16, 32, 32), stem_strides=(1, 2, 2, 1, 1))
    x, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 4
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(80):
        logits = net(x)
        loss = functional.cross_entropy(logits, labels)
        if bool((logits.argmax(1) == labels).all()) and bool(loss < 0.1):
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pytest.fail(f"after 80 steps the loss is still {loss.item():.3f}")


@pytest.mark.parametrize("make", [small_base, small_large])
def test_samples_stay_apart_in_time(make):
    net = make(timesteps=3, readout="none").eval()
    x = torch.randn(3, 4, 3, 32, 32)
    poisoned = x.clone()
    poisoned[1, 2, 0, 3, 3] = torch.nan
    clean, dirty = net(x), net(poisoned)
    assert torch.equal(dirty[:, [0, 1, 3]], clean[:, [0, 1, 3]])
    assert torch.equal(dirty[0, 2], clean[0, 2])
    assert bool(dirty[1, 2].isnan().all())


def test_channels_last_stays_and_changes_nothing():
    net = small_base().double()
    x = torch.randn(2, 3, 32, 32, dtype=F64)
    calibrated(net, x)
    plain = net(x)
    net.to(memory_format=torch.channels_last)
    maps = net.features(x.to(memory_format=torch.channels_last))
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), plain)


def test_streams():
    net = small_base(timesteps=3, readout="none").double()
    x = torch.randn(3, 2, 3, 32, 32, dtype=F64)
    calibrated(net, x)
    stream = synfire.Stream(net)
    torch.testing.assert_close(torch.stack([stream(x_t) for x_t in x]), net(x))


def test_packed_activations_change_no_gradient():
    net = small_base(timesteps=2, stem_strides=(1, 2, 1, 1, 1))
    x = torch.randn(2, 3, 16, 16)
    gradients = []
    for context in (nullcontext, packed_activations):
        net.zero_grad()
        with context(), torch.autocast("cpu", torch.bfloat16):
            loss = net(x).float().square().sum()
        loss.backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_compiles_whole():
    torch._dynamo.reset()
    net = small_base(depths=(1, 0, 0, 1, 0))
    x = torch.randn(2, 3, 32, 32)
    calibrated(net, x)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), net(x))
