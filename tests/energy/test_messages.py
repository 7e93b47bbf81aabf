from __future__ import annotations

import numpy as np
import pytest
import torch

from synfire import TimeFolded
from synfire.core.errors import InputError
from synfire.encoders import Poisson
from synfire.energy.messages import activation_bits, message
from synfire.export import trace
from synfire.export.graph import Edge, Node
from tests.energy.toys import closed, neuron, source


@pytest.mark.parametrize(
    ("timesteps", "levels", "bits"), [(1, 1, 1), (1, 4, 3), (4, 8, 6), (5, 1, 3)]
)
def test_activation_bits(timesteps: int, levels: int, bits: int) -> None:
    assert activation_bits(timesteps, levels) == bits


def pool(kind: str, sender: str, shape: tuple[int, ...]) -> Node:
    attrs = {
        "kind": kind,
        "kernel": [2, 2],
        "stride": [2, 2],
        "padding": [[0, 0]] * 2,
        "divisor": 4.0,
    }
    return Node("pool", "Pool", (sender,), shape, Edge("potential"), attrs=attrs)


def test_declared_types_decide() -> None:
    graph = closed([source((1, 4, 4)), neuron("n", "x", (1, 4, 4), 4), pool("avg", "n", (1, 2, 2))])
    assert message(graph, "x").kind == "analog"
    assert message(graph, "n").kind == "graded"
    pooled = message(graph, "pool")
    assert (pooled.kind, pooled.levels, pooled.unit) == ("graded", 16, 0.25)
    assert message(closed([source((2,)), neuron("n", "x", (2,), 1)]), "n").kind == "binary"


def test_a_shortcut_of_potentials_is_no_count() -> None:
    add = Node("add", "Add", ("x", "x"), (2,), Edge("potential"))
    assert message(closed([source((2,)), add]), "add").kind == "real"


def test_a_loop_of_potentials_ends() -> None:
    back = Node("back", "Recurrence", ("add",), (2,), Edge("potential"))
    add = Node("add", "Add", ("x", "back"), (2,), Edge("potential"))
    assert message(closed([source((2,)), back, add]), "back").kind == "real"


def test_encoders_that_spike_send_binary_messages() -> None:
    net = TimeFolded(torch.nn.Linear(2, 1), 3, encoder=Poisson())
    assert message(trace(net, torch.rand(2, 2)), "x").kind == "binary"


def test_normalised_counts_are_refused() -> None:
    graph = closed([source((2,), levels=4)])
    for values in ([0.25, 1.0], [-1.0, 1.0], [5.0, 1.0]):
        with pytest.raises(InputError, match=r"whole numbers 0\.\.4"):
            message(graph, "x").counts(np.array(values))


def test_pooled_counts_are_restored() -> None:
    graph = closed([source((1, 4, 4)), neuron("n", "x", (1, 4, 4), 4), pool("avg", "n", (1, 2, 2))])
    assert message(graph, "pool").counts(np.array([0.25, 2.5])).tolist() == [1.0, 10.0]
