"""How operators of a traced model become graph nodes: the context that rules write through, and the rule lookup.

A rule is ``rule(context, node) -> name`` in :data:`synfire.core.registry.lowerings`, entered under the operator's name
by the room that owns the operator; it returns the name of the graph node that stands for the traced node's value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import fx

from synfire.core.errors import LoweringError, Problem
from synfire.core.registry import lowerings
from synfire.export.graph import Edge, Node


class _Refusal(Exception):
    """Carries one problem out of a rule; the context collects it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class LoweringContext:
    """What a rule sees: arguments by name, constants, shapes without batch; and the nodes made so far.

    Attributes:
        nodes: graph nodes by name, in order.
        timesteps: T of the traced net.
        dtype: floating-point type of the net.
    """

    def __init__(self, timesteps: int, dtype: np.dtype[Any], prefix: str = "net") -> None:
        self.timesteps = timesteps
        self.dtype = dtype
        self._prefix = prefix
        self.nodes: dict[str, Node] = {}
        self._names: dict[fx.Node, str] = {}
        self._constants: dict[fx.Node, Any] = {}
        self._calls: dict[str, int] = {}
        self._batch: Any = None

    # For rules.

    def arguments(self, node: fx.Node) -> dict[str, Any]:
        """Arguments by the names of the operator's schema, defaults filled in."""
        schema = node.target._schema  # type: ignore[union-attr]
        given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs
        return {
            a.name: given.get(a.name, a.default_value if a.has_default_value() else None)
            for a in schema.arguments
        }

    def input(self, node: fx.Node) -> str:
        """Name of the graph node that computes the traced value ``node``."""
        return self._names[node]

    def is_constant(self, value: Any) -> bool:
        """Whether ``value`` depends on parameters and buffers alone."""
        return not isinstance(value, fx.Node) or value in self._constants

    def constant(self, value: Any) -> np.ndarray | None:
        """A constant as an array of the net's type (None for None)."""
        if value is None:
            return None
        tensor = self._constants[value] if isinstance(value, fx.Node) else torch.as_tensor(value)
        if tensor.is_floating_point():
            tensor = tensor.double()  # numpy knows no bfloat16
        array: np.ndarray = tensor.detach().cpu().numpy()
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of one sample of the traced value."""
        value = node.meta["val"]
        if isinstance(value, (tuple, list)):
            value = value[0]
        return self._sample_shape(node, value.shape)

    def path(self, node: fx.Node) -> str:
        """Module path of the call that ``node`` was traced from."""
        stack = node.meta.get("nn_module_stack") or {}
        last = list(stack.values())[-1][0] if stack else ""
        if not str(last).startswith("net"):
            last = ""  # operations that torch itself inserted
        return re.sub(r"@\d+", "", str(last)).removeprefix(self._prefix).removeprefix(".")

    def add(
        self,
        node: fx.Node,
        op: str,
        inputs: list[str],
        *,
        shape: tuple[int, ...] | None = None,
        attrs: dict[str, Any] | None = None,
        weights: dict[str, Any] | None = None,
        kind: str = "potential",
        suffix: str = "",
    ) -> str:
        """Append a graph node for the traced ``node`` and return its name. ``shape`` defaults to the traced one."""
        path = self.path(node)
        base = (path.replace(".", "_") or node.name) + suffix
        name, number = base, 1
        while name in self.nodes:
            number += 1
            name = f"{base}_{number}"
        kept = {
            key: np.asarray(value) for key, value in (weights or {}).items() if value is not None
        }
        attrs = dict(attrs or {})
        if op == "Neuron":
            attrs["call"] = self._calls.get(path, 0)
            self._calls[path] = attrs["call"] + 1
        self.nodes[name] = Node(
            name,
            op,
            tuple(inputs),
            shape if shape is not None else self.shape(node),
            Edge(kind),
            path,
            attrs,
            kept,
        )
        return name

    def refuse(self, node: fx.Node, reason: str, suggestion: str) -> NoReturn:
        """Say that ``node`` cannot be lowered; tracing goes on and all refusals are reported together."""
        raise _Refusal(Problem(self.path(node), str(node.target), reason, suggestion))

    # For the tracer.

    def run(self, program: torch.export.ExportedProgram) -> str:
        """Lower a whole program; returns the name of the output's node, or raises LoweringError with all problems."""
        problems: list[Problem] = []
        output = ""
        self._bind_constants(program)
        for node in program.graph.nodes:
            if node.op == "call_function":
                problem = self._lower(node)
                if problem is not None:
                    problems.append(problem)
            elif node.op == "output":
                results = node.args[0] if isinstance(node.args[0], (tuple, list)) else node.args
                if len(results) != 1:
                    reason = f"the net returns {len(results)} tensors"
                    problems.append(Problem("", "output", reason, "trace a net that returns one"))
                output = self._names.get(results[0], "")
        if problems:
            raise LoweringError(problems)
        if not output:
            raise LoweringError(
                [
                    Problem(
                        "",
                        "output",
                        "the output does not depend on the input",
                        "return a tensor made of it",
                    )
                ]
            )
        return output

    def _bind_constants(self, program: torch.export.ExportedProgram) -> None:
        values: dict[str, Any] = {**program.state_dict, **program.constants}
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs}
        for node in program.graph.nodes:
            if node.op != "placeholder":
                continue
            target = targets.get(node.name)
            if target is None:
                self._batch = node.meta["val"].shape[0]
                self._names[node] = self.add(node, "Source", [], kind="real")
            else:
                self._constants[node] = values[target]

    def _lower(self, node: fx.Node) -> Problem | None:
        """Lower one traced operation; failures downstream of a failure are silent."""
        if _is_size(node):
            return None  # sizes: shapes are read from the traced values instead
        inputs = [n for n in node.all_input_nodes if n not in self._constants and not _is_size(n)]
        if not inputs:
            self._constants[node] = self._evaluate(node)
            return None
        if not node.users or any(n not in self._names for n in inputs):
            return None
        try:
            self._names[node] = self._rule(node)(self, node)
        except _Refusal as refusal:
            return refusal.problem
        return None

    def _rule(self, node: fx.Node) -> Callable[[LoweringContext, fx.Node], str]:
        rule = lowerings.get(_operator_name(node.target))
        if rule is None:
            self.refuse(
                node,
                "no lowering rule",
                "replace it by layers that lower (see the guide on graphs), or register a rule in "
                "synfire.core.registry.lowerings",
            )
        return rule

    def _evaluate(self, node: fx.Node) -> Any:
        def value(argument: Any) -> Any:
            return fx.node.map_arg(argument, lambda n: self._constants[n])

        with torch.no_grad():
            return node.target(*value(node.args), **value(node.kwargs))  # type: ignore[operator]

    def _sample_shape(self, node: fx.Node, shape: torch.Size) -> tuple[int, ...]:
        if not shape or str(shape[0]) != str(self._batch):
            self.refuse(
                node,
                f"its first axis is {shape[0] if shape else 'missing'} instead of the folded T*B",
                "keep time and batch together as the first axis",
            )
        for size in shape[1:]:
            if not isinstance(size, int):
                self.refuse(
                    node, f"axis size {size} depends on the batch", "use sizes fixed by the example"
                )
        return tuple(int(size) for size in shape[1:])


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), (int, torch.SymInt))


def _operator_name(target: Any) -> str:
    name = getattr(target, "name", None)
    if callable(name):
        text = str(name())
        return text if "." in text.split("::")[-1] else f"{text}.default"
    return str(getattr(target, "__name__", target))


def rule(*names: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Decorator that registers a lowering rule under several operator names (overload included)."""

    def enter(function: Callable[..., str]) -> Callable[..., str]:
        for name in names:
            lowerings.add(name, function)
        return function

    return enter
