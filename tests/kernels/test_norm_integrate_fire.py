"""BatchNorm and neuron as one operator against the two modules, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nn_functional
from torch.library import opcheck

from synfire.core.errors import ConfigError, InputError
from synfire.kernels.integrate_fire import integrate_fire, neuron_dynamics
from synfire.kernels.norm_integrate_fire import norm_integrate_fire, norm_integrate_fire_op
from synfire.kernels.surrogates import Surrogate

NEURONS = {
    "integer": {
        "levels": 4,
        "rounding": "half_up",
        "unit": "count",
        "surrogate": Surrogate("rectangle"),
    },
    "arctan, hard": {"reset": "hard", "reset_value": 0.1, "surrogate": Surrogate("arctan", 2.0)},
    "through the reset": {"detach_reset": False, "surrogate": Surrogate("triangle")},
    "current": {"current_decay": 0.7, "surrogate": Surrogate("sigmoid")},
}
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "vectors": lambda x: x.mean((2, 3)) * 4,
    "volumes": lambda x: x.unsqueeze(-1).to(memory_format=torch.channels_last_3d),
}


def draw(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=dtype) * 2 + 0.5


def separately(x, timesteps, mean, variance, weight, bias, options, decay, threshold):
    u = nn_functional.batch_norm(
        x, mean, variance, weight, bias, training=mean is None, eps=1e-3, momentum=0.0
    )
    return integrate_fire(
        u, timesteps, decay=decay, threshold=threshold, output_scale=0.5, **options
    )[0]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("name", NEURONS)
def test_equals_the_two_operators(name, timesteps, layout, fixed):
    options, results = NEURONS[name], []
    for fused in (True, False):
        x = LAYOUTS[layout](draw(timesteps * 4, 6, 3, 5)).requires_grad_()
        weight, bias = draw(6).requires_grad_(), draw(2, 6)[0].requires_grad_()
        mean, variance = (draw(6), draw(6).abs() + 0.5) if fixed else (None, None)
        if fused:
            out, used_mean, used_variance = norm_integrate_fire(
                x, timesteps, neuron_dynamics(**options), mean=mean, variance=variance, weight=weight, bias=bias,
                eps=1e-3, decay=0.9, threshold=0.7, output_scale=0.5, has_current="current_decay" in options,
            )  # fmt: skip
            axes = [axis for axis in range(x.ndim) if axis != 1]
            if not fixed:
                torch.testing.assert_close(used_mean, x.detach().mean(axes))
                torch.testing.assert_close(used_variance, x.detach().var(axes, correction=0))
        else:
            out = separately(x, timesteps, mean, variance, weight, bias, options, 0.9, 0.7)
        (
            out * torch.linspace(-1, 1, out.numel(), dtype=x.dtype).reshape(out.shape)
        ).sum().backward()
        results.append((out.detach(), x.grad, weight.grad, bias.grad))
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected)
    assert results[0][0].unique().numel() > 1 and results[0][1].abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_float32(dtype):
    x = draw(8, 6, 5, 7).to(dtype)
    dynamics = neuron_dynamics(**NEURONS["integer"])
    out, mean, _ = norm_integrate_fire(x, 2, dynamics, decay=0.5)
    assert out.dtype == dtype and mean.dtype == torch.float32
    wide, wide_mean, _ = norm_integrate_fire(x.double(), 2, dynamics, decay=0.5)
    torch.testing.assert_close(mean.double(), wide_mean, rtol=1e-5, atol=1e-6)
    assert ((out.double() != wide).double().mean()) < 2e-3  # float32 flips of ties


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_opcheck(layout, fixed):
    x = LAYOUTS[layout](draw(6, 4, 3, 5, dtype=torch.float32)).requires_grad_()
    statistics = (torch.rand(4), torch.rand(4) + 0.5) if fixed else (None, None)
    weight, bias = torch.rand(4).requires_grad_(), torch.rand(4).requires_grad_()
    dynamics = neuron_dynamics(**NEURONS["integer"]).encode()
    constants = (1e-5, 3, 0.5, 0.7, 0.25, dynamics, False)
    results = opcheck(norm_integrate_fire_op, (x, *statistics, weight, bias, *constants))
    assert set(results.values()) == {"SUCCESS"}


def test_only_the_input_is_kept():
    kept = set()

    def note(tensor):
        kept.add((tensor.data_ptr(), tensor.numel()))
        return tensor

    x = draw(8, 6, 5, 7, dtype=torch.float32).requires_grad_()
    weight, bias = torch.rand(6), torch.rand(6)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        norm_integrate_fire(x, 2, neuron_dynamics(), weight=weight, bias=bias, decay=0.9)
    assert {size for pointer, size in kept if pointer != x.data_ptr()} <= {6}
    assert (x.data_ptr(), x.numel()) in kept


def test_refusals():
    x, dynamics = torch.rand(4, 3), neuron_dynamics()
    with pytest.raises(
        InputError, match=r"weight must have one value for each of the 3 channels, got shape \(2,\)"
    ):
        norm_integrate_fire(x, 1, dynamics, weight=torch.rand(2))
    with pytest.raises(InputError, match="channels on axis 1"):
        norm_integrate_fire(x[0], 1, dynamics)
    with pytest.raises(ConfigError, match="give the missing one"):
        norm_integrate_fire(x, 1, dynamics, mean=torch.rand(3))
    with pytest.raises(ConfigError, match="threshold must be positive"):
        norm_integrate_fire(x, 1, dynamics, threshold=0.0)
    with pytest.raises(ConfigError, match="statistics are constants"):
        norm_integrate_fire(
            x, 1, dynamics, mean=torch.rand(3).requires_grad_(), variance=torch.rand(3)
        )
