"""The event executor against the ordinary one: equal counts bit for bit where sums are exact, refusals elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError, GraphError, InputError
from synfire.export import Edge, Node, SpikeGraph, trace
from synfire.export.executors import execute
from synfire.export.executors.event import EventExecutor
from synfire.kernels import native
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF
from tests.small import one_thread, seeded

__all__ = ["one_thread", "seeded"]
pytestmark = pytest.mark.skipif(not native.available(), reason="the extension is not compiled here")


def residual(levels, timesteps):
    return synfire.create_model("spiking_cnn_tiny", levels=levels, timesteps=timesteps)


def mixed(timesteps):
    """Depthwise, strided and wide kernels, pools of counts and of potentials, every reset, a flattened image."""
    net = nn.Sequential(
        nn.Conv2d(2, 20, 3, padding=1),
        IntegerLIF(4, timesteps, decay=0.5),
        nn.Conv2d(20, 20, 3, padding=1, groups=20),
        nn.BatchNorm2d(20),
        LIF(timesteps, decay=0.25, threshold=0.5, reset="hard"),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 36, 5, stride=2, padding=(2, 3), bias=False),
        nn.AvgPool2d(2, stride=1),
        ParametricLIF(timesteps, decay=0.5, channels=36),
        nn.Flatten(),
        nn.Linear(72, 70),
        IF(timesteps, threshold=0.5),
        nn.Linear(70, 70),
        IntegerLIF(15, timesteps),
        nn.Linear(70, 5),
    )
    return synfire.TimeFolded(net, timesteps=timesteps, readout="mean")


def wide_flatten(timesteps):
    net = nn.Sequential(
        nn.Conv2d(2, 8, 1), IF(timesteps), nn.Flatten(), nn.Linear(8 * 64, 12), IF(timesteps)
    )
    return synfire.TimeFolded(net, timesteps=timesteps, readout="none")


NETS = {
    "residual D=4 T=1": (lambda: residual(4, 1), (1, 1, 8, 8)),
    "residual D=1 T=4": (lambda: residual(1, 4), (4, 1, 8, 8)),
    "mixed T=1": (lambda: mixed(1), (1, 2, 8, 8)),
    "mixed T=3": (lambda: mixed(3), (3, 2, 8, 8)),
    "flattened image": (lambda: wide_flatten(2), (2, 2, 8, 8)),
}


def dyadic_graph(name):
    """A graph whose weights are multiples of 1/8, and inputs that are multiples of 1/8: all sums are exact."""
    make, (steps, *shape) = NETS[name]
    graph = trace(make().eval(), torch.rand(steps, 1, *shape))
    for node in graph:
        for key, array in node.weights.items():
            if key in ("weight", "bias") and array.dtype == np.float32:
                node.weights[key] = (np.round(array * 64) / 8).astype(np.float32)
    return graph, lambda batch: (torch.rand(steps, batch, *shape) * 24).round() / 8


@pytest.fixture(params=[4, 8, 16], ids=lambda lanes: f"{lanes}-lanes")
def lanes(request):
    module = native._extension()[0]
    if request.param > module.lanes():
        pytest.skip(f"this processor has {module.lanes()} lanes")
    widest = module.lanes()
    module.limit_lanes(request.param)
    yield
    module.limit_lanes(widest)


def assert_same(graph, x, execution):
    expected = execute(graph, x, record=True)
    assert set(execution.counts) == set(expected.counts)
    for name, counts in expected.counts.items():
        assert torch.equal(execution.counts[name], counts), name
    if x.shape[1] > 8:  # enough to wake everything
        assert all(counts.any() for counts in expected.counts.values())
    assert torch.equal(execution.output, expected.output)
    assert torch.equal(execution.steps, expected.steps)


@pytest.mark.parametrize("limit", [None, 0.0, float("inf")])
@pytest.mark.parametrize("name", NETS)
def test_counts_are_equal_bit_for_bit(lanes, name, limit):
    graph, draw = dyadic_graph(name)
    executor = EventExecutor(graph, density_limit=limit)
    for batch in (1, 3, 17, 1):
        x = draw(batch)
        assert_same(graph, x, executor.execute(x, record=True))
    if limit == float("inf"):
        assert all(c.path == "event" for c in executor.choices() if c.density is not None)


@pytest.mark.parametrize("name", NETS)
def test_threads_and_repetition_change_nothing(name):
    graph, draw = dyadic_graph(name)
    for node in graph:  # sums that depend on their order
        if "weight" in node.weights:
            node.weights["weight"] = node.weights["weight"] * np.float32(1 / 3)
    x = draw(40)
    for limit in (0.0, float("inf")):
        runs = [
            EventExecutor(graph, density_limit=limit, threads=threads).execute(x, record=True)
            for threads in (1, 1, 2, 3)
        ]
        for other in runs[1:]:
            assert torch.equal(other.output, runs[0].output)
            for name_, counts in runs[0].counts.items():
                assert torch.equal(other.counts[name_], counts)


def test_float_weights_flip_only_what_lies_on_a_threshold():
    net = residual(4, 1).eval()
    graph = trace(net, torch.rand(1, 1, 8, 8))
    x = torch.rand(1, 200, 1, 8, 8)
    ours, expected = graph.execute(x, record=True, backend="event"), execute(graph, x, record=True)
    flips = sum(int((ours.counts[n] != c).sum()) for n, c in expected.counts.items())
    assert flips <= 1e-4 * sum(c.numel() for c in expected.counts.values())
    if not flips:
        torch.testing.assert_close(ours.output, expected.output)


def test_verify_runs_it():
    report = synfire.verify(residual(4, 1), torch.rand(20, 1, 8, 8), runtimes=("event",))
    assert report.results[0].runtime == "event" and report.results[0].counts > 0
    assert report.results[0].flips <= 2


@pytest.mark.parametrize("limit", [0.0, float("inf"), None])
def test_integer_weights_are_those_of_a_net_that_has_them(lanes, limit):
    """Weights of -127..127 with 127 in every channel have a scale of one: nothing is rounded."""
    draw = np.random.default_rng(0)

    def weights(*shape):
        w = draw.integers(-127, 128, shape).astype(np.float32)
        w.reshape(shape[0], -1)[:, 0] = 127
        return w

    neuron = {
        "kind": "integrate_fire", "levels": 4, "rounding": "half_up", "reset": "soft", "reset_value": 0.0,
        "input_gain": 1.0, "decay_input": False, "current_decay": None, "scale": 1.0, "call": 0,
    }  # fmt: skip
    constants = {"decay": np.float32(0.25), "threshold": np.float32(512)}
    constants = {key: np.asarray(value) for key, value in constants.items()}
    conv = {"stride": [1, 1], "padding": [[1, 1], [1, 1]], "dilation": [1, 1], "groups": 1}
    counts, potential = Edge("count", high=4), Edge("potential")
    image = (24, 6, 5)
    first = {"weight": weights(24, 24, 3, 3), "bias": weights(24, 1, 1)}
    nodes = [
        Node("x", "Source", (), image, counts),
        Node("conv", "Conv", ("x",), image, potential, attrs=conv, weights=first),
        Node("fire", "Neuron", ("conv",), image, counts, attrs=neuron, weights=constants),
        Node("both", "Concat", ("x", "fire"), (48, 6, 5), counts, attrs={"axis": 0}),
        Node("wide", "Conv", ("both",), (70, 6, 5), potential, attrs=conv, weights={"weight": weights(70, 48, 3, 3)}),
        Node("again", "Neuron", ("wide",), (70, 6, 5), counts, attrs=neuron, weights=constants),
        Node("flat", "Reshape", ("again",), (2100,), counts, attrs={"kind": "view", "shape": [2100]}),
        Node("fc", "Linear", ("flat",), (10,), potential, weights={"weight": weights(10, 2100)}),
        Node("out", "Sink", ("fc",), (10,), potential, attrs={"scale": 0.5}),
    ]  # fmt: skip
    graph = SpikeGraph(nodes, timesteps=2)
    for batch in (1, 9):
        x = torch.randint(0, 5, (2, batch, *image)).float()
        executor = EventExecutor(graph, weights="int8", density_limit=limit)
        assert_same(graph, x, executor.execute(x, record=True))
    with pytest.raises(InputError, match=r"counts of 0\.\.255"):
        executor(x + 0.5)


def test_integer_weights_are_near_the_float_ones():
    graph, draw = dyadic_graph("residual D=4 T=1")
    for node in graph:
        if "weight" in node.weights:  # multiples of a scale of no channel
            node.weights["weight"] = node.weights["weight"] * np.float32(0.9)
    x = draw(8)
    ours = EventExecutor(graph, weights="int8")(x)
    expected = graph.run(x)
    assert float((ours - expected).norm() / expected.norm()) < 0.5
    assert not torch.equal(ours, expected)


def test_numpy_in_numpy_out():
    graph, draw = dyadic_graph("residual D=4 T=1")
    x = draw(2)
    out = graph.run(x.numpy(), backend="event")
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(out, graph.run(x).numpy())


def test_choices_tell_density_and_path():
    graph, draw = dyadic_graph("residual D=4 T=1")
    executor = EventExecutor(graph)
    with pytest.raises(GraphError, match="has not run"):
        executor.choices()
    x = draw(2)
    recorded = execute(graph, x, record=True).counts
    executor(x)
    choices = executor.choices()
    assert [c.node for c in choices] == [n.name for n in graph if n.op in ("Conv", "Linear")]
    assert choices[0].density is None and choices[0].path == "dense"  # it reads pixels
    for choice in choices[1:]:
        counts = recorded[graph[choice.node].inputs[0]]
        if choice.limit < 0:  # events never win here, and are not counted
            assert (choice.density, choice.path) == (None, "dense")
            continue
        assert choice.density == pytest.approx(float(counts.mean()), rel=1e-6)
        assert choice.path == ("event" if choice.density <= choice.limit else "dense")


def test_what_cannot_run_is_listed_whole():
    net = synfire.TimeFolded(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, dilation=2),
            CubaLIF(2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4, 4, 3),
        ),
        timesteps=2,
        readout="mean",
    )
    graph = trace(net.eval(), torch.rand(2, 1, 1, 8, 8))
    with pytest.raises(GraphError, match=r"3 node\(s\).*dilation.*leaky current.*no step"):
        graph.run(torch.rand(2, 1, 1, 8, 8), backend="event")


def test_bad_arguments_are_refused():
    graph, draw = dyadic_graph("residual D=4 T=1")
    with pytest.raises(ConfigError, match="int8"):
        EventExecutor(graph, weights="int4")
    executor = EventExecutor(graph)
    for wrong in (torch.rand(1, 2, 1, 8, 9), torch.rand(1, 8, 8), torch.rand(0, 2, 1, 8, 8)):
        with pytest.raises(InputError, match="timed input"):
            executor(wrong)
    for options in ({"backend": "magic"}, {"backend": "event", "mode": "slots"}):
        with pytest.raises(InputError, match="named backend"):
            execute(graph, draw(1), **options)


def test_buffers_of_many_batch_sizes_do_not_pile_up():
    graph, draw = dyadic_graph("residual D=4 T=1")
    executor = EventExecutor(graph)
    for batch in (1, 2, 3, 4, 5, 6, 1):
        x = draw(batch)
        assert torch.equal(executor(x), graph.run(x))
    assert len(executor._nets) == 4
    assert torch.equal(executor(draw(0)), torch.zeros(0, 10))
