"""Integrate-and-fire against the oracle: outputs, states and every gradient."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from synfire.kernels.integrate_fire import integrate_fire
from synfire.kernels.integrate_fire.reference import RESETS, ROUNDINGS
from synfire.kernels.surrogates import BUMPS, Surrogate
from tests.kernels.oracle import Model, expand

F64 = torch.float64


def leaves(seed, steps, state, parameters, current, dtype=F64):
    """Random x [T, B, ...], v, i, decay, threshold; what is learnable asks for a gradient."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=F64).to(dtype)

    x, v = normal(steps, *state) * 1.5 + 0.4, normal(*state)
    i = normal(*state) if current else None
    shape = {"constant": None, "scalar": (), "channels": (state[1],) if len(state) > 1 else ()}
    if shape[parameters] is None:
        decay, threshold = 0.7, 0.8
    else:
        decay = (torch.rand(shape[parameters], generator=draw, dtype=F64) * 0.8 + 0.1).to(dtype)
        threshold = (torch.rand(shape[parameters], generator=draw, dtype=F64) + 0.5).to(dtype)
    for leaf in (x, v, i, decay, threshold):
        if isinstance(leaf, torch.Tensor):
            leaf.requires_grad_()
    return x, v, i, decay, threshold


def gradients(outputs, inputs, seed=5):
    """Gradients of a random mixture of all outputs."""
    draw = torch.Generator().manual_seed(seed)
    mixture = sum(
        (out * torch.randn(out.shape, generator=draw, dtype=F64).to(out)).sum()
        for out in outputs
        if out is not None
    )
    wanted = [leaf for leaf in inputs if isinstance(leaf, torch.Tensor)]
    return torch.autograd.grad(mixture, wanted, allow_unused=True, materialize_grads=True)


def both(model, case):
    """Outputs and gradients of the operator, and of the oracle."""
    x, v, i, decay, threshold = case
    out, v_last, i_last = integrate_fire(
        x.flatten(0, 1),
        x.shape[0],
        v=v,
        i=i,
        decay=decay,
        threshold=threshold,
        **model.options(),
    )
    ours = out.reshape(x.shape), v_last, i_last
    ndim = x.ndim - 1
    theirs = model.run(x, v, i, expand(decay, ndim), expand(threshold, ndim))
    return ours, gradients(ours, case), theirs, gradients(theirs, case)


def assert_agrees(model, case, **tolerance):
    ours, our_gradients, theirs, their_gradients = both(model, case)
    assert torch.equal(ours[0], theirs[0])
    for mine, expected in zip(
        (*ours[1:], *our_gradients), (*theirs[1:], *their_gradients), strict=True
    ):
        if expected is None:
            assert mine is None
        else:
            torch.testing.assert_close(mine, expected, **tolerance)


LEVELS = [(1, "membrane"), (1, "count"), (4, "count")]
COVER = [  # decay_input, current filter, parameters: every pair at least once
    (False, False, "constant"),
    (True, True, "constant"),
    (False, True, "scalar"),
    (True, False, "channels"),
    (False, True, "channels"),
    (True, False, "scalar"),
]


