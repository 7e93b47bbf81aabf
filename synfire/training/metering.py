"""From a net and its data to what counts its synaptic operations."""

from __future__ import annotations

import copy

import torch
from torch import nn

from synfire.core.neuron import named_neurons
from synfire.datasets import Splits
from synfire.energy import mean_fan_out
from synfire.training.budget import OperationMeter


def operation_meter(net: nn.Module, splits: Splits) -> OperationMeter | None:
    """Counts the net's operations by the fan-out of its graph; None for a net without neurons."""
    if not named_neurons(net):
        return None
    from synfire.export import trace

    example = splits.train.batch(torch.arange(2)).to(next(net.parameters()).dtype)
    graph = trace(copy.deepcopy(net).eval(), example)
    return OperationMeter(net, mean_fan_out(graph))
