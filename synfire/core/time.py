"""How time travels: folded into the batch, known only to neurons, encoders and readouts.

A container (``Folded``) turns its input into one tensor [T*B, ...], opens a *time context*, runs ordinary torch modules
and reads out. A neuron asks the context for T; outside of one, a neuron with T > 1 refuses the call, so a plain batch
is never integrated across samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError, FoldingError, InputError
from synfire.core.time_operators import last_time, mean_time

READOUTS = ("mean", "last", "none")
State = dict[str, Tensor]


@dataclass
class TimeContext:
    """What neurons learn about time during one call. ``states`` is set by a Stream and shared over its calls."""

    timesteps: int
    states: dict[tuple[str, int], State] | None = None
    paths: dict[int, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def key(self, neuron: nn.Module) -> tuple[str, int]:
        """Module path and how often it was called before within this call."""
        path = self.paths.get(id(neuron))
        if path is None:
            raise FoldingError(
                f"a {type(neuron).__name__} that is no submodule of the streamed net was called in it: "
                "make it a submodule."
            )
        index = self.calls.get(path, 0)
        self.calls[path] = index + 1
        return path, index


_context: ContextVar[TimeContext | None] = ContextVar("synfire_time", default=None)


def current_time() -> TimeContext | None:
    """The time context of the running call, or None outside of a container."""
    return None if torch.compiler.is_compiling() else _context.get()


@contextmanager
def time_context(context: TimeContext) -> Iterator[TimeContext]:
    """Run a block inside ``context``; containers do not nest."""
    token = _context.set(context)
    try:
        yield context
    finally:
        _context.reset(token)


def carry_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` bound to the time of the running call, for calls that come later, outside of it.

    Activation checkpointing runs a block again during backward, when the container is long gone; wrap the block, so
    that its neurons still find their T. Outside of a container it returns ``function`` as it is.

    Example:
        >>> import torch.utils.checkpoint, synfire
        >>> from synfire.neurons import LIF
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.body = nn.Sequential(nn.Linear(3, 3), LIF())
        ...     def forward(self, x):
        ...         return torch.utils.checkpoint.checkpoint(carry_time(self.body), x, use_reentrant=False)
        >>> synfire.TimeFolded(Block(), timesteps=2)(torch.rand(2, 4, 3)).sum().backward()
    """
    context = current_time()
    if context is None:
        return function

    def run(*arguments: Any, **options: Any) -> Any:
        with time_context(TimeContext(context.timesteps)):
            return function(*arguments, **options)

    return run


