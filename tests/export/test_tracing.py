"""Every rule: the graph computes what the module computes, on torch and on numpy, for odd sizes and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import GraphError, LoweringError
from synfire.core.neuron import named_neurons
from synfire.encoders import Direct, Poisson
from synfire.export import Edge, trace
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


IMAGE = {
    "conv": nn.Conv2d(3, 4, 3),
    "conv stride, padding, dilation": nn.Conv2d(
        3, 4, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)
    ),
    "conv same": nn.Conv2d(3, 4, 4, padding="same"),
    "conv valid": nn.Conv2d(3, 4, 4, padding="valid"),
    "depthwise": nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False),
    "grouped": nn.Conv2d(3, 6, 3, padding=1, groups=3),
    "batch norm": nn.BatchNorm2d(3),
    "avg pool": nn.AvgPool2d(2),
    "avg pool padded": nn.AvgPool2d(3, stride=2, padding=1),
    "max pool": nn.MaxPool2d(3, stride=2, padding=1),
    "adaptive": nn.AdaptiveAvgPool2d((2, 1)),
    "upsample": nn.Upsample(scale_factor=2),
    "mean": Call(lambda x: x.mean((2, 3))),
    "mean keepdim": Call(lambda x: x.mean((2, 3), keepdim=True)),
    "flatten": nn.Flatten(),
    "reshape": Call(lambda x: x.reshape(x.shape[0], 3, -1)),
    "permute": Call(lambda x: x.permute(0, 2, 3, 1)),
    "cat": Call(lambda x: torch.cat([x, 2 * x], 1)),
    "cat width": Call(lambda x: torch.cat([x, x], -1)),
    "add": Call(lambda x: x + x * 0.5),
    "add constant": Call(lambda x: 1.5 + x),
    "divide": Call(lambda x: x / 4),
    "gate": Call(lambda x: x * torch.sigmoid(x)),
    "slice": Call(lambda x: x[:, 1:, :-1]),
    "chunk": Call(lambda x: x.split([1, 2], 1)[1]),
    "pad": Call(lambda x: nn.functional.pad(x, (1, 2, 0, 1))),
    "pad channels": Call(lambda x: nn.functional.pad(x, (0, 0, 0, 0, 1, 1))),
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "softmax": nn.Softmax(1),
    "dropout": nn.Dropout(0.5),
    "layer norm": nn.LayerNorm([4]),
    "matmul": Call(lambda x: x @ x.transpose(-1, -2)),
    "conv bn conv": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)),
    "bn padded conv": nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)),
    "bn padded grouped conv": nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, padding=1, groups=3)
    ),
    "bn conv valid": nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "pad conv": Call(None),
    "conv pad conv with bias": nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3)
    ),
    "conv conv padded": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)),
    "conv chain": nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=(1, 2)),
        nn.Conv2d(4, 4, (2, 3), groups=2, stride=2),
        nn.Conv2d(4, 2, 1),
    ),
    "neuron avg pool conv": nn.Sequential(IntegerLIF(3), nn.AvgPool2d(2), nn.Conv2d(3, 2, 1)),
    "neuron neuron": nn.Sequential(IntegerLIF(4), IntegerLIF(2)),
    "neurons added": nn.Sequential(Call(lambda x: x + 0.3), IntegerLIF(3)),
}
IMAGE["pad conv"] = nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 4, 3, padding=1))


@pytest.mark.parametrize("name", IMAGE)
def test_image_operators(name):
    torch.manual_seed(0)
    net = nn.Sequential(IMAGE[name]).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    net.eval()
    example = torch.rand(2, 3, 6, 4, dtype=torch.float64) * 3
    graph = trace(net, example)
    for batch in (1, 5):
        x = torch.rand(batch, 3, 6, 4, dtype=torch.float64) * 3
        expected = net(x).detach()
        assert graph.sink.shape == tuple(expected.shape[1:])
        for mode in ("integer", "slots"):
            torch.testing.assert_close(graph.run(x[None], mode), expected)
            np.testing.assert_allclose(
                graph.run(x[None].numpy(), mode), expected.numpy(), atol=1e-12
            )


def test_conv1d_and_tokens():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1, stride=2), nn.BatchNorm1d(4), IntegerLIF(4), nn.AvgPool1d(2),
        Call(lambda x: x.transpose(1, 2)), nn.Linear(4, 5), Call(lambda x: x.transpose(1, 2)),
        nn.BatchNorm1d(5), Call(lambda x: x.transpose(1, 2)), IntegerLIF(2), Call(lambda x: x.mean(1)),
    ).double().eval()  # fmt: skip
    net[5].weight.data *= 20
    x = torch.rand(3, 2, 16, dtype=torch.float64) * 4
    graph = trace(net, x)
    torch.testing.assert_close(graph.run(x[None]), net(x).detach())
    assert sum(node.op == "Scale" for node in graph) == 0, (
        "the second BatchNorm folds across the transposes"
    )
    assert net(x).abs().sum() > 0


NEURONS = {
    "if": lambda t: IF(t, threshold=0.7),
    "if hard": lambda t: IF(t, reset="hard", reset_value=0.1),
    "if none": lambda t: IF(t, reset="none"),
    "lif": lambda t: LIF(t, decay=0.9, decay_input=True, threshold=0.3),
    "lif gain": lambda t: LIF(t, decay=0.3, input_gain=0.6),
    "parametric": lambda t: ParametricLIF(t, channels=3, learn_threshold=True),
    "cuba": lambda t: CubaLIF(t, current_decay=0.6, decay=0.8),
    "sfa": lambda t: IntegerLIF(4, t, threshold=0.5),
    "even": lambda t: IntegerLIF(4, t, rounding="half_even", decay=1.0),
    "floor": lambda t: IntegerLIF(5, t, rounding="floor", decay=0.5),
    "d15": lambda t: IntegerLIF(15, t, normalize=False, decay=0.9),
    **{
        f"preset {name}": (lambda t, name=name: IntegerLIF.preset(name, timesteps=t))
        for name in synfire.neurons.PRESETS
    },
}  # fmt: skip


@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_is_one_node_and_exact(name, timesteps):
    torch.manual_seed(0)
    neuron = NEURONS[name](timesteps)
    for parameter in neuron.parameters():
        nn.init.normal_(parameter, std=0.3)
    body = nn.Sequential(neuron, nn.Conv2d(3, 2, 3, padding=1), IntegerLIF(4, timesteps))
    net = synfire.TimeFolded(body, timesteps).eval()
    x = (torch.rand(timesteps, 5, 3, 4, 4) * 40).round() / 8  # dyadic, with ties
    report = synfire.verify(net, x)
    assert len(trace(net, x).neurons()) == 2
    first = report.results[0]
    assert first.counts == timesteps * 5 * (48 + 32)
    if name not in ("parametric", "lif", "lif gain", "cuba", "d15", "sfa"):
        assert report.exact, str(report)
    assert synfire.verify(net, x, dtype=torch.float64).exact


def test_neurons_of_a_module_called_twice_are_two_nodes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.linear = LIF(3), nn.Linear(4, 4)

        def forward(self, x):
            return self.neuron(self.linear(self.neuron(x)))

    net = synfire.TimeFolded(Twice(), 3)
    x = torch.rand(3, 2, 4) * 3
    graph = trace(net, x)
    assert [(n.path, n.attrs["call"]) for n in graph.neurons()] == [
        ("net.neuron", 0),
        ("net.neuron", 1),
    ]
    assert synfire.verify(net, x, dtype=torch.float64).exact


def test_a_users_step_function_becomes_a_node():
    def adaptive(x, state, leak):
        v = leak * state["v"] + x
        s = synfire.functional.spike(v - 1 - state["a"])
        return s, {"v": v - s, "a": 0.5 * state["a"] + 0.25 * s}

    neuron = synfire.neuron_from_step(adaptive, state=("v", "a"), parameters={"leak": 0.5})
    net = synfire.TimeFolded(nn.Sequential(nn.Linear(4, 6), neuron(3), nn.Linear(6, 2)), 3).double()
    x = torch.rand(3, 5, 4, dtype=torch.float64) * 4
    graph = trace(net, x)
    (node,) = graph.neurons()
    assert node.attrs["kind"] == "step" and float(node.weights["parameter.leak"]) == 0.5
    report = synfire.verify(net, x)
    assert report.exact and report.results[0].counts == 3 * 5 * 6
    torch.testing.assert_close(graph.run(x), net(x).detach())
    np.testing.assert_allclose(graph.run(x.numpy(), "slots"), net(x).detach().numpy())


def test_the_source_records_the_encoder():
    net = synfire.TimeFolded(nn.Sequential(nn.Linear(3, 2), IF(4)), 4, encoder=Poisson(0.5))
    graph = trace(net, torch.rand(2, 3))
    assert graph.source.attrs["encoder"] == {"name": "Poisson", "stochastic": True, "gain": 0.5}
    assert graph.timesteps == 4 and graph.readout == "mean"
    assert graph.source.edge == Edge("count", bits=1, low=0.0, high=1.0), "spikes enter the net"
    x = torch.rand(8, 3)
    report = synfire.verify(net.double(), x, generator=torch.Generator().manual_seed(0))
    assert report.exact


@pytest.mark.parametrize("readout", ["mean", "last", "none"])
def test_readouts(readout):
    net = synfire.TimeFolded(nn.Sequential(nn.Linear(3, 2), LIF(3)), 3, Direct(), readout).double()
    x = torch.rand(4, 3, dtype=torch.float64) * 5
    graph = trace(net, x)
    torch.testing.assert_close(graph.run(net.encode(x).unflatten(0, (3, -1))), net(x).detach())


def test_edges_are_typed():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), IntegerLIF(4), nn.AvgPool2d(2), nn.Conv2d(2, 3, 1), nn.GELU()
    )
    graph = trace(net, torch.rand(2, 1, 6, 6))
    kinds = {node.name: (node.op, node.edge.kind, node.edge.high) for node in graph}
    assert kinds["1"] == ("Neuron", "count", 4) and graph["1"].edge.bits == 3
    assert kinds["2"] == ("Pool", "count", 16) and graph["2"].attrs["kind"] == "sum"
    assert kinds["3"][1] == "potential" and kinds["4"][1] == "real"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_nets_become_float32_graphs(dtype):
    net = synfire.create_model("spiking_cnn_tiny", num_classes=3).to(dtype).eval()
    graph = trace(net, torch.rand(2, 1, 8, 8))
    assert graph.dtype == np.float32
    weight = graph["head"].weights["weight"]
    np.testing.assert_array_equal(weight, net.head.weight.detach().float().numpy() / 4)
    assert synfire.verify(net, torch.rand(4, 1, 8, 8), dtype=torch.float64).exact


def test_tracing_leaves_the_net_alone():
    net = synfire.create_model("spiking_cnn_tiny", num_classes=3).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    trace(net, torch.rand(1, 1, 8, 8))
    assert net.training and all(m.training for m in net.modules())
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert len(named_neurons(net)) == 9


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (Call(lambda x: x.cumsum(1)), "cumsum"),
        (Call(lambda x: x.transpose(0, 1)), "batch axis"),
        (Call(lambda x: x.flatten(0, 1)), "folded"),
        (Call(lambda x: torch.cat([x, x], 0)), "batch"),
        (Call(lambda x: nn.functional.pad(x, (1, 1), value=2.0)), "other values than zero"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode"),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), "divisor"),
        (nn.AdaptiveAvgPool2d(4), "adaptive"),
        (Call(lambda x: x.mean(1)), "mean over axes"),
        (Call(lambda x: x / x), "quotient"),
        (Call(lambda x: x if x.sum() > 0 else -x), "cannot be captured"),
    ],
)
def test_what_cannot_be_lowered_says_why(module, word):
    with pytest.raises(LoweringError, match=word):
        trace(nn.Sequential(module), torch.rand(2, 3, 6, 6))


def test_non_finite_weights_are_refused():
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].weight.data[0, 0] = float("inf")
    with pytest.raises(GraphError, match=r"0\.weight"):
        trace(net, torch.rand(2, 2))


@pytest.mark.gpu
@pytest.mark.parametrize("timesteps", [1, 3])
def test_cuda_counts_equal_cpu_counts(timesteps):
    torch.manual_seed(0)
    net = (
        synfire.create_model("spiking_cnn_tiny", num_classes=10, timesteps=timesteps)
        .double()
        .eval()
    )
    x = torch.rand(16, 1, 8, 8, dtype=torch.float64) * 2
    timed = net.encode(x).unflatten(0, (timesteps, -1))
    graph = trace(net, x)
    on_cuda = graph.execute(timed.cuda(), "slots", record=True)
    on_cpu = graph.execute(timed, "integer", record=True)
    for name, counts in on_cpu.counts.items():
        assert torch.equal(on_cuda.counts[name].cpu(), counts)
    assert synfire.verify(net.cuda(), x.cuda()).exact
