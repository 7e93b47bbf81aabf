"""Which implementation of an operator runs a call, in the open: :func:`explain` says it, :func:`use` forces it.

Every operator folder builds one :class:`Dispatch` from its paths, fastest first; the last one is the reference, which
takes everything. A path has a *domain* (its device and dtypes): outside of it the path is passed over silently. Inside
of it a path may still refuse (no compiler, no Triton, a size that it cannot do): the next path runs, and the first
such refusal warns with its reason.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from synfire.core.errors import ConfigError, UnknownNameError

_dispatches: dict[str, Dispatch] = {}
_warned: set[tuple[str, str, str]] = set()
_forced: list[str] = []  # process-wide: backward passes run in threads of their own


class SlowPathWarning(UserWarning):
    """A faster path refused a call that belongs to it."""


@dataclass(frozen=True)
class Path:
    """One implementation of an operator.

    Attributes:
        name: ``reference``, ``native``, ``triton``, ``event``, ``dense``, ...
        run: what is called, a function or a module of functions; the arguments are the operator's own affair.
        devices, dtypes: the domain, by the first tensor; empty means all.
        refuses: given the call's tensors and options, the reason why this path cannot run it, or None.
        passes: the same, for a call that it could run and another path runs faster: said by :func:`explain`, never
            warned of, and not asked where this path is forced.
    """

    name: str
    run: Any
    devices: tuple[str, ...] = ()
    dtypes: tuple[torch.dtype, ...] = ()
    refuses: Callable[..., str | None] = lambda *tensors, **options: None
    passes: Callable[..., str | None] = lambda *tensors, **options: None

    def outside(self, x: Tensor) -> str | None:
        """Why ``x`` lies outside the domain, or None."""
        if self.devices and x.device.type not in self.devices:
            return f"runs on {' or '.join(self.devices)}, the tensor is on {x.device.type}"
        if self.dtypes and x.dtype not in self.dtypes:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in self.dtypes)
            return f"takes {known}, the tensor is {str(x.dtype).removeprefix('torch.')}"
        return None


@dataclass(frozen=True)
class Explanation:
    """Which path a call takes, and why not each faster one."""

    operator: str
    path: str
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        why = "".join(f"; not {name}: {reason}" for name, reason in self.refused.items())
        return f"{self.operator}: {self.path}{why}"


class Dispatch:
    """The paths of one operator, fastest first; the last one takes every call."""

    def __init__(self, operator: str, *paths: Path) -> None:
        self.operator, self.paths = operator, paths
        _dispatches[operator] = self

    def choose(self, *tensors: Tensor, **options: Any) -> Path:
        """The path of a call; warns once for each reason why a path inside its domain refused."""
        for path in self._candidates():
            reason = path.outside(tensors[0])
            refusal = None if reason else path.refuses(*tensors, **options)
            if reason is None and refusal is None:
                if self._passes(path, *tensors, **options):
                    continue
                return path
            if refusal or (_forced and path.name == _forced[-1]):
                self._warn(path, refusal or reason or "")
        raise ConfigError(f"no path of {self.operator} takes a tensor on {tensors[0].device}.")

    def explain(self, *tensors: Tensor, **options: Any) -> Explanation:
        """The same choice, in words and without a warning."""
        refused: dict[str, str] = {}
        for path in self._candidates():
            reason = path.outside(tensors[0]) or path.refuses(*tensors, **options)
            reason = reason or self._passes(path, *tensors, **options)
            if reason is None:
                return Explanation(self.operator, path.name, refused)
            refused[path.name] = reason
        return Explanation(self.operator, "none", refused)

    def forced(self) -> str | None:
        """The path that :func:`use` asks for, if this operator has it."""
        if _forced and any(path.name == _forced[-1] for path in self.paths):
            return _forced[-1]
        return None

    def _passes(self, path: Path, *tensors: Tensor, **options: Any) -> str | None:
        return None if path.name == self.forced() else path.passes(*tensors, **options)

    def _candidates(self) -> Sequence[Path]:
        if not _forced:
            return self.paths
        first = [path for path in self.paths if path.name == _forced[-1]]
        return [*first, *(path for path in self.paths if path not in first)]

    def _warn(self, path: Path, reason: str) -> None:
        key = (self.operator, path.name, reason)
        if key not in _warned:
            _warned.add(key)
            warnings.warn(
                f"{self.operator} does not take its {path.name} path: {reason}.",
                SlowPathWarning,
                stacklevel=4,
            )


def operators() -> list[str]:
    """Names of all operators with a choice of paths, sorted."""
    import synfire.kernels as room

    for module in pkgutil.iter_modules(room.__path__):
        if module.ispkg:
            importlib.import_module(f"{room.__name__}.{module.name}")
    return sorted(_dispatches)


def explain(operator: Any, tensors: Tensor | Sequence[Tensor], **options: Any) -> Explanation:
    """Which path a call of ``operator`` takes, and why.

    Args:
        operator: its name (``integrate_fire``, with or without ``synfire::``) or the ``torch.ops.synfire`` object.
        tensors: the tensor, or the tensors, of the call.
        options: what else the choice depends on; the operator's folder says it.

    Raises:
        UnknownNameError: no operator of that name has a choice.

    Example:
        >>> str(explain("integrate_fire", torch.zeros(2, 3, dtype=torch.float64))).split(";")[0]
        'integrate_fire: reference'
    """
    name = str(operator).removeprefix("synfire::").removeprefix("synfire.").partition(".")[0]
    if name not in _dispatches:
        operators()
    if name not in _dispatches:
        raise UnknownNameError("operator", name, operators())
    several = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _dispatches[name].explain(*several, **options)


@contextmanager
def use(path: str) -> Iterator[None]:
    """Force one path by its name for all operators that have it, in the whole process.

    Where the forced path cannot run a call, the usual choice does, with one warning.

    Example:
        >>> with use("reference"):
        ...     print(explain("integrate_fire", torch.zeros(2, 3)).path)
        reference
    """
    known = {known.name for name in operators() for known in _dispatches[name].paths}
    if path not in known:
        raise UnknownNameError("path", path, known)
    _forced.append(path)
    try:
        yield
    finally:
        _forced.pop()
