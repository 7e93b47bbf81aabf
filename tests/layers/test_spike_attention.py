"""Spike attention: linear order, exact on counts, gradients, heads."""

from __future__ import annotations

import pytest
import torch
from torch.library import opcheck

import synfire
from synfire.core.errors import ConfigError
from synfire.layers import RepConv, SpikeAttention, spike_activation, spike_attention
from synfire.neurons import LIF, IntegerLIF

F64 = torch.float64


def counts(*shape, levels=4):
    return torch.randint(0, levels + 1, shape)


@pytest.mark.parametrize("shape", [(7, 3, 5), (1, 1, 1), (2, 9, 4, 6), (2, 3, 13, 8, 8)])
def test_both_orders_are_equal_on_counts(shape):
    """(q k^T) v = q (k^T v) in integers; the operator gives them in float64 and float32 alike."""
    *batch, tokens, width, depth = (1, *shape)[-max(len(shape), 3) :]
    q, k = counts(*batch, tokens, width), counts(*batch, tokens, width)
    v = counts(*batch, tokens, depth)
    quadratic = torch.einsum("...nd,...md,...me->...ne", q, k, v)
    for dtype in (F64, torch.float32):
        linear = spike_attention(q.to(dtype), k.to(dtype), v.to(dtype), 1.0)
        assert torch.equal(linear.long(), quadratic)
    scaled = spike_attention(q.double(), k.double(), v.double(), 0.125)
    assert torch.equal(scaled, quadratic * 0.125)


def test_bounds_of_the_products():
    """|k^T v| <= N D^2 and |q (k^T v)| <= d D N D^2, both reached."""
    tokens, width, levels = 196, 8, 4
    full = torch.full((tokens, width), float(levels))
    assert (full.T @ full).max() == tokens * levels**2 == 3136
    out = spike_attention(full, full, full, 1.0)
    assert out.max() == width * levels * tokens * levels**2


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_counts_after_attention_are_thresholds_on_integers(levels):
    """Count j fires iff the integer product reaches (j - 1/2) D^3 sqrt(d) / 2."""
    width = 16
    q, k, v = (counts(40, size, levels=levels) for size in (width, width, 8))
    whole = q @ (k.T @ v)
    q, k, v = (part.double() / levels for part in (q, k, v))
    z = spike_attention(q, k, v, 2 / width**0.5) / 40  # thresholds within reach
    fired = (IntegerLIF(levels, normalize=False)(z)).long()
    bounds = 40 * (torch.arange(1, levels + 1) - 0.5) * levels**3 * width**0.5 / 2
    assert torch.equal(fired, (whole[..., None] >= bounds).sum(-1))
    assert 0 < fired.double().mean() < levels


def test_products_of_slots_do_not_add_up():
    q, k, v = (counts(6, 5) for _ in range(3))
    slots = [[(x >= d).double() for d in range(1, 5)] for x in (q, k, v)]
    per_slot = sum(spike_attention(*parts, 1.0) for parts in zip(*slots, strict=True))
    whole = spike_attention(q.double(), k.double(), v.double(), 1.0)
    assert not torch.equal(per_slot, whole)
    memory = k.double().T @ v.double()
    assert torch.equal(sum(part @ memory for part in slots[0]), whole)


