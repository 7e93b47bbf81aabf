"""A stream of single timesteps equals one call with T."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

import synfire
from synfire import Stream, TimeFolded
from synfire import functional as F
from synfire.core.errors import ConfigError, FoldingError, InputError
from synfire.core.neuron import named_neurons
from synfire.encoders import Direct, Latency, Poisson
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF, neuron_from_step


def adaptive(x, state, leak):
    """A spike raises the threshold."""
    v = leak * state["v"] + x
    s = F.spike(v - 1 - state["a"])
    return s, {"v": v - s, "a": 0.9 * state["a"] + 0.2 * s}


Adaptive = neuron_from_step(adaptive, state=("v", "a"), parameters={"leak": 0.5})

NEURONS = {
    "if": lambda: IF(),
    "if hard": lambda: IF(reset="hard", reset_value=0.1),
    "lif": lambda: LIF(decay=0.9),
    "lif decayed input": lambda: LIF(decay=0.7, decay_input=True, reset="none"),
    "parametric": lambda: ParametricLIF(channels=6, decay=0.8),
    "cuba": lambda: CubaLIF(current_decay=0.7),
    "integer": lambda: IntegerLIF(levels=4),
    "event": lambda: IntegerLIF.preset("sfa_event"),
    "step": lambda: Adaptive(),
}
READOUTS = ("mean", "last", "none")


def streamed(stream, x):
    with torch.no_grad():
        return torch.stack([stream(x_t) for x_t in x])


def dyadic_(net):
    """Weights to small multiples of 1/8, so that every sum is exact."""
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randint(-6, 9, p.shape, generator=draw) / 8)
    return net


def image_net(neuron):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        neuron(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 6, 3, groups=6),
        neuron(),
        nn.Flatten(),
        nn.Linear(24, 5),
        neuron(),
        nn.Linear(5, 3),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", NEURONS)
def test_neurons_bit_for_bit(name, dtype):
    net = TimeFolded(NEURONS[name](), timesteps=12, readout="none").to(dtype).eval()
    x = (torch.randn(12, 3, 6) * 2 + 1).to(dtype)
    out = net(x)
    assert bool(out.any())
    assert torch.equal(streamed(Stream(net), x), out)


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: IntegerLIF(levels=4, decay=0.25),
        lambda: IF(reset="hard"),
        lambda: CubaLIF(current_decay=0.5, decay=0.5),
    ],
)
def test_dyadic_nets_bit_for_bit(neuron):
    net = TimeFolded(dyadic_(image_net(neuron)), timesteps=6, readout="none").eval()
    x = torch.randint(0, 5, (6, 3, 2, 8, 8)) / 4.0
    out = net(x)
    assert bool(out.diff(dim=0).any())
    assert torch.equal(streamed(Stream(net), x), out)


@pytest.mark.parametrize("batch", [1, 5])
def test_other_nets_send_equal_counts_in_float64(batch):
    """Float weights and BatchNorm; every neuron's counts are compared, not the logits."""
    torch.manual_seed(2)
    net = TimeFolded(
        synfire.create_model("spiking_cnn_tiny", levels=4, widths=(8, 8, 8)).stages, timesteps=5
    )
    stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), net.net)
    net = TimeFolded(stem, timesteps=5, readout="none").double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # cumulative: one call sets the statistics
    net(torch.randn(5, 32, 1, 8, 8, dtype=torch.float64) * 3)
    net.eval()
    sent: dict[str, list[torch.Tensor]] = {}
    for path, neuron in named_neurons(net):
        neuron.register_forward_hook(
            lambda module, inputs, out, path=path: sent.setdefault(path, []).append(out)
        )
    x = torch.randn(5, batch, 1, 8, 8, dtype=torch.float64) * 3
    net(x)
    at_once = {path: torch.cat(outs) for path, outs in sent.items()}
    sent.clear()
    streamed(Stream(net), x)
    assert len(at_once) == 8
    assert all(bool(out.any()) for out in at_once.values())
    for path, outs in at_once.items():
        assert torch.equal(torch.cat(sent[path]), outs)


