"""packed_activations changes what is kept for the backward pass, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import synfire
from benchmarks.memory import kept_bytes
from synfire import TimeFolded, packed_activations
from synfire.core.time import carry_time
from synfire.layers import SpikeAttention, fuse_norms
from synfire.layers.packed_activations import _Emissions, _Saved
from synfire.neurons import IF, LIF, IntegerLIF, ParametricLIF


def blocks(neuron, channels=4) -> nn.Sequential:
    """Two convolutions with norms and neurons, then a linear on the flattened spikes."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), neuron(),
        nn.Conv2d(channels, channels, 3, padding=1), neuron(),
        nn.Flatten(), nn.Linear(channels * 35, 5),
    )  # fmt: skip


def gradients(net, x, packed, run=lambda net, x: net(x)) -> list[torch.Tensor]:
    """Output and gradients of input and parameters, the neurons' outputs packed or not."""
    net.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    if packed:
        with packed_activations():
            out = run(net, x)
    else:
        out = run(net, x)
    out.float().square().sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in net.parameters() if p.grad is not None)]


def assert_same(net, x, run=lambda net, x: net(x)) -> None:
    plain, packed = gradients(net, x, False, run), gradients(net, x, True, run)
    assert len(plain) == len(packed)
    for a, b in zip(plain, packed, strict=True):
        assert torch.equal(a, b)
    assert any(bool(p.any()) for p in plain[2:])