@pytest.mark.parametrize("shape", [(5, 4, 4), (2, 3, 6, 4, 7)])
def test_gradients_equal_those_of_plain_products(shape):
    *batch, tokens, width, depth = shape
    leaves = [
        torch.randn(*batch, tokens, size, dtype=F64, requires_grad=True)
        for size in (width, width, depth)
    ]
    out = spike_attention(*leaves, 0.3)
    q, k, v = leaves
    plain = torch.einsum("...nd,...md,...me->...ne", q, k, v) * 0.3
    torch.testing.assert_close(out, plain)
    weights = torch.randn(out.shape, dtype=F64)
    ours = torch.autograd.grad((out * weights).sum(), leaves)
    theirs = torch.autograd.grad((plain * weights).sum(), leaves)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)
    assert torch.autograd.gradcheck(lambda *a: spike_attention(*a, 0.3), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_opcheck(dtype):
    split = torch.rand(2, 5, 8, dtype=dtype).unflatten(2, (2, 4)).transpose(1, 2)
    plain = torch.rand(5, 3, dtype=dtype)
    for leaf in (split, plain):
        leaves = [leaf.detach().requires_grad_() for _ in range(3)]
        assert set(opcheck(spike_attention, (*leaves, 0.5)).values()) == {"SUCCESS"}


def by_hand(attention, x):
    """The module's equations on tokens, head by head, in quadratic order."""
    tokens = x.flatten(2).mT
    a = attention.neuron(tokens)

    def product(conv_norm, tokens):
        conv, norm = conv_norm
        maps = tokens @ conv.weight[:, :, 0, 0].T
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return (maps - norm.running_mean) * scale + norm.bias

    q, k, v = (
        branch.neuron(product(branch.product, a))
        for branch in (attention.q, attention.k, attention.v)
    )
    parts = []
    for head in range(attention.heads):
        in_q, in_v = (
            slice(
                head * y.shape[-1] // attention.heads, (head + 1) * y.shape[-1] // attention.heads
            )
            for y in (q, v)
        )
        scores = q[..., in_q] @ k[..., in_q].mT
        parts.append(scores @ v[..., in_v] * attention.scale)
    z = attention.attention_neuron(torch.cat(parts, -1))
    return product(attention.project, z).mT.unflatten(2, x.shape[2:])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("options", [{}, {"value_expansion": 4}, {"scale": 1.5}], ids=str)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_module_equals_its_equations(heads, options, layout):
    attention = SpikeAttention(8, spike_activation("spike", 4, 1), heads=heads, **options).double()
    assert attention.scale == options.get("scale", 2 / (8 / heads) ** 0.5)
    x = (torch.randn(3, 8, 10, 7, dtype=F64) * 3).to(memory_format=layout)
    for _ in range(30):
        attention(x)  # statistics
    attention.eval()
    out = attention(x)
    assert bool(out.diff(dim=2).any())
    torch.testing.assert_close(out, by_hand(attention, x))


def test_products_and_the_neuron_after_the_attention_may_differ():
    attention = SpikeAttention(
        8,
        spike_activation("spike", 4, 1),
        2,
        product=RepConv,
        attention_neuron=lambda: LIF(threshold=0.5),
    )
    assert isinstance(attention.attention_neuron, LIF)
    chains = [attention.q.product, attention.k.product, attention.v.product, attention.project]
    assert all(isinstance(chain, RepConv) for chain in chains)
    assert attention(torch.rand(2, 8, 4, 4)).shape == (2, 8, 4, 4)


def test_channels_last_maps_stay_so():
    attention = SpikeAttention(8, spike_activation("spike", 4, 1), heads=2)
    out = attention(torch.rand(2, 8, 5, 3).to(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_keeps_samples_apart_with_time():
    attention = SpikeAttention(8, lambda: LIF(decay=0.9), heads=2).eval()
    net = synfire.TimeFolded(attention, timesteps=3, readout="none")
    x = torch.randn(3, 4, 8, 5, 1) * 3
    poisoned = x.clone()
    poisoned[0, 1] = torch.nan
    clean, dirty = net(x), net(poisoned)
    assert torch.equal(dirty[:, [0, 2, 3]], clean[:, [0, 2, 3]])
    assert bool(dirty[:, 1].isnan().all())


def test_streams():
    attention = SpikeAttention(8, lambda: LIF(decay=0.5, threshold=0.3), heads=2).double()
    net = synfire.TimeFolded(attention, timesteps=4, readout="none").eval()
    x = torch.randn(4, 2, 8, 8, 5, dtype=F64) * 4
    assert bool(net(x).any())
    stream = synfire.Stream(net)
    torch.testing.assert_close(torch.stack([stream(x_t) for x_t in x]), net(x))


def test_every_part_learns():
    attention = SpikeAttention(8, spike_activation("spike", 4, 1), heads=2)
    (attention(torch.randn(4, 8, 10, 7) * 3) ** 2).sum().backward()
    assert all(bool(p.grad.any()) for p in attention.parameters() if p.ndim == 4)


def test_heads_divide_the_channels():
    with pytest.raises(ConfigError, match="channels must be a multiple of heads=3, got 8"):
        SpikeAttention(8, spike_activation("spike", 4, 1), heads=3)