@pytest.mark.parametrize(
    "encoder", [Direct(), Direct("first"), Latency(), Poisson()], ids=lambda e: repr(e)
)
def test_the_encoder_sees_its_own_step(encoder):
    net = TimeFolded(LIF(decay=0.9), timesteps=5, encoder=encoder, readout="none").eval()
    x = torch.rand(3, 4)
    out = net(x, generator=torch.Generator().manual_seed(3))
    stream, generator = Stream(net), torch.Generator().manual_seed(3)
    assert torch.equal(torch.stack([stream(x, generator=generator) for _ in range(5)]), out)


@pytest.mark.parametrize("readout", READOUTS)
def test_gives_what_comes_before_the_readout(readout):
    net = TimeFolded(nn.Linear(3, 2), timesteps=4, readout=readout).eval()
    x = torch.rand(2, 3)
    torch.testing.assert_close(Stream(net)(x), net.net(x))


def test_may_run_longer_than_t():
    short, long = (TimeFolded(LIF(decay=0.9), t, readout="none").eval() for t in (2, 9))
    x = torch.rand(9, 2, 3)
    stream = Stream(short)
    assert torch.equal(streamed(stream, x), long(x))
    assert stream.steps == 9


def test_two_streams_of_one_net_do_not_disturb_each_other():
    net = TimeFolded(dyadic_(image_net(LIF)), timesteps=4, readout="none").eval()
    first, second = Stream(net), Stream(net)
    x, y = torch.randint(0, 5, (2, 4, 3, 2, 8, 8)) / 4.0
    outs = [(first(x_t), second(y_t[:1])) for x_t, y_t in zip(x, y, strict=True)]
    net(x)
    assert torch.equal(torch.stack([out for out, _ in outs]), net(x))
    assert torch.equal(torch.stack([out for _, out in outs]), net(y[:, :1]))


def test_two_threads_stream_one_net():
    net = TimeFolded(LIF(decay=0.9), timesteps=200, readout="none").eval()
    inputs = torch.rand(2, 200, 3, 4)
    outs: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda n=n: outs.update({n: streamed(Stream(net), inputs[n])}))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(outs[n], net(inputs[n])) for n in range(2))


def test_reset_is_back_to_rest():
    net = TimeFolded(LIF(decay=0.9), timesteps=3, readout="none").eval()
    stream, x = Stream(net), torch.rand(3, 2, 4)
    first = streamed(stream, x)
    assert not torch.equal(streamed(stream, x), first)
    stream.reset()
    assert stream.state == {}
    assert stream.steps == 0
    assert torch.equal(streamed(stream, x), first)
    stream.reset()
    assert stream(torch.rand(7, 4)).shape == (7, 4)


def test_states_are_keyed_by_path_and_call():
    """A module that is used twice in one net has two states."""
    shared = LIF(decay=0.5)
    net = TimeFolded(
        nn.Sequential(shared, nn.Linear(4, 4, bias=False), shared, CubaLIF()), 5, readout="none"
    ).eval()
    dyadic_(net)
    stream, x = Stream(net), torch.randint(0, 9, (5, 2, 4)) / 4.0
    assert torch.equal(streamed(stream, x), net(x))
    assert list(stream.state) == [("net.0", 0), ("net.0", 1), ("net.3", 0)]
    assert sorted(stream.state["net.3", 0]) == ["i", "v"]
    assert stream.state["net.0", 0]["v"].shape == (2, 4)
    assert not torch.equal(stream.state["net.0", 0]["v"], stream.state["net.0", 1]["v"])


def test_a_copied_stream_goes_its_own_way():
    net = TimeFolded(LIF(decay=0.9), timesteps=4, readout="none").eval()
    stream, x = Stream(net), torch.rand(4, 2, 3)
    streamed(stream, x[:2])
    twin = copy.deepcopy(stream)
    rest = streamed(stream, x[2:])
    assert torch.equal(streamed(twin, x[2:]), rest)
    assert twin.steps == stream.steps == 4


