"""Every error that Synfire raises on purpose; each message says what was expected, what came, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class SynfireError(Exception):
    """Base of all deliberate errors; command-line verbs print its message as one sentence and exit with 2."""


class ConfigError(SynfireError, ValueError):
    """An argument has a value that cannot work."""


class InputError(SynfireError, ValueError):
    """A tensor has a shape, dtype or value that the callee does not take."""


class FoldingError(SynfireError, RuntimeError):
    """A neuron with more than one timestep was called outside a container that folds time."""


class DataError(SynfireError, ValueError):
    """A data file is missing, damaged or not what its format promises."""


class CheckpointError(SynfireError, RuntimeError):
    """A checkpoint or saved model is missing, damaged or does not fit."""


class GraphError(SynfireError, ValueError):
    """A SpikeGraph is inconsistent, damaged, or asked for something that it does not hold."""


class MissingDependencyError(SynfireError, ImportError):
    """An optional package is needed and not installed."""


class RunExistsError(SynfireError, FileExistsError):
    """A finished run lies where results were to be written."""


class UnknownNameError(SynfireError, KeyError):
    """A name is not registered; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        hint = (
            f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}."
        )
        self.message = f"unknown {kind} {name!r}: {hint}"
        super().__init__(self.message)
        self._made_of = kind, name, names

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        return type(self), self._made_of  # an error of a worker process arrives whole

    def __str__(self) -> str:  # KeyError would print the repr
        return self.message


@dataclass(frozen=True)
class Problem:
    """One thing that could not be lowered or exported: where, what, why, and what to use instead."""

    path: str
    op: str
    reason: str
    suggestion: str

    def __str__(self) -> str:
        return f"{self.path or '<top level>'}: {self.op}: {self.reason}; {self.suggestion}"


class LoweringError(SynfireError, ValueError):
    """A model holds parts that cannot be lowered to a SpikeGraph; ``problems`` lists all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        lines = "\n  ".join(str(problem) for problem in self.problems)
        super().__init__(f"{len(self.problems)} operation(s) cannot be lowered:\n  {lines}")

    def __reduce__(self) -> tuple[type[LoweringError], tuple[list[Problem]]]:
        return type(self), (self.problems,)
