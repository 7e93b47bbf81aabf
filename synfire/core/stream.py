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
        self.net = net
        self.state: dict[tuple[str, int], State] = {}
        self.steps = 0
        self._paths = {id(module): path for path, module in net.named_modules()}

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
        with time_context(TimeContext(1, states=self.state, paths=self._paths)):
            out = self.net.forward_steps(x_t)
        self.steps += 1
        return out

    def _check_batch(self, x_t: Tensor) -> None:
        for state in self.state.values():
            for tensor in state.values():
                if tensor.shape[:1] != x_t.shape[:1]:
                    raise InputError(
                        f"this stream began with a batch of {tensor.shape[0]}, got {x_t.shape[0]}: "
                        "keep the batch size, or call stream.reset()."
                    )
                return

    def reset(self) -> None:
        """Back to rest."""
        self.state = {}
        self.steps = 0