@pytest.mark.parametrize("surrogate", BUMPS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", RESETS)
def test_equals_autograd_through_time(reset, detach, rounding, surrogate):
    for (levels, unit), (decay_input, current, parameters) in itertools.product(LEVELS, COVER):
        model = Model(
            levels=levels,
            rounding=rounding,
            reset=reset,
            reset_value=0.2,
            detach=detach,
            gain=0.8,
            decay_input=decay_input,
            current_decay=0.6 if current else None,
            surrogate=surrogate,
            unit=unit,
            output_scale=1 / levels,
        )
        assert_agrees(model, leaves(levels, 3, (2, 3), parameters, current))


@pytest.mark.parametrize("width", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("surrogate", BUMPS)
def test_width_and_scale_of_the_surrogate(surrogate, width):
    for levels, unit in LEVELS:
        model = Model(
            levels=levels, surrogate=surrogate, width=width, scale=1.3, unit=unit, detach=False
        )
        assert_agrees(model, leaves(1, 4, (3, 5), "scalar", False))


@pytest.mark.parametrize("parameters", ["constant", "scalar", "channels"])
@pytest.mark.parametrize("state", [(1,), (63,), (100, 1), (2, 3, 5, 7), (1, 13, 1)])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_shapes(steps, state, parameters):
    model = Model(levels=3, detach=False, current_decay=0.5, surrogate="triangle")
    assert_agrees(model, leaves(3, steps, state, parameters, True))


@pytest.mark.parametrize("surrogate", BUMPS)
@pytest.mark.parametrize("reset", RESETS)
def test_float32(reset, surrogate):
    for (levels, unit), size in itertools.product(LEVELS, [(1, 1), (3, 21), (2, 50)]):
        model = Model(
            levels=levels,
            reset=reset,
            surrogate=surrogate,
            unit=unit,
            detach=False,
            reset_value=0.1,
        )
        case = leaves(levels, 4, size, "channels", False, torch.float32)
        assert_agrees(model, case, rtol=2e-4, atol=2e-5)


def test_many_timesteps_stay_exact():
    model = Model(levels=4, surrogate="gaussian", detach=False)
    assert_agrees(model, leaves(9, 60, (2, 3), "scalar", False), rtol=1e-8, atol=1e-10)


def test_starts_from_rest_without_a_state():
    x, _, _, _, _ = leaves(4, 3, (2, 5), "constant", False)
    model = Model(levels=2, current_decay=0.5)
    rest = torch.zeros(2, 5, dtype=F64)
    options = model.options() | {"decay": 0.6}
    implied = integrate_fire(x.flatten(0, 1), 3, **options)
    stated = integrate_fire(x.flatten(0, 1), 3, v=rest, i=rest, **options)
    assert all(torch.equal(a, b) for a, b in zip(implied, stated, strict=True))


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("current", [None, 0.6])
def test_gradcheck_of_the_membrane(reset, current):
    """Between spikes the last membrane is a smooth function of all inputs, where the reset is detached."""
    x, v, i, decay, threshold = leaves(11, 3, (2, 3), "channels", current is not None)
    model = Model(levels=3, reset=reset, reset_value=0.3, current_decay=current)

    def membrane(x, v, decay, threshold, *i):
        _, v_last, i_last = integrate_fire(
            x.flatten(0, 1),
            3,
            v=v,
            i=i[0] if i else None,
            decay=decay,
            threshold=threshold,
            **model.options(),
        )
        return v_last if i_last is None else (v_last, i_last)

    rest = () if i is None else (i,)
    assert torch.autograd.gradcheck(membrane, (x, v, decay, threshold, *rest), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("detach", [True, False])
def test_step_to_step_jacobian(detach, levels):
    """Detached, dv_{t+1} / dv_t is the decay exactly; else it is decay * (1 - slope)."""
    v = torch.tensor([0.3, 1.4, -2.0, levels + 3.0], dtype=F64, requires_grad=True)
    x = torch.zeros(4, dtype=F64)
    _, v_next, _ = integrate_fire(
        x, 1, v=v, decay=0.25, **Model(levels=levels, detach=detach).options()
    )
    (jacobian,) = torch.autograd.grad(v_next.sum(), v)
    inside = (v * 0.25 >= 0) & (v * 0.25 <= levels)
    expected = torch.full_like(jacobian, 0.25)
    if not detach:
        expected = torch.where(inside, torch.zeros_like(expected), expected)
    assert torch.equal(jacobian, expected)


def slots(u, levels, rounding):
    """Binary slots of an integrate-and-fire neuron with soft reset by 1 that was given ``u`` once."""
    potential, fired = u.clone(), torch.zeros_like(u)
    trains = []
    for _ in range(levels):
        if rounding == "half_even":
            fires = (potential > 0.5) | ((potential == 0.5) & (fired % 2 == 1))
        else:
            fires = potential >= (1.0 if rounding == "floor" else 0.5)
        spike = fires.to(u)
        potential, fired = potential - spike, fired + spike
        trains.append(spike)
    return torch.stack(trains), potential


def dense_grid(levels, dtype):
    """Multiples of 1/64, which hit every tie, and their neighbours among floating-point numbers."""
    grid = torch.arange(-3 * 64, (levels + 4) * 64 + 1, dtype=dtype) / 64
    beyond = torch.full_like(grid, 1e9)
    return torch.cat([grid, grid.nextafter(beyond), grid.nextafter(-beyond)])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("levels", [1, 2, 4, 8, 15])
def test_equals_its_expansion_into_slots(levels, rounding, dtype):
    u = dense_grid(levels, dtype)
    counts, v, _ = integrate_fire(u, 1, **Model(levels=levels, rounding=rounding).options())
    trains, residual = slots(u, levels, rounding)
    assert torch.equal(trains.sum(0), counts)
    assert torch.equal(residual, v)
    assert bool((trains.diff(dim=0) <= 0).all())  # a thermometer code
    assert counts.unique().tolist() == list(range(levels + 1))


def test_a_threshold_of_one_is_another_neuron():
    u = dense_grid(4, F64)
    counts, _, _ = integrate_fire(u, 1, **Model(levels=4).options())
    assert not torch.equal(slots(u, 4, "floor")[0].sum(0), counts)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_slots_over_several_timesteps(levels):
    """The residual of the slots is what the next timestep leaks: T=3, dyadic inputs, bit for bit."""
    draw = torch.Generator().manual_seed(levels)
    x = torch.randint(-64, 160, (3, 500), generator=draw) / 32.0
    counts, v, _ = integrate_fire(x.flatten(), 3, decay=0.25, **Model(levels=levels).options())
    potential = torch.zeros(500)
    expected = []
    for x_t in x:
        trains, potential = slots(0.25 * potential + x_t, levels, "half_up")
        expected.append(trains.sum(0))
    assert torch.equal(counts.reshape(3, 500), torch.stack(expected))
    assert torch.equal(v, potential)


def window(u, levels, inclusive, dtype=F64, threshold=1.0, output_scale=1.0):
    """Gradient of the output by the membrane in units of the threshold."""
    h = (torch.tensor(u, dtype=dtype) * threshold).requires_grad_()
    out, _, _ = integrate_fire(
        h,
        1,
        levels=levels,
        rounding="half_up",
        unit="count",
        surrogate=Surrogate("rectangle"),
        inclusive=inclusive,
        threshold=threshold,
        output_scale=output_scale,
    )
    out.sum().backward()
    return (h.grad * threshold).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("levels", [1, 2, 4, 8, 15])
def test_edges_of_the_gradient_window(levels, dtype):
    inner = [k / 2 for k in range(1, 2 * levels)]  # integers and ties: never twice, never missing
    assert window(inner, levels, True, dtype) == [1.0] * len(inner)
    assert window(inner, levels, False, dtype) == [1.0] * len(inner)
    assert window([0.0, levels], levels, True, dtype) == [1.0, 1.0]
    assert window([0.0, levels], levels, False, dtype) == [0.0, 0.0]
    assert window([-0.25, levels + 0.25], levels, True, dtype) == [0.0, 0.0]
    assert window([0.25, levels - 0.25], levels, False, dtype) == [1.0, 1.0]


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_gradient_is_one_over_the_norm(levels):
    slope = window([0.5, 1.0, levels - 0.5], levels, True, output_scale=1 / levels)
    assert slope == [1 / levels] * 3


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("threshold", [0.3, 1 / 3, 0.7, 0.9, 1.1])
def test_windows_tile_without_gap_or_overlap(threshold, dtype):
    """Thresholds that floating point cannot hold, membranes at and beside every edge."""
    levels = 15
    theta = torch.tensor(threshold, dtype=dtype)
    edges = theta * torch.arange(levels + 1, dtype=dtype)
    beyond = torch.full_like(edges, 1e9)
    h = torch.cat([edges, edges.nextafter(beyond), edges.nextafter(-beyond)]).requires_grad_()
    for inclusive in (True, False):
        out, _, _ = integrate_fire(
            h, 1, threshold=theta, inclusive=inclusive, **Model(levels=levels).options()
        )
        (gradient,) = torch.autograd.grad(out.sum(), h)
        u = h.detach() / theta
        inside = (u >= 0) & (u <= levels) if inclusive else (u > 0) & (u < levels)
        assert torch.equal(gradient, inside.to(dtype) / theta)


@pytest.mark.parametrize("threshold", [0.25, 0.5, 2.0])
def test_window_scales_with_the_threshold(threshold):
    assert window([-0.5, 0.0, 1.0, 2.0, 4.0, 4.5], 4, True, threshold=threshold) == [
        0,
        1,
        1,
        1,
        1,
        0,
    ]


def test_floor_has_its_windows_around_the_thresholds():
    h = torch.tensor([0.25, 0.75, 4.25, 4.75], requires_grad=True)
    out, _, _ = integrate_fire(h, 1, **Model(levels=4, rounding="floor").options())
    out.sum().backward()
    assert out.tolist() == [0, 0, 4, 4]
    assert h.grad.tolist() == [0, 1, 1, 0]


def test_one_layer_of_many_models_shares_no_state():
    """Two calls of the operator know nothing of each other."""
    x = torch.rand(6, 4)
    first = integrate_fire(x, 3, decay=0.9)
    integrate_fire(torch.rand(6, 4), 3, decay=0.5)
    again = integrate_fire(x, 3, decay=0.9)
    assert all(torch.equal(a, b) for a, b in zip(first[:2], again[:2], strict=True))


def test_hard_reset_gradient_by_hand():
    """v = h (1 - z) + r z with z = min(s, 1): dv/dh = (1 - z) + (r - h) dz/dh where s <= 1."""
    h = torch.tensor([0.2, 1.2, 2.6], dtype=F64, requires_grad=True)
    model = Model(levels=4, reset="hard", reset_value=0.5, detach=False)
    _, v, _ = integrate_fire(h, 1, **model.options())
    v.sum().backward()
    assert v.tolist() == [0.2, 0.5, 0.5]
    assert h.grad.tolist() == pytest.approx([1 + (0.5 - 0.2), 0.5 - 1.2, 0.0])


def test_detached_reset_still_teaches_the_threshold():
    """v = h - theta s, s a constant: dv/dtheta = -s."""
    h = torch.tensor([2.2, 0.1], dtype=F64)
    theta = torch.tensor(1.0, dtype=F64, requires_grad=True)
    _, v, _ = integrate_fire(h, 1, threshold=theta, **replace(Model(levels=4)).options())
    v.sum().backward()
    assert theta.grad.item() == -2.0
