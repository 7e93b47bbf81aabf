"""How time travels: containers, contexts, refusals, and that samples never mix."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

import synfire
from synfire.core.errors import ConfigError, FoldingError, InputError
from synfire.core.time import Folded, TimeFolded, current_time, set_timesteps
from synfire.encoders import Direct, Poisson
from synfire.neurons import IF, LIF, CubaLIF, IntegerLIF, ParametricLIF

NEURONS = {
    "if": lambda: IF(),
    "lif": lambda: LIF(decay=0.9),
    "parametric": lambda: ParametricLIF(channels=4),
    "cuba": lambda: CubaLIF(),
    "integer": lambda: IntegerLIF(levels=4),
}


def small_net(neuron=LIF, inputs=3, width=4):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(inputs, width), neuron(), nn.Linear(width, width), neuron())
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(8)
    return net


def by_hand(net, x):
    """[T, B, ...] through the modules of a Sequential, each neuron as a loop over its functional form."""
    timesteps = x.shape[0]
    for module in net:
        if isinstance(module, synfire.core.neuron.Neuron):
            state, outs = None, []
            for x_t in x:
                out, state = module.run(x_t, state, 1)
                outs.append(out)
            x = torch.stack(outs)
        else:
            x = torch.stack([module(x[t]) for t in range(timesteps)])
    return x


@pytest.mark.parametrize("name", NEURONS)
def test_readouts_of_a_timed_input(name):
    net = small_net(NEURONS[name]).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    steps = by_hand(net, x)
    assert bool(steps.any())
    for readout, expected in (("none", steps), ("mean", steps.mean(0)), ("last", steps[-1])):
        container = TimeFolded(net, timesteps=5, readout=readout)
        torch.testing.assert_close(container(x), expected, rtol=1e-12, atol=1e-12)


def test_a_static_input_goes_through_the_encoder():
    net = small_net()
    x = torch.rand(2, 3)
    static = TimeFolded(net, timesteps=4, encoder=Direct(), readout="none")(x)
    timed = TimeFolded(net, timesteps=4, readout="none")(x.expand(4, 2, 3))
    assert torch.equal(static, timed)


def test_sample_ndim_tells_static_from_timed():
    container = TimeFolded(
        small_net(), timesteps=2, encoder=Direct(), readout="none", sample_ndim=1
    )
    x = torch.rand(2, 3)
    assert container.is_static(x)
    assert not container.is_static(x.expand(2, 2, 3))
    assert torch.equal(container(x), container(x.expand(2, 2, 3)))
    with pytest.raises(InputError, match=r"with 1 axes a sample, got shape \(1, 2, 2, 3\)"):
        container(torch.rand(1, 2, 2, 3))


def test_without_sample_ndim_an_encoder_takes_everything():
    container = TimeFolded(nn.Identity(), timesteps=2, encoder=Direct(), readout="none")
    assert container(torch.rand(2, 3, 4)).shape == (2, 2, 3, 4)


def test_generators_are_handed_to_the_encoder():
    container = TimeFolded(nn.Identity(), timesteps=3, encoder=Poisson(), readout="none")
    x = torch.rand(4, 5)
    draws = [container(x, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_empty_batch():
    for readout, shape in (("mean", (0, 4)), ("last", (0, 4)), ("none", (3, 0, 4))):
        container = TimeFolded(small_net(), timesteps=3, readout=readout)
        assert container(torch.rand(3, 0, 3)).shape == shape


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("when", [0, 1, 3])
def test_a_poisoned_sample_poisons_no_other(name, when):
    """NaN in one sample at one timestep, in an input that no encoder has checked."""
    net = small_net(NEURONS[name])
    x = torch.randn(4, 5, 3)
    poisoned = x.clone()
    poisoned[when, 2] = torch.nan
    clean_samples = [0, 1, 3, 4]
    container = TimeFolded(net, timesteps=4, readout="none")
    clean, dirty = container(x), container(poisoned)
    assert torch.equal(dirty[:, clean_samples], clean[:, clean_samples])
    assert torch.equal(dirty[:when, 2], clean[:when, 2])
    assert bool(dirty[when:, 2].isnan().all())


def test_poison_shows_a_wrong_fold():
    """The test above has teeth: a batch folded sample by sample mixes samples."""
    neuron = LIF(timesteps=4, decay=0.9)
    x = torch.randn(4, 5, 3)
    x[1, 2] = torch.nan
    wrong, _ = neuron.run(x.transpose(0, 1).flatten(0, 1), None, 4)
    assert int(wrong.reshape(5, 4, 3).isnan().any(-1).any(-1).sum()) > 1


def test_poison_stays_in_its_gradient_too():
    container = TimeFolded(small_net(), timesteps=3, readout="mean")
    x = torch.randn(3, 4, 3)
    x[0, 1] = torch.nan
    x.requires_grad_()
    container(x)[[0, 2, 3]].sum().backward()
    assert bool(x.grad[:, [0, 2, 3]].isfinite().all())


@pytest.mark.parametrize("name", NEURONS)
def test_a_bare_neuron_with_time_refuses(name):
    neuron = set_timesteps(NEURONS[name](), 3)
    with pytest.raises(FoldingError, match=r"with T=3 was called on its own.*synfire.TimeFolded"):
        neuron(torch.rand(6, 4))
    set_timesteps(neuron, 1)
    assert neuron(torch.rand(6, 4)).shape == (6, 4)


def test_containers_do_not_nest():
    inner = TimeFolded(small_net(), timesteps=2)
    outer = TimeFolded(nn.Sequential(nn.Linear(3, 3), inner), timesteps=2)
    with pytest.raises(FoldingError, match="inside another container"):
        outer(torch.rand(2, 1, 3))


def test_a_neuron_of_another_time_is_refused():
    net = small_net()
    container = TimeFolded(net, timesteps=2)
    net[1].timesteps = 5
    with pytest.raises(
        FoldingError, match=r"built for T=5 runs in a net folded with T=2.*set_timesteps\(net, 2\)"
    ):
        container(torch.rand(2, 1, 3))


@pytest.mark.parametrize("shape", [(3, 2, 3), (1, 2, 3), (3,)])
def test_an_input_of_another_time_is_refused(shape):
    with pytest.raises(InputError, match=r"timed input \[T, B, ...\] with T=2"):
        TimeFolded(small_net(), timesteps=2)(torch.rand(shape))


def test_after_an_error_there_is_no_context():
    container = TimeFolded(small_net(), timesteps=2)
    with pytest.raises(RuntimeError):
        container(torch.rand(2, 1, 7))
    assert current_time() is None
    assert container(torch.rand(2, 1, 3)).shape == (1, 4)


@pytest.mark.parametrize("timesteps", [0, -1, 1.0, True, "2", None])
def test_timesteps_are_positive_ints(timesteps):
    for build in (
        lambda: TimeFolded(nn.Identity(), timesteps=timesteps),
        lambda: set_timesteps(nn.Identity(), timesteps),
        lambda: LIF(timesteps=timesteps),
    ):
        with pytest.raises(ConfigError, match="int of at least 1, got"):
            build()


def test_unknown_readout():
    with pytest.raises(ConfigError, match="readout must be one of mean, last, none, got 'sum'"):
        TimeFolded(nn.Identity(), readout="sum")


def test_set_timesteps_reaches_every_part():
    net = small_net()
    container = TimeFolded(net, timesteps=2)
    assert set_timesteps(container, 5) is container
    assert [container.timesteps, net[1].timesteps, net[3].timesteps] == [5, 5, 5]
    assert container(torch.rand(5, 1, 3)).shape == (1, 4)


def test_set_timesteps_changes_all_or_nothing():
    class Fixed(LIF):
        fixed_timesteps = True

    net = nn.Sequential(LIF(timesteps=3), Fixed(timesteps=3))
    with pytest.raises(ConfigError, match="Fixed has parameters for T=3 and cannot run with T=4"):
        set_timesteps(net, 4)
    assert [neuron.timesteps for neuron in net] == [3, 3]
    assert set_timesteps(net, 3) is net


@pytest.mark.parametrize("name", NEURONS)
def test_no_state_hides_in_modules(name):
    container = TimeFolded(small_net(NEURONS[name]), timesteps=3)
    before = {key: value.clone() for key, value in container.state_dict().items()}
    x = torch.randn(3, 2, 3)
    first = container(x)
    container(torch.randn(3, 7, 3))
    assert torch.equal(container(x), first)
    after = container.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert list(container.buffers()) == []


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_compute_the_same(clone, name):
    container = TimeFolded(
        small_net(NEURONS[name]), timesteps=3, encoder=Direct("first"), readout="none"
    )
    x = torch.randn(2, 3)
    copied = clone(container)
    assert torch.equal(copied(x), container(x))
    with torch.no_grad():
        next(copied.parameters()).zero_()
    assert bool(next(container.parameters()).any())


def test_every_thread_has_its_own_context():
    """Two nets of different T run at once; the context of one never reaches the other."""
    barrier = threading.Barrier(2)

    class Meet(nn.Module):
        def forward(self, x):
            barrier.wait(timeout=30)
            return x

    inputs = {timesteps: torch.randn(timesteps, 3, 3) for timesteps in (2, 5)}
    nets = {
        timesteps: TimeFolded(nn.Sequential(*small_net(), Meet(), LIF()), timesteps, readout="none")
        for timesteps in inputs
    }
    expected = {t: by_hand(nets[t].net[:4], inputs[t]) for t in inputs}
    results: dict[int, torch.Tensor] = {}

    def work(timesteps):
        for _ in range(5):
            results[timesteps] = nets[timesteps](inputs[timesteps])

    threads = [threading.Thread(target=work, args=(timesteps,)) for timesteps in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert current_time() is None
    for timesteps, steps in expected.items():
        last, _ = LIF().run(steps.flatten(0, 1), None, timesteps)
        assert torch.equal(results[timesteps].flatten(0, 1), last)


def test_models_may_derive_from_folded():
    class Net(Folded):
        def __init__(self):
            super().__init__(timesteps=2, readout="last")
            self.neuron = LIF(timesteps=2, decay=0.5)

        def forward_steps(self, x):
            return self.neuron(x)

    assert Net()(torch.full((2, 1, 1), 0.8)).tolist() == [[1.0]]
    assert "timesteps=2, readout='last'" in repr(Net())


def test_checkpointed_blocks_give_the_same_gradients():
    from torch.utils.checkpoint import checkpoint

    from synfire.core.time import carry_time

    class Net(nn.Module):
        def __init__(self, checkpointed):
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(3, 5), LIF(), nn.Linear(5, 2), LIF())
            self.checkpointed = checkpointed

        def forward(self, x):
            if self.checkpointed:
                return checkpoint(carry_time(self.body), x, use_reentrant=False)
            return self.body(x)

    x = torch.rand(3, 4, 3) * 4
    gradients = []
    for checkpointed in (False, True):
        net = synfire.TimeFolded(Net(checkpointed), timesteps=3)
        (net(x) * torch.tensor([1.0, -2.0])).sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    assert any(g.abs().sum() > 0 for g in gradients[0])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_modules_of_others_keep_their_timesteps():
    class Foreign(nn.Module):
        timesteps = 1000

    net = nn.Sequential(Foreign(), LIF())
    synfire.set_timesteps(net, 4)
    assert net[0].timesteps == 1000 and net[1].timesteps == 4
