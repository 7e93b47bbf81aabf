"""Neurons made of a user's own step function."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import synfire
from synfire import functional as F
from synfire.core.errors import ConfigError, GraphError, InputError
from synfire.core.tracing import tracing
from synfire.core.user_steps import _steps
from synfire.neurons import LIF, neuron_from_step
from synfire.neurons.from_step import levels_of
from tests.neurons.loops import drive, folded


def leaky(x, state, leak):
    """A leaky neuron of one's own."""
    h = leak * state["v"] + x
    s = F.spike(h - 1)
    return s, {"v": h - s.detach()}


def adaptive(x, state, leak, jump):
    v = leak * state["v"] + x
    s = F.spike(v - 1 - state["a"], "triangle")
    return s, {"v": v - s, "a": 0.9 * state["a"] + jump * s}


def graded(x, state):
    v = state["v"] + x
    s = v.detach().round().clamp(0, 3)
    return s + v.clamp(0, 3) - v.clamp(0, 3).detach(), {"v": v - s}


Leaky = neuron_from_step(leaky, parameters={"leak": 0.5})
Adaptive = neuron_from_step(adaptive, ("v", "a"), {"leak": 0.5, "jump": 0.2})
Graded = neuron_from_step(graded, levels=3)


def test_equals_the_neuron_that_it_writes_again():
    x = drive(9, 3, 4)
    own, built_in = Leaky(leak=0.75).double(), LIF(decay=0.75)
    ours, theirs = folded(own, x), folded(built_in, x)
    assert torch.equal(ours, theirs)
    weights = torch.randn(x.shape)
    gradients = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_two_states_against_a_loop():
    x = drive(12, 2, 3)
    v = a = torch.zeros(2, 3, dtype=torch.float64)
    expected = []
    for x_t in x:
        v = 0.6 * v + x_t
        s = (v >= 1 + a).double()
        v, a = v - s, 0.9 * a + 0.3 * s
        expected.append(s)
    neuron = Adaptive(leak=0.6, jump=0.3).double()
    with torch.no_grad():  # parameters are made in float32
        neuron.values["leak"].fill_(0.6)
        neuron.values["jump"].fill_(0.3)
    out, state = neuron.run(x.flatten(0, 1), None, 12)
    assert torch.equal(out.reshape(x.shape), torch.stack(expected))
    assert torch.equal(state["a"], a)
    assert torch.equal(state["v"], v)


def test_halves_equal_the_whole():
    x = drive(8, 2, 3).detach().float()
    neuron = Adaptive()
    whole, last = neuron.run(x.flatten(0, 1), None, 8)
    first, state = neuron.run(x[:3].flatten(0, 1), None, 3)
    second, state = neuron.run(x[3:].flatten(0, 1), state, 5)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(state[key], last[key]) for key in ("v", "a"))


def test_parameters_learn():
    neuron = Adaptive()
    folded(neuron, drive(6, 4, dtype=torch.float32)).sum().backward()
    assert sorted(name for name, _ in neuron.named_parameters()) == ["values.jump", "values.leak"]
    assert all(bool(p.grad.abs() > 0) for p in neuron.parameters())


def test_levels_and_scale():
    neuron = Graded(scale=0.5)
    assert (neuron.levels, neuron.scale) == (3, 0.5)
    assert neuron(torch.tensor([[1.2, 9.0]])).tolist() == [[0.5, 1.5]]
    assert levels_of(Graded.step_name) == 3


def test_refuses_a_plain_batch_with_time():
    with pytest.raises(synfire.core.errors.FoldingError, match="a leaky with T=2"):
        Leaky(timesteps=2)(torch.rand(4, 3))


def test_the_class_tells_what_it_is():
    assert Leaky.__name__ == "leaky"
    assert Leaky.__doc__ == "A leaky neuron of one's own."
    assert Leaky.step_name.endswith("test_from_step.leaky")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies(clone):
    net = synfire.TimeFolded(nn.Sequential(nn.Linear(3, 3), Adaptive(leak=0.7)), timesteps=2)
    copied = clone(net)
    x = torch.rand(2, 4, 3) * 3
    assert torch.equal(copied(x), net(x))
    assert type(copied.net[1]) is Adaptive
    with torch.no_grad():
        copied.net[1].values["leak"].zero_()
    assert net.net[1].values["leak"].item() == pytest.approx(0.7)


