"""What is coming lowers, runs and verifies: attention, RepConv, recurrence, sparse convolution, linear attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import LoweringError
from synfire.encoders import Direct
from synfire.export import SpikeGraph, trace
from synfire.neurons import IntegerLIF
from tests.export.skeletons import (
    AttentionBlock,
    Chain,
    LinearAttentionNet,
    RecurrentLIF,
    RepConvBlock,
    SparseNet,
)


def calibrated(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """BatchNorm statistics of ``x`` and affine parameters away from their defaults; float64."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 2.0, generator=generator)
            nn.init.uniform_(module.bias, -0.5, 1.0, generator=generator)
    net.train()
    with torch.no_grad():
        net(x)
    return net.eval()


def check(net: nn.Module, x: torch.Tensor, tmp_path) -> SpikeGraph:
    """Exact in float64 in both modes on torch and numpy, and after a round trip through files."""
    report = synfire.verify(net, x)
    assert report.exact, str(report)
    graph = trace(net, x)
    assert sum(float(node.size) for node in graph.neurons()) > 0
    timed = net.encode(x).unflatten(0, (net.timesteps, -1))
    expected = net(x)
    assert expected.abs().sum() > 0
    loaded = SpikeGraph.load(graph.save(tmp_path / "graph"))
    for mode in ("integer", "slots"):
        torch.testing.assert_close(graph.run(timed, mode), expected)
        np.testing.assert_allclose(
            loaded.run(timed.numpy(), mode), expected.detach().numpy(), atol=1e-12
        )
    return graph


def fold_time(net: nn.Module, timesteps: int, static: bool = True) -> synfire.TimeFolded:
    return synfire.TimeFolded(net, timesteps, encoder=Direct() if static else None).double()


@pytest.mark.parametrize("timesteps", [1, 2])
def test_spike_attention(tmp_path, timesteps):
    torch.manual_seed(0)
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64) * 3
    net = fold_time(AttentionBlock(lambda: IntegerLIF(4, timesteps)), timesteps)
    graph = check(calibrated(net, x), x, tmp_path)
    (attention,) = (node for node in graph if node.op == "SpikeAttention")
    assert [graph[name].edge.kind for name in attention.inputs] == ["count"] * 3
    assert not any(node.op == "Scale" for node in graph), str(graph)


def test_rep_conv_merges_into_one_convolution(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(4, 1, 7, 7, dtype=torch.float64) * 3
    net = calibrated(fold_time(RepConvBlock(lambda: IntegerLIF(4)), 1), x)
    graph = check(net, x, tmp_path)
    convolutions = [node for node in graph if node.op == "Conv"]
    assert [list(node.weights["weight"].shape[2:]) for node in convolutions] == [
        [3, 3],
        [3, 3],
        [3, 3],
        [1, 1],
    ]
    merged = convolutions[1]
    assert merged.attrs["padding"] == [[1, 1], [1, 1]] and merged.attrs["groups"] == 1
    assert convolutions[2].weights["bias"].shape == (
        4,
        7,
        7,
    )  # BN before padding: the border sees fewer taps
    unmerged = trace(net, x, merge_chains=False)
    assert sum(node.op == "Conv" for node in unmerged) == 6
    torch.testing.assert_close(unmerged.run(x[None]), graph.run(x[None]))


@pytest.mark.parametrize(("timesteps", "levels"), [(1, 4), (3, 4), (3, 1), (5, 15)])
def test_chain_with_state(tmp_path, timesteps, levels):
    torch.manual_seed(0)
    x = torch.rand(timesteps, 6, 5, dtype=torch.float64) * 4
    check(fold_time(Chain(timesteps, levels), timesteps, static=False).eval(), x, tmp_path)


def test_dyadic_chain_is_bit_exact_in_float32():
    torch.manual_seed(0)
    net = synfire.TimeFolded(Chain(3, 4), 3).eval()
    for parameter in net.parameters():
        parameter.data = (parameter.data * 16).round() / 8
    x = (torch.rand(3, 32, 5) * 32).round() / 8
    report = synfire.verify(net, x)
    assert report.exact and report.dtype == "float32"
    assert all(result.largest_logit_difference == 0 for result in report.results)
    assert report.results[0].flips == 0 and report.results[0].counts == 3 * 32 * (7 + 6 + 4)


def test_recurrence(tmp_path):
    torch.manual_seed(0)
    net = fold_time(
        nn.Sequential(nn.Linear(4, 5), RecurrentLIF(5, 4), nn.Linear(5, 3)), 4, static=False
    ).eval()
    graph = check(net, torch.rand(4, 6, 4, dtype=torch.float64) * 3, tmp_path)
    (back,) = (node for node in graph if node.op == "Recurrence")
    assert graph[back.inputs[0]].op == "Neuron"


def test_sparse_convolution(tmp_path):
    torch.manual_seed(0)
    net = fold_time(SparseNet(lambda: IntegerLIF(4)), 1).eval()
    graph = check(net, torch.rand(4, 5, 2, dtype=torch.float64) * 3, tmp_path)
    assert [node.dense_macs() for node in graph if node.op == "SparseConv"] == [13 * 8, 13 * 12]


def test_linear_attention_step(tmp_path):
    torch.manual_seed(0)
    net = fold_time(LinearAttentionNet(5), 5, static=False).eval()
    graph = check(net, torch.rand(5, 4, 6, dtype=torch.float64) * 4, tmp_path)
    assert {"Scan", "Gate", "Activation"} <= {node.op for node in graph}


def test_an_operator_without_a_rule_is_listed_with_its_path():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 1) + torch.sort(x, 1).values

    with pytest.raises(LoweringError) as raised:
        trace(nn.Sequential(nn.Linear(3, 3), Odd()), torch.rand(2, 3))
    problems = raised.value.problems
    assert [p.path for p in problems] == ["1", "1"]
    assert "cumsum" in problems[0].op and "sort" in problems[1].op
