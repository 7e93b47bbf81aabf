"""A small and loud registry: a dict from name to thing, filled by a decorator; duplicates are refused."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from synfire.core.errors import ConfigError, UnknownNameError

Thing = TypeVar("Thing")


class Registry(Generic[Thing]):
    """Names and what they stand for.

    Example:
        >>> shapes = Registry("shape")
        >>> @shapes.register("square")
        ... def square(side): return side * side
        >>> shapes["square"](3), shapes.names("s*")
        (9, ['square'])
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, Thing] = {}

    def register(self, name: str | None = None) -> Callable[[Any], Any]:
        """Decorator that enters a function or class under ``name`` (its own name by default)."""

        def enter(thing: Any) -> Any:
            self.add(name or thing.__name__, thing)
            return thing

        return enter

    def add(self, name: str, thing: Thing) -> None:
        """Enter ``thing``; a taken name raises ConfigError."""
        if name in self._things:
            raise ConfigError(f"{self.kind} {name!r} is registered already; choose another name.")
        self._things[name] = thing

    def names(self, pattern: str = "*") -> list[str]:
        """Sorted names that match a shell pattern."""
        return sorted(fnmatch.filter(self._things, pattern))

    def get(self, name: str) -> Thing | None:
        """The thing, or None."""
        return self._things.get(name)

    def __getitem__(self, name: str) -> Thing:
        if name not in self._things:
            raise UnknownNameError(self.kind, name, self._things)
        return self._things[name]

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


models: Registry[Callable[..., Any]] = Registry("model")
"""Model name to a function of the model's options."""

pretrained: Registry[str] = Registry("pretrained weights")
"""``model/weights`` to the folder (inside the package) that holds them."""

lowerings: Registry[Callable[..., Any]] = Registry("lowering rule")
"""Operator name (``namespace::op.overload``) to a rule ``(context, fx_node) -> graph node name``."""

runtimes: Registry[Callable[..., Any]] = Registry("runtime")
"""Runtime name to ``(graph, x) -> Execution``; what ``verify`` compares."""

released_layouts: Registry[Any] = Registry("layout of released checkpoints")
"""Layout name to a :class:`synfire.core.released.ReleasedLayout`, entered by the room that owns the model."""
