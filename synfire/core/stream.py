"""A live stream: one timestep a call, states owned here and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, InputError
from synfire.core.time import Folded, State, TimeContext, time_context


class Stream:
    """Runs a net one real timestep at a time.

    Args:
        net: a :class:`Folded` container in eval mode. Its states live in this object, in a table keyed by module path
            and call index, so several streams of one net do not disturb each other.

    ``stream(x_t)`` takes [B, ...] and returns the output *before* the readout, [B, ...]. An encoder of the net sees
    its own step t. The state stays attached to autograd only if gradients are enabled.

    Example:
        >>> import synfire
        >>> from synfire.neurons import LIF
        >>> net = synfire.TimeFolded(torch.nn.Sequential(LIF()), timesteps=2).eval()
        >>> stream = Stream(net)
        >>> [stream(torch.tensor([[0.6]])).item() for _ in range(2)]
        [0.0, 0.0]
        >>> stream(torch.tensor([[0.6]])).item(), stream.steps
        (1.0, 3)
    """

    def __init__(self, net: Folded) -> None:
        if not isinstance(net, Folded):
            raise ConfigError(
                f"a Stream needs a container that knows time, got {type(net).__name__}: "
                "wrap the net in synfire.TimeFolded."
            )
        _refuse_compiled(net)
        self.net = net
        self.state: dict[tuple[str, int], State] = {}
        self.steps = 0
        self._batch: int | None = None

    @torch.compiler.disable  # compiled neurons see no context, and would start from rest
    def __call__(self, x_t: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One timestep: [B, ...] to the net's output of this step, before the readout."""
        training = [path for path, m in self.net.named_modules() if m.training]
        if training:
            raise ConfigError(
                f"a Stream runs in eval mode, but {training[0] or 'the net'} is in training mode: call net.eval()."
            )
        self._check_batch(x_t)
        if self.net.encoder is not None:
            x_t = self.net.encoder.step(x_t, self.steps, self.net.timesteps, generator=generator)
        states = dict(self.state)  # a call that fails leaves the stream where it was
        paths = {id(module): path for path, module in self.net.named_modules()}
        with time_context(TimeContext(1, states=states, paths=paths)):
            out = self.net.forward_steps(x_t)
        self.state, self._batch = states, x_t.shape[0]
        self.steps += 1
        return out

    def _check_batch(self, x_t: Tensor) -> None:
        if self._batch is not None and x_t.shape[0] != self._batch:
            raise InputError(
                f"this stream began with a batch of {self._batch}, got {x_t.shape[0]}: "
                "keep the batch size, or call stream.reset()."
            )

    def reset(self) -> None:
        """Back to rest."""
        self.state = {}
        self.steps = 0
        self._batch = None


def _refuse_compiled(net: Folded) -> None:
    for path, module in net.named_modules():
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            raise ConfigError(
                f"a Stream runs its net uncompiled, but {path or 'the net'} went through torch.compile: "
                "stream the net that was compiled."
            )
