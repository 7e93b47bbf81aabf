"""From module to graph: E-SpikeFormer-T whole at 96 x 96, exact; both families in time; the mistakes are caught."""

from __future__ import annotations

import pytest
import torch

import synfire
from synfire.core.errors import LoweringError
from synfire.core.neuron import named_neurons
from synfire.energy import profile
from synfire.export import trace
from synfire.layers import RepConv
from tests.backbones.e_spikeformer.small import calibrated, small_base, small_large
from tests.export.test_verification import AttentionPerSlot, BiasPerSlot, slots_of

F64 = torch.float64


@pytest.fixture(scope="module")
def tiny():
    """The published T, BatchNorm calibrated on noise, and its graph: in float64."""
    torch.manual_seed(0)
    net = synfire.create_model("e_spikeformer_t", neuron="sfa_base")
    x = torch.randn(4, 3, 96, 96)
    net = calibrated(net, x).double()
    return net, x[:2].double(), trace(net, x.double())


def test_the_graph_lowers_whole(tiny):
    _, _, graph = tiny
    kinds = [node.op for node in graph]
    assert len(graph.neurons()) == 105
    assert kinds.count("Conv") == 97 and kinds.count("SpikeAttention") == 8
    assert "Scale" not in kinds and "MatMul" not in kinds
    for node in graph:
        if node.op == "SpikeAttention":
            assert [graph[name].edge.kind for name in node.inputs] == ["count"] * 3
        if node.op == "Conv" and not node.path.startswith("stages.0.down"):
            assert graph[node.inputs[0]].edge.kind == "count"


def test_exact_in_float64(tiny):
    net, x, graph = tiny
    report = synfire.verify(net, x, graph=graph)
    assert report.exact, str(report)
    assert {result.neurons for result in report.results} == {105}


def test_flips_in_float32_are_reported(tiny):
    """A net at initialisation lets one flip grow, so the first is what tells rounding from a wrong net."""
    net, x, _ = tiny
    report = synfire.verify(net, x, dtype=torch.float32)
    assert all(result.counts == 2 * 1_233_920 for result in report.results)
    assert report.exact == all(result.flips == 0 for result in report.results)
    assert report.exact or report.first_difference.distance < 1e-4


@pytest.mark.parametrize("wrong", [BiasPerSlot, AttentionPerSlot])
def test_the_mistakes_of_the_field_are_caught(tiny, wrong):
    net, x, graph = tiny
    report = synfire.verify(net, x, graph=graph, runtimes={"wrong": slots_of(wrong)})
    assert not report.exact
    assert report.results[0].flips > 0.01 * report.results[0].counts
    assert report.first_difference.distance > 1e-4, "no rounding flip"


def test_firing_statistics(tiny):
    """At initialisation, averaged over neurons: mean count about 0.50, non-zero part about 0.31."""
    net, _, _ = tiny
    seen: list[tuple[float, float]] = []

    def note(neuron, inputs, out):
        seen.append((float(out.mean() / neuron.scale), float((out != 0).double().mean())))

    hooks = [neuron.register_forward_hook(note) for _, neuron in named_neurons(net)]
    with torch.no_grad():
        net(torch.randn(2, 3, 96, 96, dtype=F64))
    for hook in hooks:
        hook.remove()
    means, parts = zip(*seen, strict=True)
    assert len(seen) == 105
    assert sum(means) / 105 == pytest.approx(0.50, abs=0.06)
    assert sum(parts) / 105 == pytest.approx(0.31, abs=0.025)


def test_silent_before_calibration():
    net = synfire.create_model("e_spikeformer_t").eval()
    with torch.no_grad():
        assert not bool(
            net.head_neuron(net.forward_features(torch.randn(1, 3, 32, 32)).mean((2, 3))).any()
        )


def test_energy_by_layer(tiny):
    _, x, graph = tiny
    report = profile(graph, x[None], exact=False)
    assert len(report.layers) == 97 + 8 + 1
    analog = [layer.path for layer in report.layers if layer.message == "analog"]
    assert analog == ["stages.0.down.conv.0"]
    for layer in report.layers[1:]:
        assert 0 <= layer.sop_msg <= layer.sop_unit <= 4 * layer.dense_macs_published
    total = sum(layer.sop_unit for layer in report.layers)
    assert report.totals.sop_unit == pytest.approx(total)


@pytest.mark.parametrize("neuron", ["sfa", "sfa_event", "sfa_large"])
def test_base_in_time(neuron):
    net = small_base(
        timesteps=2, in_channels=2, neuron=neuron, stem_strides=(1, 2, 2, 1, 1)
    ).double()
    events = torch.randint(0, 2, (2, 4, 2, 24, 16)).double()
    calibrated(net, events)
    report = synfire.verify(net, events[:, :2])
    assert report.exact, str(report)
    assert bool(net(events).diff(dim=0).any())


@pytest.mark.parametrize("options", [{}, {"distillation_head": False}, {"timesteps": 2}])
def test_large(options):
    net = small_large(layer_scale=0.5, stem_strides=(1, 2, 2, 1), **options).double()
    x = torch.randn(4, 3, 16, 24, dtype=F64)
    calibrated(net, x)
    graph = trace(net, x)
    report = synfire.verify(net, x[:2], graph=graph)
    assert report.exact, str(report)
    assert not any(node.op == "Scale" for node in graph)
    chains = sum(isinstance(module, RepConv) for module in net.modules())
    assert sum(node.op == "Conv" for node in graph) == 4 + 6 + 2 * 2 + chains  # each chain one
    heads = [node for node in graph if node.op == "Linear"]
    assert len(heads) == 1 + options.get("distillation_head", True)


def test_several_outputs_are_no_graph():
    with pytest.raises(LoweringError, match="returns 4 tensors"):
        trace(small_base(features_only=True), torch.randn(2, 3, 32, 32))
