"""The neuron protocol: one folded tensor in, one out; the state is found or started, never stored on the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError, FoldingError
from synfire.core.time import State, Timed, current_time


class Neuron(Timed):
    """Base of all neurons. What it emits is a count in {0..levels} times ``scale``.

    A subclass implements :meth:`run`, the functional form on folded tensors with explicit state.

    Attributes:
        timesteps: real timesteps T that the module was built for.
        levels: largest count D of one timestep; 1 is a binary neuron.
        scale: what a count of one is worth in the output.
    """

    def __init__(self, timesteps: int = 1, levels: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        for name, value in (("timesteps", timesteps), ("levels", levels)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be an int of at least 1, got {value!r}.")
        self.timesteps = timesteps
        self.levels = levels
        self.scale = scale

    def run(self, x: Tensor, state: State | None, timesteps: int) -> tuple[Tensor, State]:
        """Folded input [T*B, ...] and state [B, ...] (None: at rest) to output [T*B, ...] and last state."""
        raise NotImplementedError

    def emit(self, x: Tensor, timesteps: int) -> Tensor:
        """:meth:`run` from rest for those who need no last state; a subclass may save writing it."""
        return self.run(x, None, timesteps)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Folded input [T*B, ...] to count * scale, same shape. Starts from rest, or from a Stream's state."""
        if not self.streams():
            return self.emit(x, self.timesteps)
        context = current_time()
        assert context is not None and context.states is not None
        key = context.key(self)
        out, context.states[key] = self.run(x, context.states.get(key), 1)
        return out

    def streams(self) -> bool:
        """Whether this call continues a Stream; raises FoldingError where the call's T is not this neuron's."""
        context = current_time()
        if context is None:
            self._refuse_plain_batch()
            return False
        if context.states is not None:
            return True
        if context.timesteps != self.timesteps:
            raise FoldingError(
                f"a {type(self).__name__} built for T={self.timesteps} runs in a net folded with "
                f"T={context.timesteps}: call synfire.set_timesteps(net, {context.timesteps})."
            )
        return False

    def _refuse_plain_batch(self) -> None:
        # While compiling there is no context to ask; the container has checked the shape by then.
        if self.timesteps > 1 and not torch.compiler.is_compiling():
            raise FoldingError(
                f"a {type(self).__name__} with T={self.timesteps} was called on its own, where a plain batch "
                "would be integrated across samples: wrap the net in synfire.TimeFolded, or use the "
                "functional form with [T, B, ...]."
            )

    def extra_repr(self) -> str:
        return f"levels={self.levels}, timesteps={self.timesteps}"


def named_neurons(net: nn.Module) -> list[tuple[str, Neuron]]:
    """Path and module of every neuron in ``net``, in definition order."""
    return [(path, module) for path, module in net.named_modules() if isinstance(module, Neuron)]
