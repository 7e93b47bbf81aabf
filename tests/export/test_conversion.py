"""ReLU nets become integer nets: every call, calibrated, with little loss; shown on real handwritten digits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nn_functional
from torch import nn

import synfire
from synfire.core.errors import ConfigError, InputError


class ReluNet(nn.Module):
    """Uses one ReLU module twice, F.relu, the method, an in-place one, and two activations that stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(24, 24, 3, padding=1, stride=2)
        self.third = nn.Conv2d(24, 32, 3, padding=1, stride=2)
        self.wide = nn.Linear(32 * 4, 64)
        self.last = nn.Linear(64, 10)
        self.soft = nn.Softmax(-1)

    def forward(self, x):
        x = self.act(self.norm(self.first(x)))
        x = self.act(self.second(x))
        x = nn_functional.relu(self.third(x))
        x = self.wide(x.flatten(1)).relu()
        return self.last(x)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(data.target)
    rows = train_test_split(range(len(y)), test_size=360, stratify=data.target, random_state=42)
    return (*((x[i], y[i]) for i in map(torch.tensor, rows)),)


def fit(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, rate: float) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            nn_functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((net(x).argmax(1) == y).float().mean())


@pytest.fixture(scope="module")
def relu_net(digits):
    torch.manual_seed(0)
    (x, y), _ = digits
    return fit(ReluNet(), x, y, epochs=8, rate=3e-3)


def test_little_is_lost_before_and_less_after_fine_tuning(digits, relu_net):
    (x, y), (x_test, y_test) = digits
    reference = accuracy(relu_net, x_test, y_test)
    assert reference > 0.95
    loss = {}
    for levels in (4, 8, 16):
        net = synfire.convert_activations(relu_net, x[:4], levels, calibration=x[:512])
        assert len(net.conversion.converted) == 4 and net.conversion.left == []
        loss[levels] = reference - accuracy(net, x_test, y_test)
    assert loss[16] <= 0.005 and loss[8] <= 0.015 and loss[4] <= 0.06, loss
    net = synfire.convert_activations(relu_net, x[:4], 4, calibration=x[:512])
    tuned = accuracy(fit(net, x, y, epochs=2, rate=5e-4), x_test, y_test)
    assert tuned >= reference - 0.01
    assert synfire.verify(net, x_test[:64], dtype=torch.float64).exact


def test_calls_are_converted_one_by_one_and_the_original_is_untouched(relu_net, digits):
    x = digits[0][0][:64]
    before = relu_net(x)
    net = synfire.convert_activations(relu_net, x, levels=256)
    paths = [c.path for c in net.conversion.converted]
    assert paths[:2] == ["act", "act"] and len(paths) == 4
    assert len({c.threshold for c in net.conversion.converted}) == 4
    assert isinstance(relu_net.act, nn.ReLU) and torch.equal(relu_net(x), before)
    torch.testing.assert_close(net(x), before, atol=0.15, rtol=0)
    assert "4 ReLU calls became integer neurons" in str(net.conversion)


def test_what_is_left_is_listed():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.leaky, self.fc = nn.ReLU(), nn.LeakyReLU(), nn.Linear(4, 4)

        def forward(self, x):
            x = self.leaky(self.relu(self.fc(x)))
            return torch.sigmoid(nn_functional.gelu(x)).softmax(-1)

    net = synfire.convert_activations(Mixed(), torch.rand(8, 4))
    assert [entry.split(": ")[1] for entry in net.conversion.left] == [
        "LeakyReLU",
        "gelu",
        "sigmoid",
        "softmax",
    ]


def test_percentile_sets_the_largest_count():
    net = nn.Sequential(nn.Identity(), nn.ReLU())
    x = torch.linspace(-1, 1, 2001).unsqueeze(1)
    converted = synfire.convert_activations(net, x, levels=4, percentile=50)
    (entry,) = converted.conversion.converted
    assert entry.threshold == pytest.approx(0.5 / 4, rel=0.01) and entry.clipped == pytest.approx(
        0.5, abs=0.01
    )
    top = synfire.convert_activations(net, x, levels=4, percentile=100)
    assert top.conversion.converted[0].threshold == pytest.approx(0.25)
    torch.testing.assert_close(
        top(torch.tensor([[0.49], [-3.0], [7.0]])), torch.tensor([[0.5], [0.0], [1.0]])
    )


def test_loaders_and_silent_activations():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].weight.data.zero_()
    net[0].bias.data.fill_(-1)
    batches = [(torch.rand(3, 2), torch.zeros(3)) for _ in range(2)]
    converted = synfire.convert_activations(net, torch.rand(3, 2), calibration=batches)
    assert converted.conversion.converted[0].threshold == 1.0
    assert converted(torch.rand(3, 2)).abs().sum() == 0


def test_several_timesteps():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.rand(64, 4)
    errors = [
        (synfire.convert_activations(net, x, levels=2, timesteps=t, percentile=100)(x) - net(x))
        .abs()
        .mean()
        for t in (1, 16)
    ]
    assert errors[1] < errors[0] / 3


def test_refusals():
    x = torch.rand(2, 2)
    with pytest.raises(ConfigError, match="no ReLU"):
        synfire.convert_activations(nn.Linear(2, 2), x)
    with pytest.raises(ConfigError, match="percentile"):
        synfire.convert_activations(nn.ReLU(), x, percentile=0)
    with pytest.raises(InputError, match="calibration"):
        synfire.convert_activations(nn.Sequential(nn.ReLU()), x, calibration=[])

    class Branches(nn.Module):
        def forward(self, x):
            return torch.relu(x) if x.sum() > 0 else x

    with pytest.raises(ConfigError, match=r"torch\.fx cannot trace"):
        synfire.convert_activations(Branches(), x)