NEURONS = {
    "binary": LIF,
    "three levels": lambda: IntegerLIF(3),
    "15 levels": lambda: IntegerLIF(15),
    "40 levels": lambda: IntegerLIF(40),
    "learnable": lambda: ParametricLIF(),
    "unscaled": lambda: IntegerLIF(4, normalize=False),
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("neuron", NEURONS.values(), ids=list(NEURONS))
def test_gradients_are_equal_bit_for_bit(neuron, layout, fused):
    net = blocks(neuron)
    net = (fuse_norms(net) if fused else net).to(memory_format=layout)
    assert_same(net, (torch.randn(3, 3, 5, 7) * 3).contiguous(memory_format=layout))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_gradients_are_equal_in_other_precisions(dtype):
    assert_same(blocks(lambda: IntegerLIF(3)).to(dtype), (torch.randn(3, 3, 5, 7) * 3).to(dtype))


def test_gradients_are_equal_under_autocast():
    def run(net, x):
        with torch.autocast("cpu", torch.bfloat16):
            return net(x)

    assert_same(blocks(lambda: IntegerLIF(4)), torch.randn(3, 3, 5, 7) * 3, run)


def test_gradients_are_equal_over_time():
    net = TimeFolded(blocks(lambda: IntegerLIF(4)), timesteps=3)
    assert_same(net, torch.randn(3, 2, 3, 5, 7) * 2)


def test_attention_saves_views():
    assert_same(SpikeAttention(8, lambda: IntegerLIF(4), heads=2), torch.randn(2, 8, 10, 5) * 3)


def kept(forward) -> int:
    with packed_activations():
        return kept_bytes(forward)


@pytest.mark.parametrize(
    ("neuron", "packed_bytes"),
    [(IF, 1 / 8), (lambda: IntegerLIF(4), 1 / 2), (lambda: IntegerLIF(40), 1)],
)
def test_a_linear_keeps_packed_counts(neuron, packed_bytes):
    x = torch.randn(16, 64)
    first, fire, second = nn.Linear(64, 64), neuron(), nn.Linear(64, 1)
    emitted = []

    def forward():
        emitted.append(fire(first(x)).detach())  # what the neuron itself keeps is no matter here
        return second(emitted.pop())

    before, after = kept_bytes(forward), kept(forward)
    assert before == 4 * x.numel()
    assert after == packed_bytes * x.numel()


def test_consumers_share_one_record():
    neuron, x = IntegerLIF(4), torch.randn(16, 64)
    consumers = [nn.Linear(64, 3) for _ in range(3)]

    def forward():
        spikes = neuron(x)
        return sum(consumer(spikes) for consumer in consumers)

    assert kept(forward) == x.numel() // 2


@pytest.mark.parametrize("timesteps", [1, 2])
def test_a_block_keeps_the_input_of_its_norm_and_a_few_bits(timesteps):
    """Conv, BatchNorm, neuron: BatchNorm's input, at most 1/8 byte (T = 1) or 5/8 for the neuron, 4 bits of counts."""
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    block = fuse_norms(nn.Sequential(conv, nn.BatchNorm2d(4), IntegerLIF(4)))
    net = TimeFolded(nn.Sequential(block, nn.Conv2d(4, 4, 1)), timesteps, readout="none")
    x = torch.randn(timesteps, 16, 4, 8, 8)
    statistics = 4 * 8 * 4
    for_the_neuron = (1 / 8 if timesteps == 1 else 5 / 8) * x.numel()
    bound = x.nbytes + for_the_neuron + statistics
    assert kept(lambda: net(x)) <= bound + x.numel() / 2
    assert kept_bytes(lambda: net(x)) <= bound + x.nbytes


@pytest.mark.parametrize("fused", [False, True])
def test_what_neurons_emit_may_change_in_place(fused):
    norm, fire, consume = nn.BatchNorm1d(6), IntegerLIF(4), nn.Linear(6, 2)
    both = fuse_norms(nn.Sequential(norm, fire)) if fused else nn.Sequential(norm, fire)
    assert_same(consume, torch.randn(5, 6) * 3, lambda net, x: net(both(x).mul_(3)))


def test_what_changed_in_place_is_kept_as_it_is():
    fire, consume = IntegerLIF(4), nn.Linear(6, 2)

    def run(net, x):
        spikes = fire(x)
        spikes.mul_(3)
        spikes[0] = -1.5
        return consume(spikes)

    assert_same(consume, torch.randn(5, 6) * 3, run)


def test_a_change_after_saving_is_harmless():
    """Without packing autograd refuses it; the packed counts were taken before."""
    fire, consume = IntegerLIF(4), nn.Linear(6, 2)
    x = torch.randn(5, 6) * 3

    def run(net, x, change=True):
        spikes = fire(x)
        out = net(spikes)
        if change:
            with torch.no_grad():
                spikes.zero_()
        return out

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(consume, x, False, run)
    expected = gradients(consume, x, False, lambda net, x: run(net, x, change=False))
    for a, b in zip(gradients(consume, x, True, run), expected, strict=True):
        assert torch.equal(a, b)


def test_slices_and_transposes_are_restored():
    fire, consume = IntegerLIF(4), nn.Linear(3, 2)

    def run(net, x):
        spikes = fire(x)
        first, second = spikes.chunk(2)
        return net(first[:, :, ::2].transpose(0, 1)[1:]) + net(second[..., 2:5].transpose(0, 1)[1:])

    assert_same(consume, torch.randn(4, 7, 5) * 3, run)


def test_a_freed_output_is_never_mistaken():
    emissions, fire = _Emissions(), IntegerLIF(4)
    for _ in range(300):
        spikes = fire(torch.rand(64) * 4)
        emissions.hear(spikes, 4, 0.25)
        assert isinstance(emissions.pack(spikes), _Saved)
        del spikes
        other = torch.rand(64)  # may get the memory of the spikes
        assert emissions.pack(other) is other
    assert len(emissions._known) < 200


def test_other_tensors_are_kept_as_they_are():
    emissions = _Emissions()
    spikes = IntegerLIF(4)(torch.rand(8) * 4)
    emissions.hear(spikes, 4, 0.25)
    for other in (spikes.view(torch.int32), spikes.clone(), torch.rand(3), torch.empty(0)):
        assert emissions.pack(other) is other
    double = spikes.double()
    emissions.hear(double, 4, 0.25)
    assert emissions.pack(double) is double
    part = torch.rand(20)[:8]
    emissions.hear(part, 4, 0.25)
    assert emissions.pack(part) is part
    sparse = torch.eye(3).to_sparse()
    assert emissions.pack(sparse) is sparse
    many = (torch.arange(200) / 100).to(torch.bfloat16)  # counts that bfloat16 cannot tell apart
    emissions.hear(many, 200, 0.01)
    assert emissions.pack(many) is many


def test_blocks_nest():
    def run(net, x):
        fire, consume = net
        spikes = fire(x)
        with packed_activations():
            return consume(spikes)

    net = nn.Sequential(IntegerLIF(4), nn.Linear(6, 2))
    assert_same(net, torch.randn(5, 6) * 3, run)
    x = torch.randn(16, 6)
    assert kept(lambda: run(net, x)) == x.numel() // 2


def test_the_backward_pass_may_run_inside():
    net = nn.Sequential(IntegerLIF(4), nn.Linear(6, 2))
    x = torch.randn(5, 6) * 3
    expected = gradients(net, x, False)
    net.zero_grad()
    with packed_activations():
        net(x).square().sum().backward()
    assert torch.equal(net[1].weight.grad, expected[2])


def test_an_error_ends_the_block():
    net = nn.Sequential(IntegerLIF(4), nn.Linear(6, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), packed_activations():
        net(torch.rand(5, 7))
    x = torch.randn(16, 6)
    assert kept_bytes(lambda: net(x)) == x.nbytes


def test_without_gradients_nothing_is_kept():
    net, x = blocks(lambda: IntegerLIF(4)), torch.randn(3, 3, 5, 7)
    with packed_activations():
        with torch.no_grad():
            assert net(x).grad_fn is None
        with torch.inference_mode():
            assert net(x).is_inference()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(use_reentrant):
    body = blocks(lambda: IntegerLIF(4))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.neuron, self.head = body, IntegerLIF(4), nn.Linear(5, 2)

        def forward(self, x):
            inner = carry_time(self.body)
            return self.head(self.neuron(checkpoint(inner, x, use_reentrant=use_reentrant)))

    assert_same(TimeFolded(Net(), timesteps=2), torch.randn(2, 3, 3, 5, 7) * 3)


def test_hooks_inside_come_first():
    net, seen = nn.Sequential(IntegerLIF(4), nn.Linear(6, 2)), []

    def run(net, x):
        with saved_tensors_hooks(lambda t: seen.append(t.shape) or t, lambda t: t):
            return net(x)

    assert_same(net, torch.randn(5, 6) * 3, run)
    assert seen


@pytest.mark.parametrize("fused", [False, True])
def test_a_compiled_net_gives_the_same_gradients(fused):
    net = blocks(lambda: IntegerLIF(4))
    net = fuse_norms(net) if fused else net
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = torch.randn(3, 3, 5, 7) * 3
    for _ in range(2):  # the context is guarded on: each way has its own graph
        plain, packed = gradients(compiled, x, False), gradients(compiled, x, True)
        for a, b in zip(plain, packed, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_a_compiled_chain_saves_counts():
    chain = fuse_norms(nn.Sequential(nn.Linear(64, 64), IntegerLIF(4), nn.Linear(64, 2)))
    compiled, x = torch.compile(chain, backend="aot_eager", fullgraph=True), torch.randn(16, 64)

    def saved():
        shapes = []
        with saved_tensors_hooks(lambda t: shapes.append((t.dtype, t.numel())) or t, lambda t: t):
            compiled(x).sum().backward()
        return shapes

    assert saved().count((torch.float32, 16 * 64)) == 2  # inputs of both linears
    with packed_activations():
        packed = saved()
    assert packed.count((torch.float32, 16 * 64)) == 1  # of the first only
    assert (torch.uint8, 16 * 64 // 2) in packed


def test_the_public_name():
    assert synfire.packed_activations is packed_activations


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("neuron", NEURONS.values(), ids=list(NEURONS))
def test_gradients_are_equal_on_a_gpu(neuron, layout):
    net = fuse_norms(blocks(neuron)).to("cuda", memory_format=layout)
    x = (torch.randn(3, 3, 5, 7, device="cuda") * 3).contiguous(memory_format=layout)
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        assert_same(net, x)
    finally:
        torch.backends.cudnn.deterministic = deterministic


@pytest.mark.gpu
def test_less_memory_is_held_on_a_gpu():
    x = torch.randn(1 << 22, 16, device="cuda")
    net = nn.Sequential(IntegerLIF(4), nn.Linear(16, 1)).cuda()

    def held(packed):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        if packed:
            with packed_activations():
                out = net(x)
        else:
            out = net(x)
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() - before - out.nbytes

    assert held(False) >= x.nbytes
    assert held(True) <= x.nbytes / 8 + 4096
