import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError
from synfire.energy import mean_fan_out, profile
from synfire.export import trace
from synfire.neurons import IntegerLIF
from synfire.training import OperationMeter, SpikeBudget


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return synfire.create_model("spiking_cnn_tiny", num_classes=10, widths=(4, 8)).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_operations_are_those_of_the_executed_graph(net: nn.Module, images: torch.Tensor) -> None:
    graph = trace(net, images)
    with OperationMeter(net, mean_fan_out(graph)).measure(len(images)) as operations:
        net(images)
    exact = profile(graph, images[None], exact=True).totals.sop_unit
    # The meter takes the mean fan-out of a layer, the profile that of every position.
    assert operations.total.item() == pytest.approx(exact, rel=0.1)
    assert operations.ceiling >= operations.total.item() / 4


def test_operations_do_not_depend_on_the_scale_of_counts() -> None:
    x = torch.tensor([[0.6, 1.7, 3.2]])
    totals = []
    for normalize in (True, False):
        neuron = IntegerLIF(levels=4, normalize=normalize)
        meter = OperationMeter(nn.Sequential(neuron), {"0": 2.0})
        with meter.measure(images=1) as operations:
            neuron(x)
        totals.append(operations.total.item())
    assert totals == [pytest.approx(12.0), 12.0]


def test_hooks_are_gone_after_the_block(net: nn.Module, images: torch.Tensor) -> None:
    meter = OperationMeter(net, mean_fan_out(trace(net, images)))
    with meter.measure(6) as operations:
        net(images)
    before = len(operations.parts)
    net(images)
    assert len(operations.parts) == before == len(meter.neurons)


def test_gradient_is_fan_out_within_the_window() -> None:
    x = torch.tensor([[-0.5, 0.2, 1.0, 3.9, 4.5]], dtype=torch.float64, requires_grad=True)
    neuron = IntegerLIF(levels=4)
    meter = OperationMeter(nn.Sequential(neuron), {"0": 3.0})
    with meter.measure(images=1) as operations:
        neuron(x)
    penalty = SpikeBudget(weight=1.0).penalty(operations.total, operations.ceiling)
    penalty.backward()
    inside = torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    assert operations.ceiling == 15.0
    assert torch.allclose(x.grad, inside * 3.0 / 15.0)


def test_target_stops_where_it_is_reached() -> None:
    budget = SpikeBudget(weight=1.0, target=100.0)
    assert budget.penalty(torch.tensor(150.0), 1e3).item() == pytest.approx(0.5)
    assert budget.penalty(torch.tensor(90.0), 1e3).item() == 0.0


def test_strength_grows_over_the_ramp() -> None:
    budget = SpikeBudget(weight=4.0, start=0.5, ramp=0.25)
    assert [budget.strength(p) for p in (0.0, 0.49, 0.5, 0.625, 0.75, 1.0)] == [0, 0, 0, 2, 4, 4]
    assert SpikeBudget(weight=4.0).strength(0.0) == 4.0


def test_bad_values() -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        SpikeBudget(weight=-1)
    with pytest.raises(ConfigError, match=r"shares of the epochs, in \[0, 1\]"):
        SpikeBudget(start=2)
    with pytest.raises(ConfigError, match="no neuron of the net is known"):
        OperationMeter(nn.Linear(1, 1), {})
