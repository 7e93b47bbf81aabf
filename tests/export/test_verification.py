"""verify tells equal nets from unequal ones: the two mistakes of the field are caught, and float flips are reported."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import GraphError, InputError, UnknownNameError
from synfire.export import trace
from synfire.export.executors.interpreter import Interpreter, Signal
from synfire.export.executors.torch_backend import TorchBackend
from synfire.neurons import IntegerLIF


def trained_like_net(timesteps: int = 1) -> nn.Module:
    """A conv net with biases and calibrated BatchNorm."""
    torch.manual_seed(3)
    net = synfire.create_model("spiking_cnn_tiny", num_classes=10, timesteps=timesteps)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.bias, -0.2, 0.6)
    with torch.no_grad():
        net(torch.rand(128, 1, 8, 8))
    return net.eval()


def slots_of(interpreter_class):
    """A runtime that runs slots in a given (wrong) interpreter."""

    def run(graph, x):
        return interpreter_class(graph, TorchBackend(graph.dtype, x.device), "slots", True).run(x)

    return run


class BiasPerSlot(Interpreter):
    """Adds the bias in each slot instead of once a timestep."""

    def _affine(self, node, x, product):
        bias = self.weights[node.name].get("bias", 0)
        total = sum(product(part) + bias for part in x.parts)
        return Signal([total])


class ThresholdOne(Interpreter):
    """Fires at 1 instead of 1/2: the plain integrate-and-fire neuron."""

    @staticmethod
    def _crosses(rounding, potential, fired):
        return potential >= 1.0


class AttentionPerSlot(Interpreter):
    """Multiplies q, k and v slot by slot."""

    def _spikeattention(self, node, q, k, v):
        b = self.backend
        parts = zip(q.parts, k.parts, v.parts, strict=True)
        total = sum(b.matmul(qd, b.matmul(b.swap_last(kd), vd)) for qd, kd, vd in parts)
        return Signal([total * node.attrs["scale"]])


@pytest.mark.parametrize("timesteps", [1, 2])
def test_exact_in_float64(timesteps):
    net = trained_like_net(timesteps)
    x = torch.rand(64, 1, 8, 8)
    report = synfire.verify(net, x, dtype=torch.float64)
    assert report.exact and report.first_difference is None
    assert [result.runtime for result in report.results] == ["integer", "slots"]
    assert report.results[1].counts == timesteps * 64 * (
        3 * 16 * 64 + 3 * 32 * 16 + 2 * 48 * 4 + 48
    )


@pytest.mark.parametrize(
    ("wrong", "expected"), [(BiasPerSlot, "bias"), (ThresholdOne, "threshold")]
)
def test_the_mistakes_of_the_field_are_caught(wrong, expected):
    net = trained_like_net()
    x = torch.rand(32, 1, 8, 8)
    report = synfire.verify(net, x, runtimes={expected: slots_of(wrong)}, dtype=torch.float64)
    assert not report.exact
    (result,) = report.results
    assert result.flips > 0.01 * result.counts and result.predictions_differ > 0
    assert report.first_difference.runtime == expected
    assert report.first_difference.distance > 1e-4, "no rounding flip"
    assert "not exact" in str(report) and report.first_difference.neuron in str(report)


def test_attention_slot_by_slot_is_caught():
    from tests.export.skeletons import AttentionBlock
    from tests.export.test_skeletons import calibrated

    torch.manual_seed(0)
    x = torch.rand(8, 1, 8, 8, dtype=torch.float64) * 3
    block = AttentionBlock(lambda: IntegerLIF(4))
    block.attention.scale = 8.0  # so that products reach the neuron's threshold
    net = calibrated(synfire.TimeFolded(block, 1, synfire.encoders.Direct()).double(), x)
    assert synfire.verify(net, x).exact
    assert not synfire.verify(net, x, runtimes={"per slot": slots_of(AttentionPerSlot)}).exact


def test_a_flip_next_to_a_threshold_is_located():
    """One weight moved by a rounding error flips a count on a tie; the report shows how close it was."""
    net = synfire.TimeFolded(nn.Sequential(nn.Linear(1, 2, bias=False), IntegerLIF(4)), 1)
    net.net[0].weight.data = torch.tensor([[0.25], [1.5]])
    graph = trace(net, torch.ones(1, 2, 1))
    graph["net_0"].weights["weight"] = np.array(
        [[0.25], [np.nextafter(np.float32(1.5), 0)]], np.float32
    )
    report = synfire.verify(net, torch.tensor([[[2.0], [1.0]]]), graph=graph)
    assert not report.exact
    difference = report.first_difference
    assert (difference.neuron, difference.sample, difference.index) == ("net.1", 1, (1,))
    assert (difference.expected, difference.got) == (2, 1)
    assert 0 < difference.distance < 1e-6
    assert "float64" in str(report)


def test_numpy_is_a_runtime_like_any_other():
    net = trained_like_net().double()

    def numpy_runtime(graph, x):
        return graph.execute(x.numpy(), "slots", record=True)

    report = synfire.verify(net, torch.rand(8, 1, 8, 8), runtimes={"numpy": numpy_runtime})
    assert report.exact and report.results[0].samples == 8


def test_batches_add_up():
    net = trained_like_net()
    x = torch.rand(10, 1, 8, 8)
    whole = synfire.verify(net, x, dtype=torch.float64)
    parts = synfire.verify(net, x, dtype=torch.float64, batch_size=3)
    assert whole.results == parts.results and len(parts.results[0].predictions) == 10


def test_the_net_is_not_changed():
    net = synfire.create_model("spiking_cnn_tiny").train()
    before = copy.deepcopy(net.state_dict())
    synfire.verify(net, torch.rand(2, 1, 8, 8), dtype=torch.float64)
    assert net.training and next(net.parameters()).dtype == torch.float32
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not net.head_neuron._forward_hooks


def test_to_dict_is_json_ready():
    import json

    report = synfire.verify(trained_like_net(), torch.rand(4, 1, 8, 8))
    assert json.loads(json.dumps(report.to_dict()))["results"][0]["runtime"] == "integer"


def test_refusals():
    net = trained_like_net()
    with pytest.raises(InputError, match="NaN"):
        synfire.verify(net, torch.full((1, 1, 8, 8), float("nan")))
    with pytest.raises(InputError, match="at least one sample"):
        synfire.verify(net, torch.rand(0, 1, 8, 8))
    with pytest.raises(UnknownNameError, match="did you mean slots"):
        synfire.verify(net, torch.rand(1, 1, 8, 8), runtimes=("slot",))
    other = trace(nn.Sequential(nn.Linear(8, 2), IntegerLIF()), torch.rand(2, 1, 8, 8))
    with pytest.raises(GraphError, match="never called the neuron"):
        synfire.verify(net, torch.rand(1, 1, 8, 8), graph=other)