@runtime_checkable
class Encoder(Protocol):
    """Turns a static input [B, ...] into what each timestep sees, folded: [T*B, ...]."""

    def __call__(
        self, x: Tensor, timesteps: int, generator: torch.Generator | None = None
    ) -> Tensor: ...

    def step(
        self, x: Tensor, t: int, timesteps: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """What timestep ``t`` (from 0) of ``timesteps`` sees: [B, ...]."""
        ...


class Timed(nn.Module):
    """Base of every module that knows T, neurons and containers above all: :func:`set_timesteps` reaches these.

    A module whose parameters depend on T sets ``fixed_timesteps = True`` and refuses another value.
    """

    timesteps: int
    fixed_timesteps: bool = False


class Folded(Timed):
    """Base of everything that takes [B, ...] or [T, B, ...] and runs a folded net inside.

    A subclass implements ``forward_steps`` on the folded tensor [T*B, ...]. Every call starts from rest.

    Args:
        timesteps: T, at least 1.
        encoder: what turns a static input [B, ...] into T steps; None: inputs carry time themselves, [T, B, ...].
        readout: ``mean`` over time, ``last`` timestep, or ``none`` ([T, B, ...]).
        sample_ndim: number of axes of one sample without batch; with an encoder it tells [B, ...] from [T, B, ...].
            None: with an encoder every input counts as static.
    """

    def __init__(
        self,
        timesteps: int = 1,
        encoder: Encoder | None = None,
        readout: str = "mean",
        sample_ndim: int | None = None,
    ) -> None:
        super().__init__()
        if readout not in READOUTS:
            raise ConfigError(f"readout must be one of {', '.join(READOUTS)}, got {readout!r}.")
        self.timesteps = _checked_timesteps(timesteps)
        self.encoder = encoder
        self.readout = readout
        self.sample_ndim = sample_ndim

    def forward_steps(self, x: Tensor) -> Tensor:
        """Run the net on a folded tensor [T*B, ...]."""
        raise NotImplementedError

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Static [B, ...] or timed [T, B, ...] input to the readout ([B, ...], or [T, B, ...] for ``none``)."""
        return self.run_folded(self.encode(x, generator))

    def run_folded(self, folded: Tensor) -> Tensor:
        """An encoded input [T*B, ...] through the net and its readout, from rest."""
        if torch.compiler.is_compiling():
            return self.read(self.forward_steps(folded))
        if _context.get() is not None:
            raise FoldingError(
                f"a {type(self).__name__} was called inside another container that folds time: "
                "keep only the outer one."
            )
        with time_context(TimeContext(self.timesteps)):
            out = self.forward_steps(folded)
        return self.read(out)

    def is_static(self, x: Tensor) -> bool:
        """Whether ``x`` is one still input a sample, to be encoded, rather than T steps of it."""
        if self.encoder is None:
            return False
        return self.sample_ndim is None or x.ndim == self.sample_ndim + 1

    def encode(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fold an input: [T*B, ...]."""
        if self.encoder is not None and self.is_static(x):
            return self.encoder(x, self.timesteps, generator=generator)
        if self.sample_ndim is not None and x.ndim != self.sample_ndim + 2:
            raise InputError(
                f"expected an input [B, ...] or [T, B, ...] with {self.sample_ndim} axes a sample, "
                f"got shape {tuple(x.shape)}."
            )
        if x.ndim < 2 or x.shape[0] != self.timesteps:
            raise InputError(
                f"expected a timed input [T, B, ...] with T={self.timesteps}, got shape {tuple(x.shape)}: "
                "give the net an encoder for static inputs, or call synfire.set_timesteps."
            )
        return x.flatten(0, 1)

    def read(self, out: Tensor) -> Tensor:
        """Apply the readout to a folded output."""
        if self.readout == "mean":
            return mean_time(out, self.timesteps)
        if self.readout == "last":
            return last_time(out, self.timesteps)
        return out.unflatten(0, (self.timesteps, -1))

    def extra_repr(self) -> str:
        return f"timesteps={self.timesteps}, readout={self.readout!r}"


class TimeFolded(Folded):
    """Gives a hand-made net its time axis.

    Args:
        net: modules between which tensors are folded [T*B, ...].
        timesteps, encoder, readout, sample_ndim: see :class:`Folded`. Neurons inside are set to ``timesteps``.

    Example:
        >>> import synfire
        >>> from synfire.neurons import LIF
        >>> from synfire.encoders import Direct
        >>> body = torch.nn.Sequential(torch.nn.Linear(4, 3), LIF(timesteps=5))
        >>> synfire.TimeFolded(body, timesteps=5, encoder=Direct())(torch.rand(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        net: nn.Module,
        timesteps: int = 1,
        encoder: Encoder | None = None,
        readout: str = "mean",
        sample_ndim: int | None = None,
    ) -> None:
        super().__init__(timesteps, encoder, readout, sample_ndim)
        self.net = net
        set_timesteps(self, timesteps)

    def forward_steps(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def set_timesteps(net: nn.Module, timesteps: int) -> nn.Module:
    """Change T everywhere it may change: in every container and neuron of ``net`` (:class:`Timed`), in place.

    Raises:
        ConfigError: a module has parameters for another T; nothing is changed then.

    Example:
        >>> from synfire.neurons import LIF
        >>> set_timesteps(torch.nn.Sequential(LIF()), 4)[0].timesteps
        4
    """
    timesteps = _checked_timesteps(timesteps)
    timed = [module for module in net.modules() if isinstance(module, Timed)]
    for module in timed:
        if module.fixed_timesteps and module.timesteps != timesteps:
            raise ConfigError(
                f"{type(module).__name__} has parameters for T={module.timesteps} and cannot run with "
                f"T={timesteps}: build the model with that T."
            )
    for module in timed:
        module.timesteps = timesteps
    return net


def _checked_timesteps(timesteps: Any) -> int:
    if not isinstance(timesteps, int) or isinstance(timesteps, bool) or timesteps < 1:
        raise ConfigError(
            f"timesteps is the number of real timesteps, an int of at least 1, got {timesteps!r}."
        )
    return timesteps
