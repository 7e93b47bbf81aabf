"""Step functions that users register: looked up by name when a graph with such a neuron runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from synfire.core.errors import GraphError

_steps: dict[str, Callable[..., Any]] = {}


def register_step(name: str, function: Callable[..., Any]) -> None:
    """Enter a step function; the newest definition of a name holds (notebooks define them again and again)."""
    _steps[name] = function


def step_function(name: str) -> Callable[..., Any]:
    """The registered step function; a missing one raises GraphError."""
    if name not in _steps:
        raise GraphError(
            f"the graph holds neurons of the step function {name!r}, which is not registered in this process: "
            "import the module that defines it with synfire.neuron_from_step before running the graph."
        )
    return _steps[name]
