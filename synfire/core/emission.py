"""Neurons announce what they emit; whoever keeps activations may then keep counts instead of floats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Listener = Callable[[Tensor, int, float], None]
_listener: ContextVar[Listener | None] = ContextVar("synfire_emission", default=None)


def announce(out: Tensor, levels: int, scale: float) -> Tensor:
    """``out``, of which every element is a count in 0..levels times ``scale``, rounded once from float32.

    Operators call it with their outputs. Compiled code announces nothing.
    """
    if not torch.compiler.is_compiling():
        listener = _listener.get()
        if listener is not None:
            listener(out, levels, scale)
    return out


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hand all that neurons emit in the block to ``listener(out, levels, scale)``; the innermost listener hears it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
