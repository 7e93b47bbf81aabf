from __future__ import annotations

import numpy as np
import pytest
import torch

import synfire
from synfire.energy.fan_out import fan_out, interior, mean_fan_out, reachable
from synfire.export import trace
from synfire.export.graph import Edge, Node
from tests.energy.toys import closed, conv, linear, loop_operations, neuron, source

CASES = [
    # in_size, channels, out, kernel, stride, padding, dilation, groups
    ((5,), 2, 3, (3,), (1,), ((1, 1),), (1,), 1),
    ((6, 5), 3, 4, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((7, 6), 2, 4, (3, 2), (2, 3), ((1, 0), (0, 2)), (1, 1), 2),
    ((8, 8), 4, 4, (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4),
    ((6, 6), 2, 2, (3, 3), (2, 2), ((-1, 1), (0, -1)), (1, 1), 1),
    ((4, 3, 5), 2, 2, (2, 3, 2), (1, 1, 2), ((0, 1), (1, 1), (0, 0)), (1, 1, 1), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_conv_equals_plain_loops(case: tuple) -> None:
    in_size, channels, outputs, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(outputs, channels // groups, *kernel))
    weight[rng.random(weight.shape) < 0.3] = 0
    node = conv("c", "x", weight, in_size, stride, padding, dilation, groups)
    counts = rng.integers(0, 4, (channels, *in_size))

    messages, units, dense = loop_operations(node, counts)

    reached = fan_out(node, counts.shape)
    assert reached.shape == counts.shape
    assert (reached * (counts != 0)).sum() == messages
    assert (reached * counts).sum() == units
    assert reachable(node, counts.shape) == dense
    assert dense <= node.dense_macs()


def test_interior_formula_overcounts_at_borders_and_is_right_inside() -> None:
    node = conv("c", "x", np.ones((4, 2, 3, 3)), (9, 9), (1, 1), ((1, 1), (1, 1)))
    exact = fan_out(node, (2, 9, 9))
    usual = fan_out(node, (2, 9, 9), exact=False)
    assert interior(node) == 36
    assert (usual >= exact).all()
    assert (usual[:, 1:-1, 1:-1] == exact[:, 1:-1, 1:-1]).all()
    assert exact[0, 0, 0] == 16


def test_linear_counts_weights_that_are_there() -> None:
    node = linear("fc", "x", np.array([[1, 0, 2], [3, 0, 0]]))
    assert fan_out(node, (3,)).tolist() == [2, 0, 1]
    assert fan_out(node, (5, 3)).shape == (5, 3)
    assert reachable(node, (3,)) == 6


def test_sparse_conv_follows_its_pairs() -> None:
    weight = np.ones((2, 3, 4), np.float32)
    weight[1, 2] = 0
    pairs = np.array([[0, 0, 0], [1, 0, 1], [0, 2, 1]])
    node = Node(
        "s",
        "SparseConv",
        ("x",),
        (2, 4),
        Edge("potential"),
        weights={"weight": weight, "pairs": pairs},
    )
    reached = fan_out(node, (3, 3))
    assert reached.tolist() == [[8, 8, 4], [0, 0, 0], [4, 4, 4]]
    assert reachable(node, (3, 3)) == node.dense_macs() == 36


def test_attention_with_wider_values() -> None:
    widths = {"q": 4, "k": 4, "v": 16}
    senders = [neuron(name, "x", (2, 3, width)) for name, width in widths.items()]
    for sender in senders:
        sender.path = sender.name
    attention = Node(
        "a", "SpikeAttention", ("q", "k", "v"), (2, 3, 16), Edge("potential"), "a", {"scale": 1.0}
    )
    graph = closed([source((2, 3, 4)), *senders, attention])
    assert mean_fan_out(graph) == {"q": 16, "k": 16, "v": 4}


def test_a_count_reaches_the_mean_number_of_synapses() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1),
        synfire.neurons.IntegerLIF(),
        torch.nn.Conv2d(2, 4, 3, stride=2, padding=1),
        synfire.neurons.IntegerLIF(),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        synfire.neurons.IF(),
        torch.nn.Linear(16, 3),
    )
    graph = trace(net, torch.rand(2, 1, 8, 8))
    reached = mean_fan_out(graph)
    # 3x3 with stride 2 and padding 1 on 8x8: 11 of the 12 taps of each axis meet a pixel
    assert reached["1"] == 4 * 2 * 11 * 11 / (2 * 64)
    assert reached["3"] == 0  # pooling into a neuron is no synapse
    assert reached["6"] == 3
