"""One call of the neuron operator's contract, to run on any path and compare."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from synfire.kernels import native as room
from synfire.kernels.integrate_fire import native, plain
from synfire.kernels.integrate_fire.call import Affine, Channelwise, Epilogue
from synfire.kernels.integrate_fire.reference import Dynamics
from synfire.kernels.surrogates import Surrogate

PLAIN = Dynamics(
    levels=1,
    rounding="half_up",
    reset="soft",
    reset_value=0.1,
    detach_reset=True,
    input_gain=0.8,
    decay_input=False,
    current_decay=0.6,
    surrogate=Surrogate("rectangle"),
    inclusive=True,
    unit="count",
)
NEEDS_EXP = {"sigmoid", "gaussian"}  # torch's exp and ours differ in the last places


@pytest.fixture(params=[4, 8, 16], ids=lambda lanes: f"{lanes}-lanes")
def lanes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each width of vector registers that this processor has."""
    if not room.available():
        pytest.skip("the extension is not compiled here")
    module = room.extension()
    widest = module.lanes()
    if request.param > widest:
        pytest.skip(f"this processor has {widest} lanes")
    assert module.limit_lanes(request.param) == request.param
    yield
    module.limit_lanes(widest)


class Case:
    """Random inputs of one call, with values on ties and on edges of windows.

    ``state`` is the shape of one timestep, with channels at ``axis``; ``per_channel`` gives each its own constants.
    """

    def __init__(
        self,
        steps,
        *state,
        axis=0,
        current=False,
        states=True,
        per_channel=False,
        decay=0.9,
        threshold=1.0,
        dtype=torch.float32,
    ):
        draw = torch.Generator().manual_seed(steps * 1009 + sum(state))
        size = math.prod(state)
        x = torch.randn(steps, size, generator=draw) * 1.5 + 0.5
        x[:1] = (x[:1] * 4).round() / 4
        self.x = x.to(dtype)
        self.grad = torch.randn(steps, size, generator=draw).to(dtype)
        v, i, *grads = torch.randn(4, size, generator=draw)
        self.v = v if states else None
        self.i = i if current else None
        self.grad_v, self.grad_i = (grads[0] if states else None), (grads[1] if current else None)
        self.channels, self.inner = state[axis], math.prod(state[axis + 1 :])
        count = self.channels if per_channel else 1
        self._draw = draw
        self.decay = self.channelwise(count, 0.0 if per_channel else decay, 1.0)
        self.threshold = self.channelwise(count, 0.3 if per_channel else threshold, 1.0)
        if not per_channel:
            self.decay = Channelwise(torch.tensor([decay]))
            self.threshold = Channelwise(torch.tensor([threshold]))

    def channelwise(self, count=None, least=-1.0, span=2.0):
        """Random constants."""
        count = self.channels if count is None else count
        return Channelwise(
            torch.rand(count, generator=self._draw) * span + least, self.inner if count > 1 else 1
        )

    def affine(self):
        return Affine(self.channelwise(least=0.5), self.channelwise())

    def epilogue(self):
        return Epilogue(*(self.channelwise() for _ in range(4)))

    def forward(self, path, dynamics, **options):
        return path.forward(self.x, self.v, self.i, self.decay, self.threshold, dynamics, **options)

    def backward(self, path, dynamics, record=None, **options):
        return path.backward(
            self.grad, self.grad_v, self.grad_i,
            self.x if record is None or "epilogue" in options else None,
            record, self.v, self.i, self.decay, self.threshold, dynamics, **options,
        )  # fmt: skip

    def sums(self, path, dynamics, affine, mean, output_scale=1.0):
        return path.backward_sums(
            self.grad, self.grad_v, self.grad_i, self.x, self.v, self.i, self.decay,
            self.threshold, dynamics, affine=affine, output_scale=output_scale, mean=mean,
        )  # fmt: skip


def assert_same(ours, expected, exact=True):
    """Equal fields of two results of a path."""
    for name, theirs in vars(expected).items():
        mine = getattr(ours, name)
        if theirs is None:
            assert mine is None, name
            continue
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, name
        if exact:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
        else:
            loose = 1e-5 if theirs.dtype == torch.float32 else 1e-2
            torch.testing.assert_close(mine, theirs, rtol=loose, atol=loose)


def assert_agrees(case, dynamics, parameters=True, **options):
    """The compiled path gives what the reference gives, forward and backward."""
    assert_same(case.forward(native, dynamics, **options), case.forward(plain, dynamics, **options))
    exact = dynamics.surrogate.name not in NEEDS_EXP
    assert_same(
        case.backward(native, dynamics, parameters=parameters, **options),
        case.backward(plain, dynamics, parameters=parameters, **options),
        exact=exact,
    )