def test_a_pickle_of_an_unknown_step_says_what_to_import():
    content = pickle.dumps(Leaky())
    held = _steps.pop(Leaky.step_name)
    try:
        with pytest.raises(GraphError, match=r"test_from_step.leaky', which is not registered"):
            pickle.loads(content)
    finally:
        _steps[Leaky.step_name] = held


@pytest.mark.filterwarnings("ignore")  # the compiler warns of what it looks at
def test_compiled_steps_compute_the_same(monkeypatch):
    torch._dynamo.reset()
    compiled = []

    def compile_quickly(function, **options):
        compiled.append(function)
        return original(function, backend="aot_eager", **options)

    original = torch.compile
    monkeypatch.setattr(torch, "compile", compile_quickly)
    Compiled = neuron_from_step(
        adaptive, ("v", "a"), {"leak": 0.5, "jump": 0.2}, name="compiled", compiled=True
    )
    assert compiled == [adaptive]
    x = drive(4, 2, 3, dtype=torch.float32)
    outs = [folded(kind(), x) for kind in (Compiled, Adaptive)]
    assert torch.equal(*outs)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), x)[0] for out in outs))


def test_a_trace_sees_one_operator():
    neuron, x = Adaptive(timesteps=3), drive(3, 2, 4, dtype=torch.float32).detach()
    expected = folded(neuron, x)
    with tracing(), torch.no_grad():
        assert torch.equal(folded(neuron, x), expected)


def test_step_operator():
    from synfire.neurons.from_step import step_neuron_op

    for x in (
        torch.rand(6, 4),
        torch.rand(4, 6).t(),
        torch.rand(6, 2, 3, 3).to(memory_format=torch.channels_last),
    ):
        given = (x * 2, Adaptive.step_name, 3, "leak jump", [torch.tensor(0.5), torch.tensor(0.2)])
        results = torch.library.opcheck(
            step_neuron_op, given, test_utils=("test_schema", "test_faketensor")
        )
        assert set(results.values()) == {"SUCCESS"}


def test_two_steps_of_one_name_are_not_confused():
    """Graphs know a step by name; a name that leads to another step by now is refused, not followed."""

    def make(jump):
        def closure(x, state):
            return F.spike(state["v"] + x - jump), {"v": x}

        return closure

    first, second = neuron_from_step(make(1.0)), neuron_from_step(make(5.0))
    x = torch.full((1, 1), 2.0)
    assert (first()(x).item(), second()(x).item()) == (1.0, 0.0)
    with tracing(), torch.no_grad():
        assert second()(x).item() == 0.0
        with pytest.raises(ConfigError, match=r"another neuron was made later .*name=\.\.\."):
            first()(x)
    with pytest.raises(ConfigError, match="another neuron was made later"):
        pickle.dumps(first())
    named = neuron_from_step(make(1.0), name="early")
    neuron_from_step(make(5.0), name="late")
    with tracing(), torch.no_grad():
        assert named()(x).item() == 1.0


def test_refusals():
    with pytest.raises(ConfigError, match="expected a step function, got int"):
        neuron_from_step(3)
    with pytest.raises(ConfigError, match="does not take the parameter 'tau'"):
        neuron_from_step(leaky, parameters={"tau": 2.0}, name="refused")
    with pytest.raises(ConfigError, match="leaky has no parameter 'tau'; it has: leak"):
        Leaky(tau=2.0)


def test_a_step_that_returns_nonsense():
    Forgetful = neuron_from_step(lambda x, state: (x, {}), name="forgetful")
    with pytest.raises(InputError, match=r"and the states \['v'\], got .* and \[\]"):
        Forgetful()(torch.rand(2, 3))
    Summing = neuron_from_step(lambda x, state: (x.sum(), state), name="summing")
    with pytest.raises(InputError, match=r"counts of its input's shape \(2, 3\)"):
        Summing()(torch.rand(2, 3))
