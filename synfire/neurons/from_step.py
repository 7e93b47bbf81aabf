"""A user's own step function becomes a neuron: sequence form, gradients, graph node and verification."""

from __future__ import annotations

import copyreg
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from synfire.core.errors import ConfigError, InputError
from synfire.core.neuron import Neuron
from synfire.core.time import State
from synfire.core.tracing import is_tracing
from synfire.core.user_steps import register_step, step_function

StepFunction = Callable[..., tuple[Tensor, State]]
_classes: dict[str, type[StepNeuron]] = {}


def levels_of(step_name: str) -> int:
    """Largest count of the neuron made of a registered step function."""
    return _classes[step_name].levels_made


class _Made(type):
    """The type of classes that no module holds by name: they are pickled by the name of their step function."""


class StepNeuron(Neuron, metaclass=_Made):
    """Base of the classes that :func:`neuron_from_step` makes."""

    step: Callable[..., tuple[Tensor, State]]
    step_name: str
    initial: Mapping[str, float]
    levels_made: int
    compiled: bool

    def __init__(self, timesteps: int = 1, scale: float = 1.0, **initial: float) -> None:
        super().__init__(timesteps, self.levels_made, scale)
        unknown = sorted(set(initial) - set(self.initial))
        if unknown:
            raise ConfigError(
                f"{type(self).__name__} has no parameter {unknown[0]!r}; it has: {', '.join(self.initial) or 'none'}."
            )
        self.values = nn.ParameterDict(
            {
                name: nn.Parameter(torch.tensor(float(value)))
                for name, value in (dict(self.initial) | initial).items()
            }
        )

    def run(self, x: Tensor, state: State | None, timesteps: int) -> tuple[Tensor, State]:
        values = dict(self.values.items())
        if is_tracing():
            _refuse_superseded(type(self))
            counts = step_neuron_op(
                x, self.step_name, timesteps, " ".join(values), list(values.values())
            )
            return counts * self.scale if self.scale != 1.0 else counts, {}
        counts, last = _sequence(type(self).step, x, state or {}, timesteps, values)
        return counts * self.scale if self.scale != 1.0 else counts, last


def _class_made_in(module: str, step_name: str) -> type[StepNeuron]:
    importlib.import_module(module)
    step_function(step_name)  # refuses an unknown name
    return _classes[step_name]


def _reduce_class(made: type[StepNeuron]) -> tuple[Any, ...]:
    _refuse_superseded(made)
    return _class_made_in, (made.__module__, made.step_name)


copyreg.pickle(_Made, _reduce_class)  # type: ignore[arg-type]


def _refuse_superseded(made: type[StepNeuron]) -> None:
    """Traces, saved graphs and pickles know a step by its name, so the name must still lead to it."""
    if _classes.get(made.step_name) is not made:
        raise ConfigError(
            f"another neuron was made later of a step function named {made.step_name!r}, by which traces and "
            "pickles know it: give each its own name with neuron_from_step(..., name=...)."
        )


def _sequence(
    step: StepFunction, x: Tensor, state: State, timesteps: int, values: Mapping[str, Tensor]
) -> tuple[Tensor, State]:
    counts = []
    for x_t in x.reshape(timesteps, -1, *x.shape[1:]).unbind(0):
        count, state = step(x_t, state, **values)
        counts.append(count)
    return torch.cat(counts), state


@torch.library.custom_op("synfire::step_neuron", mutates_args=())
def step_neuron_op(
    x: Tensor, name: str, timesteps: int, value_names: str, values: list[Tensor]
) -> Tensor:
    """What a trace sees of a StepNeuron: counts [T*B, ...]."""
    named = dict(zip(value_names.split(), values, strict=True))
    return _sequence(step_function(name), x, {}, timesteps, named)[0].clone(
        memory_format=torch.contiguous_format
    )


@step_neuron_op.register_fake
def _(x, name, timesteps, value_names, values):  # type: ignore[no-untyped-def]
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def neuron_from_step(
    step: StepFunction,
    state: tuple[str, ...] = ("v",),
    parameters: Mapping[str, float] | None = None,
    levels: int = 1,
    name: str | None = None,
    compiled: bool = False,
) -> type[StepNeuron]:
    """Make a neuron class of a step function.

    Args:
        step: ``step(x_t, state, **parameters) -> (count, new_state)`` on tensors [B, ...]; ``state`` is a dict of
            tensors like ``x_t``, zero at first; ``count`` is in {0..levels}. It acts on each element alone, and its
            gradient is whatever autograd finds, e.g. through :func:`synfire.functional.spike`.
        state: names of the state variables.
        parameters: learnable scalars with their initial values, handed to ``step`` as keyword tensors.
        levels: largest count of one timestep.
        name: under which saved graphs and pickles find the function again; by default its module and name.
        compiled: run the step through ``torch.compile`` outside of traces.

    Returns:
        A class with arguments ``timesteps``, ``scale`` and the initial values.

    Example:
        >>> from synfire import functional as F
        >>> def adaptive(x, state, leak):
        ...     v = leak * state["v"] + x
        ...     s = F.spike(v - 1 - state["a"])
        ...     return s, {"v": v - s, "a": 0.9 * state["a"] + 0.2 * s}
        >>> Adaptive = neuron_from_step(adaptive, state=("v", "a"), parameters={"leak": 0.5})
        >>> Adaptive()(torch.tensor([[0.5, 1.5]])).tolist()
        [[0.0, 1.0]]
    """
    if not callable(step):
        raise ConfigError(f"expected a step function, got {type(step).__name__}.")
    accepted = inspect.signature(step).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    lacking = [p for p in (parameters or {}) if p not in accepted and not takes_all]
    if lacking:
        raise ConfigError(f"the step function does not take the parameter {lacking[0]!r}.")
    step_name = name or f"{step.__module__}.{step.__qualname__}"
    register_step(step_name, _from_rest(step, state))
    run: StepFunction = torch.compile(step) if compiled else step
    members: dict[str, Any] = {
        "step": staticmethod(_from_rest(run, state)),
        "step_name": step_name,
        "initial": dict(parameters or {}),
        "levels_made": levels,
        "compiled": compiled,
        "__module__": step.__module__,
        "__doc__": step.__doc__ or f"Neuron made of the step function {step_name}.",
    }
    made = cast(type[StepNeuron], _Made(step.__name__, (StepNeuron,), members))
    _classes[step_name] = made
    return made


def _from_rest(step: StepFunction, names: tuple[str, ...]) -> StepFunction:
    """The step with missing state filled by zeros and its results checked."""

    def checked(x: Tensor, state: State, **values: Tensor) -> tuple[Tensor, State]:
        full = {key: state[key] if key in state else torch.zeros_like(x) for key in names}
        count, new = step(x, full, **values)
        if count.shape != x.shape or set(new) != set(names):
            raise InputError(
                f"a step function returns counts of its input's shape {tuple(x.shape)} and the states "
                f"{sorted(names)}, got {tuple(count.shape)} and {sorted(new)}."
            )
        return count, new

    return checked
