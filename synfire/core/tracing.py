"""Whether a net is being traced for export: user-written neurons then show themselves as one opaque operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_tracing: ContextVar[bool] = ContextVar("synfire_tracing", default=False)


def is_tracing() -> bool:
    """True inside :func:`synfire.export.trace`."""
    return False if torch.compiler.is_dynamo_compiling() else _tracing.get()


@contextmanager
def tracing() -> Iterator[None]:
    """Mark the block as a trace."""
    token = _tracing.set(True)
    try:
        yield
    finally:
        _tracing.reset(token)
