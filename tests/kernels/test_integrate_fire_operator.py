"""Integrate-and-fire as a torch operator: dtypes, layouts, schema, compilers, refusals."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn
from torch.library import opcheck

import synfire
from synfire import functional as F
from synfire.core.errors import ConfigError, InputError
from synfire.encoders import Direct
from synfire.kernels.integrate_fire import (
    fire,
    integrate_fire,
    integrate_fire_backward_op,
    integrate_fire_into_op,
    integrate_fire_op,
    neuron_dynamics,
    state_dtype,
)
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.surrogates import Surrogate
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF

COUNTING = {"levels": 4, "rounding": "half_up", "unit": "count"}


def arguments(x, v=None, i=None, decay=None, threshold=None, timesteps=1, current=False, levels=4):
    """All arguments of the raw operator, in order."""
    dynamics = Dynamics(
        levels, "half_up", "soft", 0.0, False, 1.0, False, 0.5, Surrogate("arctan"), True, "count"
    )
    constants = (timesteps, 0.5, 0.8, 0.25, dynamics.encode(), current, False, True)
    return (x, v, i, decay, threshold, *constants)


COUNTER = neuron_dynamics(4, "half_up", surrogate=Surrogate("rectangle"), unit="count")
RECTANGLE = neuron_dynamics(1, "half_up", surrogate=Surrogate("rectangle"), unit="count")


def draw(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(shape, generator=generator) * 1.5 + 0.5).to(dtype)


LAYOUTS = {
    "contiguous": lambda: draw(6, 3, 4, 5),
    "channels last": lambda: draw(6, 3, 4, 5).to(memory_format=torch.channels_last),
    "transposed": lambda: draw(4, 6).t(),
    "strided": lambda: draw(12, 5)[::2],
    "expanded": lambda: draw(6, 1).expand(6, 7),
    "odd": lambda: draw(6, 1, 13, 1),
    "empty batch": lambda: draw(0, 3),
    "empty sample": lambda: draw(6, 0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("timesteps", [1, 3])
def test_schema_fake_and_autograd_agree(timesteps, layout, dtype):
    x = LAYOUTS[layout]().to(dtype).detach().requires_grad_()
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for current in (False, True):
        given = arguments(x, timesteps=timesteps, current=current)
        assert set(opcheck(integrate_fire_op, given, test_utils=checks).values()) == {"SUCCESS"}


def test_opcheck_with_every_tensor():
    """All utilities, ahead-of-time dispatch with dynamic shapes among them."""
    for dtype in (torch.float32, torch.float64):
        x, v, i = (draw(*shape, dtype=dtype) for shape in ((6, 3, 5), (2, 3, 5), (2, 3, 5)))
        decay, threshold = torch.rand(3, dtype=dtype), torch.rand((), dtype=dtype) + 0.5
        given = [t.requires_grad_() for t in (x, v, i, decay, threshold)]
        results = opcheck(integrate_fire_op, arguments(*given, timesteps=3, current=True))
        assert set(results.values()) == {"SUCCESS"}


def call(x, v=None, i=None, decay=None, threshold=None, **changes):
    """Arguments of a backward call that kept the input; ``changes`` by name."""
    *_, _, beta, theta, scale, dynamics, current, _, _ = arguments(x, timesteps=3)
    names = ["decay_value", "threshold_value", "output_scale", "dynamics", "has_current"]
    given = dict(zip(names, (beta, theta, scale, dynamics, current), strict=True))
    tensors = {"x": x, "record": None, "v": v, "i": i, "decay": decay, "threshold": threshold}
    return {
        "grad_v": None,
        "grad_i": None,
        **tensors,
        "timesteps": 3,
        **given,
        "channels_last": False,
        **changes,
    }


@pytest.mark.parametrize("current", [False, True])
def test_opcheck_backward(current):
    x, v = draw(6, 3, 5), draw(2, 3, 5)
    i = draw(2, 3, 5) if current else None
    grads = {
        "grad_out": torch.ones(6, 3, 5),
        "grad_v": torch.ones(2, 3, 5),
        "grad_i": torch.ones(2, 3, 5) if current else None,
    }
    learnable = call(x, v, i, torch.rand(3), torch.rand(3) + 0.5, has_current=current)
    rectangle = RECTANGLE.encode()
    record = torch.randint(256, (1, 3, 4), dtype=torch.uint8)
    recorded = call(None, record=record, has_current=current, dynamics=rectangle)
    for rest in (learnable, call(x, has_current=current), recorded):
        checks = ("test_schema", "test_faketensor")
        results = opcheck(integrate_fire_backward_op, (), rest | grads, test_utils=checks)
        assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["float", "uint8", "bits"])
def test_opcheck_inference(form, layout):
    x = LAYOUTS[layout]()
    levels = 1 if form == "bits" else 4
    if form == "bits" and x.shape[-1] % 8:
        x = x.new_zeros(6, 16)
    *given, _, _ = arguments(x, timesteps=3, levels=levels)
    target = fire(x, 3, form=form, dynamics=RECTANGLE if levels == 1 else COUNTER)[0]
    checks = ("test_schema", "test_faketensor")
    results = opcheck(integrate_fire_into_op, (target, *given, form, True), test_utils=checks)
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(layout):
    x = LAYOUTS[layout]()
    plain = x.clone(memory_format=torch.contiguous_format).requires_grad_()
    x = x.detach().requires_grad_()
    results = [integrate_fire(t, 3, decay=0.5, **COUNTING) for t in (x, plain)]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    for (out, v, _), leaf in zip(results, (x, plain), strict=True):
        (out.sum() + v.sum()).backward()
        assert leaf.grad is not None
    assert torch.equal(x.grad, plain.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("current", [None, 0.5])
def test_half_precision_keeps_membranes_in_float32(dtype, current):
    x = draw(12, 7, dtype=dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    options = COUNTING | {"decay": 0.9, "current_decay": current, "output_scale": 0.25}
    out, v, i = integrate_fire(x, 4, **options)
    wide_out, wide_v, wide_i = integrate_fire(wide, 4, **options)
    assert out.dtype == dtype
    assert v.dtype == torch.float32 == state_dtype(dtype)
    assert torch.equal(out, wide_out.to(dtype))
    assert torch.equal(v, wide_v)
    assert i is wide_i is None or torch.equal(i, wide_i)
    out.sum().backward()
    wide_out.sum().backward()
    assert x.grad.dtype == dtype
    assert torch.equal(x.grad, wide.grad.to(dtype))


def test_float64_stays_float64():
    x = draw(6, 5, dtype=torch.float64).requires_grad_()
    out, v, _ = integrate_fire(x, 3, decay=0.9, **COUNTING)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert out.dtype == v.dtype == gradient.dtype == torch.float64


def test_states_and_parameters_of_another_dtype():
    x, v = draw(4, 3), draw(2, 3, dtype=torch.float64).requires_grad_()
    decay = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    out, last, _ = integrate_fire(x, 2, v=v, decay=decay, **COUNTING)
    assert last.dtype == torch.float32
    (out.sum() + last.sum()).backward()
    assert v.grad.dtype == decay.grad.dtype == torch.float64
    expected = integrate_fire(x, 2, v=v.detach().float(), decay=0.9, **COUNTING)
    assert torch.equal(out, expected[0])


def test_channel_parameters_of_shape_one_keep_their_shape():
    x = draw(4, 3)
    decay = torch.tensor([0.5], requires_grad=True)
    integrate_fire(x, 2, decay=decay, **COUNTING)[1].sum().backward()
    assert decay.grad.shape == (1,)


def test_no_second_derivative_is_made_up():
    x = draw(4, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(F.lif(x[None])[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()


NETS = {
    "lif": lambda: [LIF(decay=0.9), IntegerLIF(levels=4)],
    "if hard": lambda: [IF(reset="hard", reset_value=0.1), IF()],
    "parametric": lambda: [ParametricLIF(channels=6, learn_threshold=True), ParametricLIF()],
    "cuba": lambda: [CubaLIF(detach_reset=False), CubaLIF()],
}


def body(neurons):
    torch.manual_seed(3)
    first, second = neurons
    layers = nn.Sequential(nn.Linear(5, 6), first, nn.Linear(6, 6), second, nn.Linear(6, 3))
    with torch.no_grad():
        layers[0].weight.mul_(3)
        layers[2].weight.mul_(3)
    return layers


def assert_compiled_equals_eager(net, x, backend):
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend=backend)
    results = []
    for run in (net, compiled):
        net.zero_grad()
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        (out**2).sum().backward()
        results.append((out.detach(), leaf.grad, *(p.grad.clone() for p in net.parameters())))
    assert bool(results[0][0].any())
    assert bool(results[0][1].any())
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, eager)


@pytest.mark.parametrize("name", NETS)
def test_compiles_whole(name):
    net = synfire.TimeFolded(body(NETS[name]()), timesteps=3, encoder=Direct())
    assert_compiled_equals_eager(net, draw(4, 5), "aot_eager")


def test_compiles_whole_with_timed_input_and_every_readout():
    for readout in ("last", "none"):
        net = synfire.TimeFolded(body(NETS["lif"]()), timesteps=3, readout=readout)
        assert_compiled_equals_eager(net, draw(3, 4, 5), "aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiles_with_inductor():
    """The default backend believes what fake forms say of layouts; here images are in channels-last layout."""
    torch._dynamo.reset()
    net = synfire.TimeFolded(
        nn.Sequential(nn.Conv2d(2, 4, 3), LIF(decay=0.9)), 3, encoder=Direct(), readout="last"
    ).to(memory_format=torch.channels_last)
    x = draw(2, 2, 7, 7).to(memory_format=torch.channels_last) * 3
    with torch.no_grad():
        expected = net(x)
        assert bool(expected.any())
        assert torch.equal(torch.compile(net, fullgraph=True)(x), expected)


REFUSALS = {
    "levels must be": (ConfigError, "levels is the largest count.*got 0", {"levels": 0}),
    "levels is": (ConfigError, "levels is the largest count.*got -1", {"levels": -1}),
    "rounding": (
        ConfigError,
        "rounding must be one of half_up, half_even, floor, got 'up'",
        {"rounding": "up"},
    ),
    "reset": (ConfigError, "reset must be one of soft, hard, none, got 'zero'", {"reset": "zero"}),
    "unit": (ConfigError, "unit must be one of count, membrane, got 'volt'", {"unit": "volt"}),
    "membrane": (
        ConfigError,
        "one threshold of a binary neuron, got levels=4",
        {"unit": "membrane", "levels": 4},
    ),
    "threshold": (ConfigError, "a threshold must be positive, got 0.0", {"threshold": 0.0}),
    "timesteps": (ConfigError, "timesteps must be at least 1, got 0", {"timesteps": 0}),
    "folding": (InputError, "multiple of timesteps=4, got 6", {"timesteps": 4}),
    "membrane shape": (
        InputError,
        r"initial membrane must have shape \(2, 5\).*got \(6, 5\)",
        {"v": torch.zeros(6, 5)},
    ),
    "current shape": (
        InputError,
        r"initial current must have shape \(2, 5\).*got \(5,\)",
        {"i": torch.zeros(5), "current_decay": 0.5},
    ),
    "decay shape": (InputError, r"one value a channel, got shape \(4,\)", {"decay": torch.rand(4)}),
    "threshold shape": (InputError, r"got shape \(2, 5\)", {"threshold": torch.rand(2, 5)}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    error, message, options = REFUSALS[name]
    given = {"timesteps": 3} | options
    with pytest.raises(error, match=message):
        integrate_fire(torch.rand(6, 5), **given)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_refuses_what_is_no_float(dtype):
    with pytest.raises(InputError, match=f"floating-point input, got {dtype}"):
        integrate_fire(torch.ones(2, 3).to(dtype), 1)


def test_refuses_a_scalar():
    with pytest.raises(InputError, match="got a scalar"):
        integrate_fire(torch.tensor(1.0), 1)


def test_a_second_net_with_other_constants_compiles_too():
    """From the second value on the compiler takes a float attribute for a variable."""
    x = draw(4, 3)
    for value in (0.3, 0.7, 0.9):
        neuron = LIF(2, decay=value, surrogate=Surrogate("arctan", value), reset_value=value)
        net = synfire.TimeFolded(neuron, 2, readout="none")
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        folded = x.unflatten(0, (2, 2))
        assert torch.equal(compiled(folded), net(folded))


def test_constants_survive_their_string():
    dynamics = Dynamics(
        4, "half_even", "hard", 0.1, False, 1 / 3, True, 0.7, Surrogate("gaussian", 0.3, 2.0), False, "count"
    )  # fmt: skip
    assert Dynamics.decode(dynamics.encode()) == dynamics