def test_the_batch_stays():
    net = TimeFolded(LIF(), timesteps=2).eval()
    stream = Stream(net)
    stream(torch.rand(3, 4))
    with pytest.raises(InputError, match=r"began with a batch of 3, got 2.*reset"):
        stream(torch.rand(2, 4))


def test_neurons_may_see_another_batch_than_the_input():
    """Windows, heads or points folded into the batch axis between neurons."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = LIF(decay=0.5)

        def forward(self, x):
            return self.neuron(x.reshape(-1, 2)).reshape(x.shape)

    net = TimeFolded(Windows(), timesteps=3, readout="none").eval()
    x = torch.rand(3, 2, 8)
    assert torch.equal(streamed(Stream(net), x), net(x))


def test_a_call_that_fails_leaves_the_stream_where_it_was():
    net = TimeFolded(nn.Sequential(LIF(decay=0.9), nn.Linear(4, 4)), 3, readout="none").eval()
    stream, x = Stream(net), torch.rand(3, 2, 4)
    first = stream(x[0])
    before = {key: state["v"].clone() for key, state in stream.state.items()}
    with pytest.raises(InputError, match="initial membrane must have shape"):
        stream(torch.rand(2, 5))
    net.net[1].weight.data = torch.rand(4, 9)
    with pytest.raises(RuntimeError):
        stream(x[1])
    assert stream.steps == 1
    assert all(torch.equal(stream.state[key]["v"], v) for key, v in before.items())
    assert first.shape == (2, 4)


def test_training_mode_is_refused():
    net = TimeFolded(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), LIF()), timesteps=2)
    stream = Stream(net)
    with pytest.raises(ConfigError, match=r"the net is in training mode: call net.eval\(\)"):
        stream(torch.rand(2, 3))
    net.eval()
    net.net[1].train()
    with pytest.raises(ConfigError, match=r"net.1 is in training mode"):
        stream(torch.rand(2, 3))


def test_only_containers_stream():
    with pytest.raises(ConfigError, match=r"got Linear.*wrap the net in synfire.TimeFolded"):
        Stream(nn.Linear(3, 3))


def test_a_neuron_outside_of_the_net_is_refused():
    loose = [LIF()]

    class Sneaky(nn.Module):
        def forward(self, x):
            return loose[0](x)

    with pytest.raises(FoldingError, match="no submodule of the streamed net"):
        Stream(TimeFolded(Sneaky(), timesteps=2).eval())(torch.rand(1, 2))


def test_compiled_parts_are_refused():
    """A compiled neuron sees no context: it would start from rest at every step."""
    body = nn.Sequential(nn.Linear(3, 3), LIF())
    wrapped = TimeFolded(nn.Sequential(torch.compile(body, backend="eager")), timesteps=2).eval()
    with pytest.raises(ConfigError, match=r"net.0 went through torch.compile"):
        Stream(wrapped)
    in_place = TimeFolded(body, timesteps=2).eval()
    in_place.net.compile(backend="eager")
    with pytest.raises(ConfigError, match=r"net went through torch.compile"):
        Stream(in_place)


def test_a_compiled_caller_does_not_compile_the_stream():
    net = TimeFolded(LIF(decay=1.0), timesteps=4, readout="none").eval()
    stream, x = Stream(net), torch.rand(4, 4, 3)
    torch._dynamo.reset()
    step = torch.compile(lambda x_t: stream(x_t) * 2, backend="eager")
    assert torch.equal(torch.stack([step(x_t) for x_t in x]), net(x) * 2)


def test_gradients_flow_through_the_states():
    net = TimeFolded(LIF(decay=0.9), timesteps=3, readout="none").eval()
    stream, x = Stream(net), torch.rand(3, 2, 4, requires_grad=True)
    total = sum(stream(x_t).sum() for x_t in x)
    (gradient,) = torch.autograd.grad(total, x)
    (expected,) = torch.autograd.grad(net(x).sum(), x)
    torch.testing.assert_close(gradient, expected)
    with torch.no_grad():
        stream.reset()
        stream(x[0])
    assert not any(state["v"].requires_grad for state in stream.state.values())
