"""LAMB against its formula, written once more in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synfire.training import Optimiser
from synfire.training.lamb import Lamb

SHAPES = ((5, 3), (4, 2, 3, 3), (7,))


def reference(
    weight: np.ndarray,
    gradients: list[np.ndarray],
    lr: float,
    decay: float,
    clip: bool,
    adapt: bool,
) -> np.ndarray:
    """You et al. 2020, algorithm 2, for one tensor."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        mean, square = first / (1 - 0.9**step), second / (1 - 0.99**step)
        update = mean / (np.sqrt(square) + 1e-6) + decay * weight
        size, length = np.sqrt((weight**2).sum()), np.sqrt((update**2).sum())
        ratio = size / length if size > 0 and length > 0 else 1.0
        ratio = min(ratio, 1.0) if clip else ratio
        weight = weight - lr * (ratio if adapt else 1.0) * update
    return weight


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("scale", [0.01, 3.0])  # trust ratios below and above 1
def test_steps_equal_the_formula(clip: bool, decay: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    draw = [
        [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(5)]
        for shape in SHAPES
    ]
    weights = [nn.Parameter(scale * several[0]) for several in draw]
    starts = [weight.detach().numpy().copy() for weight in weights]
    groups = [{"params": weights[:2]}, {"params": weights[2:], "adapt": False, "weight_decay": 0.0}]
    lamb = Lamb(groups, 0.1, (0.9, 0.99), 1e-6, decay, clip)
    for step in range(1, 5):
        for weight, several in zip(weights, draw, strict=True):
            weight.grad = several[step].clone()
        lamb.step()
    for index, (weight, start, several) in enumerate(zip(weights, starts, draw, strict=True)):
        adapt = index < 2
        gradients = [gradient.numpy() for gradient in several[1:]]
        expected = reference(start, gradients, 0.1, decay if adapt else 0.0, clip, adapt)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12, atol=1e-13)


def test_zero_weights_move_and_weights_without_gradient_stay() -> None:
    zero, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    zero.grad = torch.ones(2, 2)
    Lamb([zero, still], lr=0.5).step()
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -0.5))
    assert torch.equal(still, torch.ones(2, 2))


def test_it_goes_on_from_its_saved_state() -> None:
    def steps(count: int, weight: nn.Parameter, lamb: Lamb) -> None:
        for _ in range(count):
            weight.grad = (weight * 3 + 1).detach()
            lamb.step()

    straight = nn.Parameter(torch.arange(1.0, 7.0).reshape(2, 3))
    broken = nn.Parameter(straight.detach().clone())
    steps(6, straight, Lamb([straight]))
    before = Lamb([broken])
    steps(2, broken, before)
    after = Lamb([broken])
    after.load_state_dict(before.state_dict())
    steps(4, broken, after)
    assert torch.equal(straight, broken)


def test_biases_and_norms_are_not_adapted() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    lamb = Optimiser(name="lamb", trust_clip=True, eps=1e-5).build(net)
    assert isinstance(lamb, Lamb)
    found = [(g["adapt"], g["trust_clip"], g["eps"]) for g in lamb.param_groups]
    assert found == [(True, True, 1e-5), (False, True, 1e-5)]
